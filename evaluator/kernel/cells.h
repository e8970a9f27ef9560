/* The last stage of the search: sources far from every target. */
#ifndef ASSAY_CELLS_H
#define ASSAY_CELLS_H

#include "kernel.h"
#include "near.h"

/* The bounding box of at least one element; elements come ordered by z. */
static inline void find_box(const assay_elements *elements, int32_t low[3], int32_t high[3]) {
    int32_t low_x = INT32_MAX, low_y = INT32_MAX, high_x = INT32_MIN, high_y = INT32_MIN;
    for (uint64_t i = 0; i < elements->count; i++) {
        const int32_t x = (int32_t)element_x(elements->data[i]);
        const int32_t y = (int32_t)element_y(elements->data[i]);
        low_x = x < low_x ? x : low_x;
        high_x = x > high_x ? x : high_x;
        low_y = y < low_y ? y : low_y;
        high_y = y > high_y ? y : high_y;
    }
    low[0] = low_x;
    low[1] = low_y;
    low[2] = (int32_t)element_z(elements->data[0]);
    high[0] = high_x;
    high[1] = high_y;
    high[2] = (int32_t)element_z(elements->data[elements->count - 1]);
}

/* Exact distances in mm of the sources listed in `far`, ascending; `grid` shows the targets. */
assay_status measure_by_cells(const distance_plan *plan, const bit_grid *grid,
                              const assay_elements *sources, const uint32_t *far,
                              uint32_t far_count, double *distances_mm);

#endif
