#ifndef ASSAY_PLAN_H
#define ASSAY_PLAN_H

#include "nearest.h"

enum {
    NEIGHBOUR_CLASSES = 8, /* neighbours as far along each of x, y, z: one bit for a step along each */
    NO_NEIGHBOUR = NEIGHBOUR_CLASSES,
};

/* What depends on the voxel sizes alone, shared by every label of a pair. */
typedef struct distance_plan {
    search_plan search;
    double *squares[3];
    double window[WINDOW_EMPTY + 1];
    row_group *groups;
    double neighbour_mm[NEIGHBOUR_CLASSES + 1];
    uint8_t classes[NEIGHBOUR_CLASSES]; /* nearest first; only those that nothing but a neighbour can be nearer than */
    int class_count;
} distance_plan;

#endif
