/* Distances of the few sources that have no target nearby.
 *
 * The grid of bits is divided into cells of 8 x 8 x 4 corners, and so are the far sources. Between
 * two cells there is a smallest and a largest possible distance. Take the smallest of the largest
 * distances from one source cell to all target cells, or the distance to the element found last. A
 * target cell whose smallest distance exceeds it cannot hold the nearest element of any source of
 * that cell. The few target cells left are visited nearest first, a byte of bits for each of their
 * rows. Bounds are sums of the same rounded squares as distances are, so they hold to the last bit.
 */
#include "cells.h"

#include <math.h>
#include <stdlib.h>

/* Sizes of a cell along x, y and z as powers of two; along x it is one byte of the grid. */
static const int CELL_SHIFT[3] = {3, 3, 2};

/* The cells that hold any target, or any far source. */
typedef struct {
    cell *cells;
    uint32_t count;
    uint32_t *members; /* of far sources: which of them, cell after cell */
    uint32_t *first;   /* of far sources: where a cell's members begin, and one more */
} cell_list;

/* A target cell, and the smallest squared distance to it. */
typedef struct {
    double bound;
    uint32_t cell;
} candidate;

/* For qsort: candidates, the smallest bound first. */
static int by_bound(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    return (a->bound > b->bound) - (a->bound < b->bound);
}

/* The cells of a box, numbered x first. */
typedef struct {
    int32_t low[3], high[3];
    uint32_t size[3];
    uint32_t count;
} cell_frame;

/* Count the cells between the frame's two ends. */
static assay_status frame_cells(cell_frame *frame) {
    uint64_t count = 1;
    for (int axis = 0; axis < 3; axis++) {
        frame->size[axis] =
            (uint32_t)((frame->high[axis] - frame->low[axis]) >> CELL_SHIFT[axis]) + 1;
        count *= frame->size[axis];
    }
    frame->count = (uint32_t)count;
    return count < UINT32_MAX ? ASSAY_OK : ASSAY_TOO_LARGE;
}

/* The number of the cell in which an element lies. */
static inline uint32_t cell_of(const cell_frame *frame, assay_element e) {
    const uint32_t x = ((uint32_t)((int32_t)element_x(e) - frame->low[0])) >> CELL_SHIFT[0];
    const uint32_t y = ((uint32_t)((int32_t)element_y(e) - frame->low[1])) >> CELL_SHIFT[1];
    const uint32_t z = ((uint32_t)((int32_t)element_z(e) - frame->low[2])) >> CELL_SHIFT[2];
    return (z * frame->size[1] + y) * frame->size[0] + x;
}

/* The box of a cell, which ends where the frame does. */
static cell cell_at(const cell_frame *frame, uint32_t number) {
    const uint32_t at[3] = {number % frame->size[0], number / frame->size[0] % frame->size[1],
                            number / frame->size[0] / frame->size[1]};
    cell result;
    for (int axis = 0; axis < 3; axis++) {
        result.low[axis] = frame->low[axis] + (int32_t)(at[axis] << CELL_SHIFT[axis]);
        const int32_t end = result.low[axis] + (1 << CELL_SHIFT[axis]) - 1;
        result.high[axis] = end < frame->high[axis] ? end : frame->high[axis];
    }
    return result;
}

/* The cells that hold any target. */
static assay_status find_target_cells(const bit_grid *grid, const assay_elements *targets,
                                      cell_list *list) {
    cell_frame frame;
    for (int axis = 0; axis < 3; axis++) {
        frame.low[axis] = grid->origin[axis];
        frame.high[axis] = grid->origin[axis] + grid->size[axis] - 1;
    }
    if (frame_cells(&frame)) return ASSAY_TOO_LARGE;
    uint8_t *const used = calloc(frame.count, 1);
    if (!used) return ASSAY_NO_MEMORY;
    for (uint64_t i = 0; i < targets->count; i++) used[cell_of(&frame, targets->data[i])] = 1;
    uint32_t count = 0;
    for (uint32_t c = 0; c < frame.count; c++) count += used[c];
    list->cells = malloc((size_t)count * sizeof *list->cells);
    for (uint32_t c = 0; list->cells && c < frame.count; c++)
        if (used[c]) list->cells[list->count++] = cell_at(&frame, c);
    free(used);
    return list->cells ? ASSAY_OK : ASSAY_NO_MEMORY;
}

/* The bounding box of the far sources. */
static void find_far_box(const assay_elements *sources, const uint32_t *far, uint32_t far_count,
                         cell_frame *frame) {
    for (int axis = 0; axis < 3; axis++) {
        frame->low[axis] = INT32_MAX;
        frame->high[axis] = INT32_MIN;
    }
    for (uint32_t i = 0; i < far_count; i++) {
        const assay_element e = sources->data[far[i]];
        const int32_t at[3] = {(int32_t)element_x(e), (int32_t)element_y(e), (int32_t)element_z(e)};
        for (int axis = 0; axis < 3; axis++) {
            frame->low[axis] = at[axis] < frame->low[axis] ? at[axis] : frame->low[axis];
            frame->high[axis] = at[axis] > frame->high[axis] ? at[axis] : frame->high[axis];
        }
    }
}

/* The far sources, cell by cell (a counting sort). `far` is ascending, so the sources are ordered
 * by z. */
static assay_status gather_sources(const assay_elements *sources, const uint32_t *far,
                                   uint32_t far_count, cell_list *list) {
    cell_frame frame;
    find_far_box(sources, far, far_count, &frame);
    if (frame_cells(&frame)) return ASSAY_TOO_LARGE;
    uint32_t *const slots = calloc((size_t)frame.count + 1, sizeof *slots);
    list->members = malloc((size_t)far_count * sizeof *list->members);
    if (!slots || !list->members) {
        free(slots);
        return ASSAY_NO_MEMORY;
    }
    for (uint32_t i = 0; i < far_count; i++) slots[cell_of(&frame, sources->data[far[i]])]++;
    for (uint32_t c = 0; c < frame.count; c++) list->count += slots[c] != 0;
    list->cells = malloc((size_t)list->count * sizeof *list->cells);
    list->first = calloc((size_t)list->count + 2, sizeof *list->first);
    if (!list->cells || !list->first) {
        free(slots);
        return ASSAY_NO_MEMORY;
    }
    uint32_t used = 0;
    for (uint32_t c = 0; c < frame.count; c++) {
        if (!slots[c]) continue;
        list->cells[used] = cell_at(&frame, c);
        list->first[used + 2] = list->first[used + 1] + slots[c];
        slots[c] = ++used;
    }
    for (uint32_t i = 0; i < far_count; i++)
        list->members[list->first[slots[cell_of(&frame, sources->data[far[i]])]]++] = far[i];
    free(slots);
    return ASSAY_OK;
}

/* Steps along one axis between the nearest ends of two intervals; 0 where they overlap. */
static inline int32_t gap(int32_t low, int32_t high, int32_t other_low, int32_t other_high) {
    return other_low > high ? other_low - high : low > other_high ? low - other_high : 0;
}

/* Steps along one axis between the furthest ends of two intervals. */
static inline int32_t span(int32_t low, int32_t high, int32_t other_low, int32_t other_high) {
    const int32_t up = other_high - low, down = high - other_low;
    return up > down ? up : down;
}

/* Squared length in mm^2 of some steps along each axis. */
static inline double squared_steps(const search_plan *plan, int32_t x, int32_t y, int32_t z) {
    return sum_of_squares(plan->squares[0][x], plan->squares[1][y], plan->squares[2][z],
                          plan->last_axis);
}

/* With `gap` the smallest squared distance between points of two cells, with `span` the largest. */
static double cell_bound(const search_plan *plan, const cell *a, const cell *b,
                         int32_t (*measure)(int32_t, int32_t, int32_t, int32_t)) {
    return squared_steps(plan, measure(a->low[0], a->high[0], b->low[0], b->high[0]),
                         measure(a->low[1], a->high[1], b->low[1], b->high[1]),
                         measure(a->low[2], a->high[2], b->low[2], b->high[2]));
}

/* The smallest squared distance between a corner and a point of a cell. */
static double point_bound(const search_plan *plan, const int32_t at[3], const cell *box) {
    return squared_steps(plan, gap(at[0], at[0], box->low[0], box->high[0]),
                         gap(at[1], at[1], box->low[1], box->high[1]),
                         gap(at[2], at[2], box->low[2], box->high[2]));
}

/* Whether a target found from one cell is a useful bound for another. */
static int are_near(const cell *one, const cell *other) {
    enum { NEAR = 32 };
    return abs(one->low[0] - other->low[0]) <= NEAR && abs(one->low[1] - other->low[1]) <= NEAR &&
           abs(one->low[2] - other->low[2]) <= NEAR;
}

/* A squared distance within which every point of `home` has a target. `last` is the target found
 * last, NULL if it was found from far away. */
static double find_reach(const search_plan *plan, const cell *home, const cell_list *targets,
                         const neighbour *last) {
    if (last) {
        const cell known = {{last->at[0], last->at[1], last->at[2]},
                            {last->at[0], last->at[1], last->at[2]}};
        return cell_bound(plan, home, &known, span);
    }
    double reach = INFINITY;
    for (uint32_t t = 0; t < targets->count; t++) {
        const double furthest = cell_bound(plan, home, &targets->cells[t], span);
        if (furthest < reach) reach = furthest;
    }
    return reach;
}

/* The target cells that may hold the nearest element of any point of `home`, nearest first. */
static uint32_t choose_candidates(const search_plan *plan, const cell *home,
                                  const cell_list *targets, double reach, candidate *chosen) {
    uint32_t count = 0;
    for (uint32_t t = 0; t < targets->count; t++) {
        const cell *const other = &targets->cells[t];
        if (plan->squares[2][gap(home->low[2], home->high[2], other->low[2], other->high[2])] >
            reach)
            continue;
        const double nearest = cell_bound(plan, home, other, gap);
        if (nearest <= reach) chosen[count++] = (candidate){nearest, t};
    }
    qsort(chosen, count, sizeof *chosen, by_bound);
    return count;
}

/* See look_function in near.h. A row of a cell is one byte of the grid. */
void look_into_cell(const distance_plan *distance, const bit_grid *grid, const int32_t from[3],
                    const cell *box, neighbour *found) {
    const search_plan *const plan = &distance->search;
    const int64_t first_byte = (box->low[0] - grid->origin[0] + ROW_MARGIN) >> CELL_SHIFT[0];
    for (int32_t z = box->low[2]; z <= box->high[2]; z++)
        for (int32_t y = box->low[1]; y <= box->high[1]; y++) {
            uint32_t bits =
                grid->bits[row_start(grid, y - grid->origin[1], z - grid->origin[2]) + first_byte];
            if (bits &&
                squared_steps(plan, 0, abs(y - from[1]), abs(z - from[2])) >= found->squared)
                continue;
            for (; bits; bits &= bits - 1) {
                const int32_t x = box->low[0] + __builtin_ctz(bits);
                const double squared =
                    squared_steps(plan, abs(x - from[0]), abs(y - from[1]), abs(z - from[2]));
                if (squared < found->squared) *found = (neighbour){squared, {x, y, z}};
            }
        }
}

/* The nearest target of one source. At first, `found` holds the nearest target of the source
 * before, or none: a good bound to begin with. */
static void look_into_cells(const distance_plan *distance, const bit_grid *grid,
                            const int32_t from[3], const cell_list *targets,
                            const candidate *candidates, uint32_t count, neighbour *found) {
    const search_plan *const plan = &distance->search;
    if (found->squared < INFINITY)
        found->squared = squared_steps(plan, abs(found->at[0] - from[0]),
                                       abs(found->at[1] - from[1]), abs(found->at[2] - from[2]));
    for (uint32_t c = 0; c < count && candidates[c].bound < found->squared; c++) {
        const cell *const box = &targets->cells[candidates[c].cell];
        if (point_bound(plan, from, box) < found->squared)
            distance->look_into_cell(distance, grid, from, box, found);
    }
}

/* See cells.h. */
assay_status measure_by_cells(const distance_plan *plan, const bit_grid *grid,
                              const assay_elements *sources, const uint32_t *far,
                              uint32_t far_count, const assay_elements *targets,
                              double *distances_mm) {
    cell_list homes = {0}, others = {0};
    assay_status status = gather_sources(sources, far, far_count, &homes);
    if (!status) status = find_target_cells(grid, targets, &others);
    candidate *const candidates = status ? NULL : malloc((size_t)others.count * sizeof *candidates);
    if (!status && !candidates) status = ASSAY_NO_MEMORY;
    neighbour found = {.squared = INFINITY};
    for (uint32_t h = 0; !status && h < homes.count; h++) {
        const cell *const home = &homes.cells[h];
        const neighbour *const last = h && are_near(home, home - 1) ? &found : NULL;
        const double reach = find_reach(&plan->search, home, &others, last);
        const uint32_t count = choose_candidates(&plan->search, home, &others, reach, candidates);
        for (uint32_t i = homes.first[h]; i < homes.first[h + 1]; i++) {
            const assay_element e = sources->data[homes.members[i]];
            const int32_t from[3] = {(int32_t)element_x(e), (int32_t)element_y(e),
                                     (int32_t)element_z(e)};
            look_into_cells(plan, grid, from, &others, candidates, count, &found);
            distances_mm[homes.members[i]] = sqrt(found.squared);
        }
    }
    free(candidates);
    free(homes.cells);
    free(homes.members);
    free(homes.first);
    free(others.cells);
    return status;
}
