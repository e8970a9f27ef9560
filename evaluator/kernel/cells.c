/* Distances of the sources that have no target nearby.
 *
 * The grid of bits is divided into cells of 8 x 8 x 4 corners, and so are the far sources. Between
 * two cells there is a smallest and a largest possible distance. Take the smallest of the largest
 * distances from one source cell to any target cell, or to an element found from the source cell
 * before. A target cell whose smallest distance exceeds it cannot hold the nearest element of any
 * source of that cell. The few target cells left are visited nearest first. Bounds are sums of the
 * same rounded squares as distances are, so they hold to the last bit.
 *
 * Cells are found by the words of the grid, and the elements of a target cell are listed when it is
 * first visited, so that a handful of far sources does not pay for a large surface.
 */
#include "cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sizes of a cell along x, y and z as powers of two; along x it is one byte of the grid. */
static const int CELL_SHIFT[3] = {3, 3, 2};
enum { CELL_CORNERS = 8 * 8 * 4 };

/* The cells of a box, numbered x first. */
typedef struct {
    int32_t low[3], high[3];
    uint32_t size[3];
    uint32_t count;
} cell_frame;

/* The cells that hold any target. */
typedef struct {
    cell_frame frame;
    cell *cells; /* boxes around their targets, ordered by z, y, x */
    uint32_t count;
    uint32_t *row_first; /* for each row of cells along x, where its cells begin, and one more */
    target_list *lists;  /* one per cell; without groups before its first visit */
    float *pool[3];      /* x, y and z of the targets in the lists, whole groups of LIST_GROUP */
    uint64_t pool_used, pool_capacity;
} target_cells;

/* The cells that hold any far source. */
typedef struct {
    cell_frame frame;
    cell *cells;
    uint32_t count;
    uint32_t *members; /* which of the sources, cell after cell */
    uint32_t *first;   /* where a cell's members begin, and one more */
    uint32_t *slots;   /* of the frame: the number of a cell, counted from 1; 0 where it is empty */
    neighbour *found;  /* for each cell done, the target of its last source */
} source_cells;

/* A target cell, and the smallest squared distance to it. */
typedef struct {
    double bound;
    uint32_t cell;
} candidate;

/* Target cells that may matter to one source cell, and their boxes. */
typedef struct {
    candidate *chosen;
    uint32_t count;
    cell_boxes boxes;
} candidate_list;

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

/* ---- cells of targets ----------------------------------------------------------------------- */

/* The first byte of the grid's row at y, z. */
static const uint8_t *grid_row(const bit_grid *grid, int32_t y, int32_t z) {
    return grid->bits + row_start(grid, y - grid->origin[1], z - grid->origin[2]) + ROW_MARGIN / 8;
}

/* The cells of one row of cells along x: eight bytes of the grid at a time. Rows are joined, so
 * that twelve words say where in a cell its targets begin and end. */
static void find_row_cells(target_cells *targets, const bit_grid *grid, int32_t y, int32_t z) {
    const cell_frame *const frame = &targets->frame;
    const int height = frame->high[1] - y < 7 ? frame->high[1] - y + 1 : 8;
    const int depth = frame->high[2] - z < 3 ? frame->high[2] - z + 1 : 4;
    for (uint32_t word = 0; word < frame->size[0]; word += 8) {
        uint64_t of_row[8] = {0}, of_slice[4] = {0}, any = 0;
        for (int dz = 0; dz < depth; dz++)
            for (int dy = 0; dy < height; dy++) {
                const uint64_t bits = load_bits(grid_row(grid, y + dy, z + dz) + word);
                of_row[dy] |= bits;
                of_slice[dz] |= bits;
            }
        for (int dz = 0; dz < depth; dz++) any |= of_slice[dz];
        /* Beyond the row's end lies the margin of the next one, which is empty. */
        while (any) {
            const int shift = __builtin_ctzll(any) & ~7;
            uint32_t along[3] = {any >> shift & 0xff, 0, 0};
            for (int dy = 0; dy < height; dy++)
                along[1] |= (uint32_t)((of_row[dy] >> shift & 0xff) != 0) << dy;
            for (int dz = 0; dz < depth; dz++)
                along[2] |= (uint32_t)((of_slice[dz] >> shift & 0xff) != 0) << dz;
            cell *const box = &targets->cells[targets->count++];
            const int32_t low[3] = {frame->low[0] + (int32_t)(8 * word) + shift, y, z};
            for (int axis = 0; axis < 3; axis++) {
                box->low[axis] = low[axis] + __builtin_ctz(along[axis]);
                box->high[axis] = low[axis] + 31 - __builtin_clz(along[axis]);
            }
            any &= ~(0xffull << shift);
        }
    }
}

/* The cells that hold any target. */
static assay_status find_target_cells(const bit_grid *grid, target_cells *targets) {
    cell_frame *const frame = &targets->frame;
    for (int axis = 0; axis < 3; axis++) {
        frame->low[axis] = grid->origin[axis];
        frame->high[axis] = grid->origin[axis] + grid->size[axis] - 1;
    }
    if (frame_cells(frame)) return ASSAY_TOO_LARGE;
    targets->cells = malloc((size_t)frame->count * sizeof *targets->cells);
    targets->row_first =
        malloc(((size_t)frame->size[1] * frame->size[2] + 1) * sizeof *targets->row_first);
    if (!targets->cells || !targets->row_first) return ASSAY_NO_MEMORY;
    uint32_t row = 0;
    for (uint32_t z = 0; z < frame->size[2]; z++)
        for (uint32_t y = 0; y < frame->size[1]; y++) {
            targets->row_first[row++] = targets->count;
            find_row_cells(targets, grid, frame->low[1] + (int32_t)(y << CELL_SHIFT[1]),
                           frame->low[2] + (int32_t)(z << CELL_SHIFT[2]));
        }
    targets->row_first[row] = targets->count;
    targets->lists = calloc(targets->count, sizeof *targets->lists);
    return targets->lists ? ASSAY_OK : ASSAY_NO_MEMORY;
}

/* Make room for the elements of one more cell. */
static assay_status reserve_pool(target_cells *targets) {
    if (targets->pool_used + CELL_CORNERS <= targets->pool_capacity) return ASSAY_OK;
    const uint64_t capacity = 2 * targets->pool_capacity + 16 * CELL_CORNERS;
    for (int axis = 0; axis < 3; axis++) {
        float *const grown = realloc(targets->pool[axis], capacity * sizeof *grown);
        if (!grown) return ASSAY_NO_MEMORY;
        targets->pool[axis] = grown;
    }
    targets->pool_capacity = capacity;
    return ASSAY_OK;
}

/* List the elements of a cell. The last group is filled up with the last element. */
static assay_status list_cell(target_cells *targets, const bit_grid *grid, uint32_t number) {
    if (reserve_pool(targets)) return ASSAY_NO_MEMORY;
    const cell *const box = &targets->cells[number];
    const int32_t byte = (box->low[0] - grid->origin[0]) >> CELL_SHIFT[0];
    const int32_t first_x = grid->origin[0] + 8 * byte;
    uint64_t at = targets->pool_used;
    for (int32_t z = box->low[2]; z <= box->high[2]; z++)
        for (int32_t y = box->low[1]; y <= box->high[1]; y++)
            for (uint32_t bits = grid_row(grid, y, z)[byte]; bits; bits &= bits - 1) {
                targets->pool[0][at] = (float)(first_x + __builtin_ctz(bits));
                targets->pool[1][at] = (float)y;
                targets->pool[2][at++] = (float)z;
            }
    for (; at % LIST_GROUP; at++)
        for (int axis = 0; axis < 3; axis++) targets->pool[axis][at] = targets->pool[axis][at - 1];
    targets->lists[number] = (target_list){(uint32_t)(targets->pool_used / LIST_GROUP),
                                           (uint32_t)((at - targets->pool_used) / LIST_GROUP)};
    targets->pool_used = at;
    return ASSAY_OK;
}

/* ---- cells of sources ----------------------------------------------------------------------- */

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

/* Draw every cell's box around its members. */
static void fit_boxes(source_cells *homes, const assay_elements *sources) {
    for (uint32_t h = 0; h < homes->count; h++) {
        cell *const box = &homes->cells[h];
        *box = (cell){{INT32_MAX, INT32_MAX, INT32_MAX}, {INT32_MIN, INT32_MIN, INT32_MIN}};
        for (uint32_t i = homes->first[h]; i < homes->first[h + 1]; i++) {
            const assay_element e = sources->data[homes->members[i]];
            const int32_t at[3] = {(int32_t)element_x(e), (int32_t)element_y(e),
                                   (int32_t)element_z(e)};
            for (int axis = 0; axis < 3; axis++) {
                box->low[axis] = at[axis] < box->low[axis] ? at[axis] : box->low[axis];
                box->high[axis] = at[axis] > box->high[axis] ? at[axis] : box->high[axis];
            }
        }
    }
}

/* The far sources, cell by cell (a counting sort). `far` is ascending, so the sources are ordered
 * by z. */
static assay_status gather_sources(const assay_elements *sources, const uint32_t *far,
                                   uint32_t far_count, source_cells *homes) {
    cell_frame *const frame = &homes->frame;
    find_far_box(sources, far, far_count, frame);
    if (frame_cells(frame)) return ASSAY_TOO_LARGE;
    uint32_t *const slots = homes->slots = calloc((size_t)frame->count + 1, sizeof *slots);
    homes->members = malloc((size_t)far_count * sizeof *homes->members);
    if (!slots || !homes->members) return ASSAY_NO_MEMORY;
    for (uint32_t i = 0; i < far_count; i++) slots[cell_of(frame, sources->data[far[i]])]++;
    for (uint32_t c = 0; c < frame->count; c++) homes->count += slots[c] != 0;
    homes->cells = malloc((size_t)homes->count * sizeof *homes->cells);
    homes->found = malloc((size_t)homes->count * sizeof *homes->found);
    homes->first = calloc((size_t)homes->count + 2, sizeof *homes->first);
    if (!homes->cells || !homes->found || !homes->first) return ASSAY_NO_MEMORY;
    uint32_t used = 0;
    for (uint32_t c = 0; c < frame->count; c++) {
        if (!slots[c]) continue;
        homes->first[used + 2] = homes->first[used + 1] + slots[c];
        slots[c] = ++used;
    }
    for (uint32_t i = 0; i < far_count; i++)
        homes->members[homes->first[slots[cell_of(frame, sources->data[far[i]])]]++] = far[i];
    fit_boxes(homes, sources);
    return ASSAY_OK;
}

/* ---- bounds --------------------------------------------------------------------------------- */

/* Steps along one axis between the nearest ends of two intervals; 0 where they overlap. */
static inline int32_t gap(int32_t low, int32_t high, int32_t other_low, int32_t other_high) {
    const int32_t up = other_low - high, down = low - other_high;
    const int32_t most = up > down ? up : down;
    return most > 0 ? most : 0;
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

/* The smallest squared distance between points of two cells. */
static inline double smallest_between(const search_plan *plan, const cell *a, const cell *b) {
    return squared_steps(plan, gap(a->low[0], a->high[0], b->low[0], b->high[0]),
                         gap(a->low[1], a->high[1], b->low[1], b->high[1]),
                         gap(a->low[2], a->high[2], b->low[2], b->high[2]));
}

/* The largest squared distance between points of two cells. */
static inline double largest_between(const search_plan *plan, const cell *a, const cell *b) {
    return squared_steps(plan, span(a->low[0], a->high[0], b->low[0], b->high[0]),
                         span(a->low[1], a->high[1], b->low[1], b->high[1]),
                         span(a->low[2], a->high[2], b->low[2], b->high[2]));
}

/* The largest squared distance between a target and any point of a cell. */
static double largest_to(const search_plan *plan, const cell *home, const neighbour *target) {
    const cell there = {{target->at[0], target->at[1], target->at[2]},
                        {target->at[0], target->at[1], target->at[2]}};
    return largest_between(plan, home, &there);
}

/* A squared distance within which every point of a cell has a target, by what was found from the
 * cells before it along x, y and z; infinite where there are none. */
static double find_reach(const search_plan *plan, const source_cells *homes, uint32_t number,
                         uint32_t place) {
    const uint32_t *const size = homes->frame.size;
    const uint32_t back[3] = {1, size[0], size[0] * size[1]};
    const uint32_t at[3] = {place % size[0], place / size[0] % size[1], place / size[0] / size[1]};
    double reach = INFINITY;
    for (int axis = 0; axis < 3; axis++) {
        const uint32_t before = at[axis] ? homes->slots[place - back[axis]] : 0;
        if (!before) continue;
        const double known = largest_to(plan, &homes->cells[number], &homes->found[before - 1]);
        reach = known < reach ? known : reach;
    }
    return reach;
}

/* How many steps along an axis a squared distance allows at most. */
static int32_t steps_within(const distance_plan *plan, int axis, double squared) {
    const double steps = sqrt(squared) / plan->spacing_mm[axis] + 1;
    return steps < (double)ASSAY_LARGEST_SIZE ? (int32_t)steps : (int32_t)ASSAY_LARGEST_SIZE;
}

/* The first and last row or slice of cells that reaches into an interval; none if last < first. */
static void cells_between(const cell_frame *frame, int axis, int32_t low, int32_t high,
                          int32_t range[2]) {
    low = low > frame->low[axis] ? low : frame->low[axis];
    high = high < frame->high[axis] ? high : frame->high[axis];
    range[0] = (low - frame->low[axis]) >> CELL_SHIFT[axis];
    range[1] = high < low ? range[0] - 1 : (high - frame->low[axis]) >> CELL_SHIFT[axis];
}

/* For qsort: candidates, the smallest bound first. */
static int by_bound(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    return (a->bound > b->bound) - (a->bound < b->bound);
}

/* The target cells that may hold the nearest element of any point of `home`, nearest first. */
static void choose_candidates(const distance_plan *plan, const cell *home,
                              const target_cells *targets, double reach, candidate_list *list) {
    int32_t y[2] = {0, (int32_t)targets->frame.size[1] - 1};
    int32_t z[2] = {0, (int32_t)targets->frame.size[2] - 1};
    if (reach < INFINITY) {
        const int32_t along_y = steps_within(plan, 1, reach),
                      along_z = steps_within(plan, 2, reach);
        cells_between(&targets->frame, 1, home->low[1] - along_y, home->high[1] + along_y, y);
        cells_between(&targets->frame, 2, home->low[2] - along_z, home->high[2] + along_z, z);
    }
    uint32_t count = 0;
    for (int32_t row_z = z[0]; row_z <= z[1]; row_z++)
        for (int32_t row_y = y[0]; row_y <= y[1]; row_y++) {
            const uint32_t row = (uint32_t)row_z * targets->frame.size[1] + (uint32_t)row_y;
            for (uint32_t t = targets->row_first[row]; t < targets->row_first[row + 1]; t++) {
                const cell *const other = &targets->cells[t];
                const double nearest = smallest_between(&plan->search, home, other);
                if (nearest > reach) continue;
                const double furthest = largest_between(&plan->search, home, other);
                reach = furthest < reach ? furthest : reach;
                list->chosen[count++] = (candidate){nearest, t};
            }
        }
    list->count = 0;
    for (uint32_t c = 0; c < count; c++)
        if (list->chosen[c].bound <= reach) list->chosen[list->count++] = list->chosen[c];
    qsort(list->chosen, list->count, sizeof *list->chosen, by_bound);
    for (uint32_t c = 0; c < list->count; c++)
        for (int axis = 0; axis < 3; axis++) {
            const cell *const box = &targets->cells[list->chosen[c].cell];
            list->boxes.low[axis][c] = box->low[axis];
            list->boxes.high[axis][c] = box->high[axis];
        }
}

/* ---- search --------------------------------------------------------------------------------- */

/* See bound_function in near.h. */
void bound_boxes(const distance_plan *plan, const cell_boxes *boxes, uint32_t first,
                 const int32_t from[3], double bounds[BOX_GROUP]) {
    bound_group(plan, boxes, first, from, bounds);
}

/* See look_function in near.h. */
void look_through_list(const distance_plan *plan, const float *const pool[3], target_list list,
                       const int32_t from[3], neighbour *found) {
    const uint64_t first = (uint64_t)list.first * LIST_GROUP;
    for (uint64_t i = first; i < first + list.groups * LIST_GROUP; i++) {
        const double x = (double)(pool[0][i] - (float)from[0]) * plan->spacing_mm[0];
        const double y = (double)(pool[1][i] - (float)from[1]) * plan->spacing_mm[1];
        const double z = (double)(pool[2][i] - (float)from[2]) * plan->spacing_mm[2];
        const double squared = sum_of_squares(x * x, y * y, z * z, plan->search.last_axis);
        if (squared < found->squared)
            *found = (neighbour){squared,
                                 {(int32_t)pool[0][i], (int32_t)pool[1][i], (int32_t)pool[2][i]}};
    }
}

/* The nearest target of one source. At first, `found` holds the nearest target of the source
 * before, or none: a good bound to begin with. */
static assay_status look_into_cells(const distance_plan *distance, const bit_grid *grid,
                                    const int32_t from[3], target_cells *targets,
                                    const candidate_list *list, neighbour *found) {
    const search_plan *const plan = &distance->search;
    if (found->squared < INFINITY)
        found->squared = squared_steps(plan, abs(found->at[0] - from[0]),
                                       abs(found->at[1] - from[1]), abs(found->at[2] - from[2]));
    double bounds[BOX_GROUP];
    for (uint32_t c = 0; c < list->count && list->chosen[c].bound < found->squared; c++) {
        if (c % BOX_GROUP == 0) distance->bound_boxes(distance, &list->boxes, c, from, bounds);
        if (bounds[c % BOX_GROUP] >= found->squared) continue;
        const uint32_t number = list->chosen[c].cell;
        if (!targets->lists[number].groups && list_cell(targets, grid, number))
            return ASSAY_NO_MEMORY;
        const float *const pool[3] = {targets->pool[0], targets->pool[1], targets->pool[2]};
        distance->look_through_list(distance, pool, targets->lists[number], from, found);
    }
    return ASSAY_OK;
}

/* Distances of the members of one source cell. */
static assay_status measure_cell(const distance_plan *plan, const bit_grid *grid,
                                 const assay_elements *sources, source_cells *homes,
                                 uint32_t number, target_cells *targets, candidate_list *list,
                                 neighbour *found, double *distances_mm) {
    const assay_element any = sources->data[homes->members[homes->first[number]]];
    const double reach = find_reach(&plan->search, homes, number, cell_of(&homes->frame, any));
    choose_candidates(plan, &homes->cells[number], targets, reach, list);
    for (uint32_t i = homes->first[number]; i < homes->first[number + 1]; i++) {
        const assay_element e = sources->data[homes->members[i]];
        const int32_t from[3] = {(int32_t)element_x(e), (int32_t)element_y(e),
                                 (int32_t)element_z(e)};
        if (look_into_cells(plan, grid, from, targets, list, found)) return ASSAY_NO_MEMORY;
        distances_mm[homes->members[i]] = sqrt(found->squared);
    }
    homes->found[number] = *found;
    return ASSAY_OK;
}

/* Room for all cells, and the boxes of whole groups. */
static assay_status reserve_candidates(candidate_list *list, uint32_t count) {
    const size_t boxes = ((size_t)count + BOX_GROUP - 1) / BOX_GROUP * BOX_GROUP;
    list->chosen = malloc(count * sizeof *list->chosen);
    double *const ends = calloc(6 * boxes, sizeof *ends);
    for (size_t axis = 0; axis < 3; axis++) {
        list->boxes.low[axis] = ends ? ends + 2 * axis * boxes : NULL;
        list->boxes.high[axis] = ends ? ends + (2 * axis + 1) * boxes : NULL;
    }
    return list->chosen && ends ? ASSAY_OK : ASSAY_NO_MEMORY;
}

/* See cells.h. */
assay_status measure_by_cells(const distance_plan *plan, const bit_grid *grid,
                              const assay_elements *sources, const uint32_t *far,
                              uint32_t far_count, double *distances_mm) {
    source_cells homes = {0};
    target_cells targets = {0};
    candidate_list list = {0};
    assay_status status = gather_sources(sources, far, far_count, &homes);
    if (!status) status = find_target_cells(grid, &targets);
    if (!status) status = reserve_candidates(&list, targets.count);
    neighbour found = {.squared = INFINITY};
    for (uint32_t h = 0; !status && h < homes.count; h++)
        status =
            measure_cell(plan, grid, sources, &homes, h, &targets, &list, &found, distances_mm);
    free(list.chosen);
    free(list.boxes.low[0]);
    free(homes.slots);
    free(homes.cells);
    free(homes.members);
    free(homes.first);
    free(homes.found);
    free(targets.cells);
    free(targets.row_first);
    free(targets.lists);
    for (int axis = 0; axis < 3; axis++) free(targets.pool[axis]);
    return status;
}
