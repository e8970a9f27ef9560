/* Distances from the elements of one surface to those of another: first by a table of neighbours,
 * then through windows of bits, then, for the few that found nothing nearby, cell by cell.
 *
 * Neighbours. Nine rows of three corners around a source, joined where they are equally far, are
 * twelve bits: an index into a table of the nearest class of neighbours.
 */
#include "distances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cells.h"
#include "instructions.h"
#include "near.h"

/* For qsort: groups of rows, the nearest first. */
static int by_row(const void *left, const void *right) {
    const row_group *a = left, *b = right;
    return (a->row_squared > b->row_squared) - (a->row_squared < b->row_squared);
}

/* All rows no further than ROW_REACH steps of the finer of y and z: what lies within that distance
 * cannot be missed. */
static assay_status plan_groups(distance_plan *plan, const uint32_t shape[3],
                                const double spacing_mm[3]) {
    const double finer =
        shape[2] == 1 || spacing_mm[1] < spacing_mm[2] ? spacing_mm[1] : spacing_mm[2];
    const double limit = (ROW_REACH * finer) * (ROW_REACH * finer);
    int32_t reach[2];
    for (int axis = 1; axis < 3; axis++) {
        int32_t steps = 0;
        while (steps < (int32_t)shape[axis] && plan->squares[axis][steps + 1] <= limit) steps++;
        reach[axis - 1] = steps;
    }
    plan->groups = malloc(((size_t)(reach[0] + 1) * (size_t)(reach[1] + 1) + BLOCK_GROUPS) *
                          sizeof *plan->groups);
    if (!plan->groups) return ASSAY_NO_MEMORY;
    int32_t count = 0;
    for (int32_t dz = 0; dz <= reach[1]; dz++)
        for (int32_t dy = 0; dy <= reach[0]; dy++) {
            const double y = plan->squares[1][dy], z = plan->squares[2][dz];
            if (y + z <= limit) plan->groups[count++] = (row_group){dy, dz, y, z, y + z};
        }
    qsort(plan->groups, (size_t)count, sizeof *plan->groups, by_row);
    const double beyond_window =
        ((WINDOW_REACH + 1) * spacing_mm[0]) * ((WINDOW_REACH + 1) * spacing_mm[0]);
    plan->search.groups = plan->groups;
    plan->search.group_count = count;
    for (; count % BLOCK_GROUPS; count++) plan->groups[count] = plan->groups[count - 1];
    plan->padded_count = count;
    plan->search.settled = limit < beyond_window ? limit : beyond_window;
    return ASSAY_OK;
}

/* The nearest class of neighbours for every pattern; none where an element that is no neighbour
 * might be nearer. */
static void plan_neighbours(distance_plan *plan, int is_planar) {
    double squared[NO_NEIGHBOUR], beyond = fmin(plan->squares[0][2], plan->squares[1][2]);
    if (!is_planar) beyond = fmin(beyond, plan->squares[2][2]);
    for (int class = 0; class < NO_NEIGHBOUR; class++) {
        squared[class] =
            sum_of_squares(plan->squares[0][class & 1], plan->squares[1][class >> 1 & 1],
                           plan->squares[2][class >> 2], plan->search.last_axis);
        plan->neighbour_mm[class] = squared[class] > beyond ? INFINITY : sqrt(squared[class]);
    }
    for (int pattern = 0; pattern < NEIGHBOUR_PATTERNS; pattern++) {
        int nearest = NO_NEIGHBOUR;
        for (int class = 0; class < NO_NEIGHBOUR; class++) {
            const int corners = pattern >> 3 * (class >> 1) & (class & 1 ? 5 : 2);
            if (!corners || squared[class] > beyond) continue;
            if (nearest == NO_NEIGHBOUR || squared[class] < squared[nearest]) nearest = class;
        }
        plan->nearest_class[pattern] = (uint8_t)nearest;
    }
}

/* The fastest functions that this machine can run. */
static void choose_functions(distance_plan *plan) {
    plan->draw = draw;
    plan->search_nearby = search_nearby;
    plan->look_through_list = look_through_list;
    plan->bound_boxes = bound_boxes;
#if defined(__x86_64__)
    if (choose_instructions() != AVX512) return;
    plan->draw = draw_in_lanes;
    plan->search_nearby = search_nearby_in_lanes;
    plan->look_through_list = look_through_list_in_lanes;
    plan->bound_boxes = bound_boxes_in_lanes;
#endif
}

/* See distances.h. */
assay_status plan_distances(const uint32_t shape[3], const assay_metric *metric,
                            distance_plan **result) {
    distance_plan *const plan = *result = calloc(1, sizeof *plan);
    if (!plan) return ASSAY_NO_MEMORY;
    for (int axis = 0; axis < 3; axis++) {
        const uint32_t count = shape[axis] + 2;
        plan->spacing_mm[axis] = metric->spacing_mm[axis];
        plan->squares[axis] = malloc(count * sizeof(double));
        if (!plan->squares[axis]) return ASSAY_NO_MEMORY;
        for (uint32_t k = 0; k < count; k++) {
            const double length = k * metric->spacing_mm[axis];
            plan->squares[axis][k] = length * length;
        }
        plan->search.squares[axis] = plan->squares[axis];
    }
    for (int steps = 0; steps <= WINDOW_EMPTY; steps++) {
        const double length = steps * metric->spacing_mm[0];
        plan->window[steps] = steps <= WINDOW_REACH ? length * length : INFINITY;
    }
    plan->search.window = plan->window;
    plan->search.last_axis = metric->last_axis;
    choose_functions(plan);
    plan_neighbours(plan, shape[2] == 1);
    return plan_groups(plan, shape, metric->spacing_mm);
}

/* See distances.h. */
void free_plan(distance_plan *plan) {
    if (!plan) return;
    for (int axis = 0; axis < 3; axis++) free(plan->squares[axis]);
    free(plan->groups);
    free(plan);
}

/* See distances.h. */
void free_workspace(distance_workspace *workspace) {
    free(workspace->bits);
    free(workspace->near_rows);
}

/* The bit of an element in the grid. */
static uint64_t bit_of(const bit_grid *grid, assay_element e) {
    const int32_t y = (int32_t)element_y(e) - grid->origin[1];
    const int32_t z = (int32_t)element_z(e) - grid->origin[2];
    const int32_t x = (int32_t)element_x(e) - grid->origin[0];
    return (uint64_t)row_start(grid, y, z) * 8 + (uint64_t)(x + ROW_MARGIN);
}

/* Bytes of a grid with its margins. */
static uint64_t grid_bytes(const bit_grid *grid) {
    return (uint64_t)row_start(grid, grid->size[1], grid->size[2] + ROW_REACH) + 2 * ROW_MARGIN / 8;
}

/* See draw_function in near.h. */
void draw(const bit_grid *grid, const assay_elements *targets, uint8_t *bits) {
    for (uint64_t i = 0; i < targets->count; i++) {
        const uint64_t bit = bit_of(grid, targets->data[i]);
        bits[bit >> 3] |= (uint8_t)(1u << (bit & 7));
    }
}

/* Lay the grid around the targets, in memory of the workspace, and set their bits. */
static assay_status draw_grid(bit_grid *grid, const distance_plan *plan,
                              const assay_elements *targets, distance_workspace *workspace) {
    int32_t high[3];
    find_box(targets, grid->origin, high);
    for (int axis = 0; axis < 3; axis++) grid->size[axis] = high[axis] - grid->origin[axis] + 1;
    /* The margin at the end of a row is the one at the beginning of the next. */
    grid->row_bytes = (grid->size[0] + ROW_MARGIN + 7) / 8;
    const uint64_t bytes = grid_bytes(grid);
    if (bytes > workspace->bits_bytes) {
        free(workspace->bits);
        workspace->bits = calloc(bytes, 1);
        workspace->bits_bytes = workspace->bits ? bytes : 0;
        if (!workspace->bits) return ASSAY_NO_MEMORY;
    }
    if (!workspace->near_rows &&
        !(workspace->near_rows = malloc((size_t)plan->padded_count * 4 * sizeof(int64_t))))
        return ASSAY_NO_MEMORY;
    for (int32_t g = 0; g < plan->padded_count; g++)
        for (int32_t side = 0; side < 4; side++) {
            const int32_t dy = plan->groups[g].dy, dz = plan->groups[g].dz;
            workspace->near_rows[4 * g + side] =
                row_start(grid, side & 1 ? -dy : dy, side & 2 ? -dz : dz) - row_start(grid, 0, 0);
        }
    grid->bits = workspace->bits;
    grid->near_rows = workspace->near_rows;
    plan->draw(grid, targets, workspace->bits);
    return ASSAY_OK;
}

/* Make the workspace zero again. */
static void erase_grid(const bit_grid *grid, const assay_elements *targets,
                       distance_workspace *workspace) {
    enum { BYTES_PER_ELEMENT = 16 }; /* memset clears these while one element is looked up */
    if (grid_bytes(grid) < BYTES_PER_ELEMENT * targets->count) {
        memset(workspace->bits, 0, grid_bytes(grid));
        return;
    }
    for (uint64_t i = 0; i < targets->count; i++)
        workspace->bits[bit_of(grid, targets->data[i]) >> 3] = 0;
}

/* The three corners at x-1, x and x+1 of a row that are bits `shift` and on of its byte. */
static inline uint32_t three_corners(const uint8_t *row, int shift) {
    uint16_t bits;
    memcpy(&bits, row, sizeof bits);
    return (uint32_t)bits >> shift & 7;
}

/* Settle the sources that coincide with a target or have one for a neighbour: three in four. The
 * others are listed in `left`; returns how many. No branch depends on the data, because no
 * prediction of it would be good. */
static uint32_t settle_neighbours(const distance_plan *plan, const bit_grid *grid,
                                  const assay_elements *sources, double *distances_mm,
                                  uint32_t *left) {
    const int64_t row = grid->row_bytes, layer = row_start(grid, 0, 1) - row_start(grid, 0, 0);
    /* In the margin: no bit is set around it. */
    const int64_t nowhere = row_start(grid, 1 - ROW_REACH, 1 - ROW_REACH);
    uint32_t count = 0;
    for (uint64_t i = 0; i < sources->count; i++) {
        const assay_element e = sources->data[i];
        const uint32_t x = element_x(e) - (uint32_t)grid->origin[0];
        const uint32_t y = element_y(e) - (uint32_t)grid->origin[1];
        const uint32_t z = element_z(e) - (uint32_t)grid->origin[2];
        const int is_inside = (x < (uint32_t)grid->size[0]) & (y < (uint32_t)grid->size[1]) &
                              (z < (uint32_t)grid->size[2]);
        const uint32_t bit = is_inside ? x + ROW_MARGIN - 1 : 0;
        const uint8_t *const here =
            grid->bits + (is_inside ? row_start(grid, (int32_t)y, (int32_t)z) : nowhere) + bit / 8;
        const uint8_t *const below = here - layer, *const above = here + layer;
        const int shift = bit % 8;
        const uint32_t pattern =
            three_corners(here, shift) |
            (three_corners(here - row, shift) | three_corners(here + row, shift)) << 3 |
            (three_corners(below, shift) | three_corners(above, shift)) << 6 |
            (three_corners(below - row, shift) | three_corners(below + row, shift) |
             three_corners(above - row, shift) | three_corners(above + row, shift))
                << 9;
        const uint8_t found = plan->nearest_class[pattern];
        distances_mm[i] = plan->neighbour_mm[found];
        left[count] = (uint32_t)i;
        count += found == NO_NEIGHBOUR;
    }
    return count;
}

/* See search_function in near.h. */
uint32_t search_nearby(const distance_plan *plan, const bit_grid *grid,
                       const assay_elements *sources, double *distances_mm, uint32_t *far) {
    const uint32_t left = settle_neighbours(plan, grid, sources, distances_mm, far);
    uint32_t far_count = 0;
    skipping skip = {0};
    for (uint32_t i = 0; i < left; i++) {
        if (skip.left) {
            skip.left--;
            far[far_count++] = far[i];
            continue;
        }
        const assay_element e = sources->data[far[i]];
        const double squared = nearest_through_windows(grid, &plan->search, (int32_t)element_x(e),
                                                       (int32_t)element_y(e), (int32_t)element_z(e),
                                                       plan->search.last_axis, INFINITY);
        distances_mm[far[i]] = sqrt(squared);
        far[far_count] = far[i];
        const int is_far = squared > plan->search.settled;
        note_look(&skip, is_far);
        far_count += (uint32_t)is_far;
    }
    return far_count;
}

/* See distances.h. */
assay_status measure_distances(const distance_plan *plan, const assay_elements *sources,
                               const assay_elements *targets, distance_workspace *workspace,
                               double *distances_mm) {
    if (!targets->count) {
        for (uint64_t i = 0; i < sources->count; i++) distances_mm[i] = INFINITY;
        return ASSAY_OK;
    }
    if (!sources->count) return ASSAY_OK;
    if (sources->count > UINT32_MAX || targets->count > UINT32_MAX) return ASSAY_TOO_LARGE;
    bit_grid grid;
    assay_status status = draw_grid(&grid, plan, targets, workspace);
    if (status) return status;
    uint32_t *const far = malloc((size_t)sources->count * sizeof *far);
    if (!far) status = ASSAY_NO_MEMORY;
    const uint32_t far_count =
        status ? 0 : plan->search_nearby(plan, &grid, sources, distances_mm, far);
    if (far_count) status = measure_by_cells(plan, &grid, sources, far, far_count, distances_mm);
    erase_grid(&grid, targets, workspace);
    free(far);
    return status;
}
