/* Distances from the elements of one surface to those of another: first through windows of bits, then, for the few that
 * found nothing nearby, cell by cell.
 *
 * Far sources. The grid of bits is divided into cells of 8 x 8 x 4 corners, and so are the far sources. Between two cells
 * there is a smallest and a largest possible distance; whichever target cell lies, at its nearest, beyond the smallest of
 * the largest distances cannot hold anyone's nearest element. The few cells left are visited nearest first, a byte of bits
 * for each of their rows. Bounds are sums of the same rounded squares as distances are, so they hold to the last bit.
 */
#include "distances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nearest.h"

enum { REACH = 14 };                             /* of the first search, in corners */
static const int CELL_SHIFT[3] = {3, 3, 2}; /* sizes of a cell as powers of two; along x, one byte of the grid */

struct distance_plan {
    search_plan search;
    double *squares[3];
    double window[WINDOW_EMPTY + 1];
    row_group *groups;
};

typedef struct {
    int32_t low[3], high[3]; /* the corners it holds, inclusive */
} cell;

typedef struct {
    cell *cells;
    uint32_t count;
    uint32_t *members; /* of far sources: which of them, cell after cell */
    uint32_t *first;   /* of far sources: where a cell's members begin, and one more */
} cell_list;

typedef struct {
    double bound;
    uint32_t cell;
} candidate;

static int by_row(const void *left, const void *right) {
    const row_group *a = left, *b = right;
    return (a->row_squared > b->row_squared) - (a->row_squared < b->row_squared);
}

static int by_bound(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    return (a->bound > b->bound) - (a->bound < b->bound);
}

/* All rows no further than REACH steps of the finer of y and z: what lies within that distance cannot be missed. */
static assay_status plan_groups(distance_plan *plan, const uint32_t shape[3], const double spacing_mm[3]) {
    const double finer = shape[2] == 1 || spacing_mm[1] < spacing_mm[2] ? spacing_mm[1] : spacing_mm[2];
    const double limit = (REACH * finer) * (REACH * finer);
    int32_t reach[2];
    for (int axis = 1; axis < 3; axis++) {
        int32_t steps = 0;
        while (steps < (int32_t)shape[axis] && plan->squares[axis][steps + 1] <= limit) steps++;
        reach[axis - 1] = steps;
    }
    plan->groups = malloc((size_t)(reach[0] + 1) * (size_t)(reach[1] + 1) * sizeof *plan->groups);
    if (!plan->groups) return ASSAY_NO_MEMORY;
    int32_t count = 0, near_count = 0;
    for (int32_t dz = 0; dz <= reach[1]; dz++)
        for (int32_t dy = 0; dy <= reach[0]; dy++) {
            const double y = plan->squares[1][dy], z = plan->squares[2][dz];
            if (y + z <= limit) plan->groups[count++] = (row_group){dy, dz, y, z, y + z};
        }
    qsort(plan->groups, (size_t)count, sizeof *plan->groups, by_row);
    while (near_count < count && plan->groups[near_count].dy <= MARGIN_ROWS && plan->groups[near_count].dz <= MARGIN_ROWS)
        near_count++;
    const double beyond_window = ((WINDOW_REACH + 1) * spacing_mm[0]) * ((WINDOW_REACH + 1) * spacing_mm[0]);
    plan->search.groups = plan->groups;
    plan->search.group_count = count;
    plan->search.near_count = near_count;
    plan->search.settled = limit < beyond_window ? limit : beyond_window;
    return ASSAY_OK;
}

assay_status plan_distances(const uint32_t shape[3], const assay_metric *metric, distance_plan **result) {
    distance_plan *const plan = *result = calloc(1, sizeof *plan);
    if (!plan) return ASSAY_NO_MEMORY;
    for (int axis = 0; axis < 3; axis++) {
        const uint32_t count = shape[axis] + 2;
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
    return plan_groups(plan, shape, metric->spacing_mm);
}

void free_plan(distance_plan *plan) {
    if (!plan) return;
    for (int axis = 0; axis < 3; axis++) free(plan->squares[axis]);
    free(plan->groups);
    free(plan);
}

void free_workspace(distance_workspace *workspace) {
    free(workspace->bits);
    free(workspace->near_rows);
}

/* Elements come ordered by z; there is at least one. */
static void find_box(const assay_elements *elements, int32_t low[3], int32_t high[3]) {
    int32_t low_x = INT32_MAX, low_y = INT32_MAX, high_x = INT32_MIN, high_y = INT32_MIN;
    for (uint64_t i = 0; i < elements->count; i++) {
        const int32_t x = (int32_t)element_x(elements->data[i]), y = (int32_t)element_y(elements->data[i]);
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

static uint64_t bit_of(const bit_grid *grid, assay_element e) {
    const int32_t y = (int32_t)element_y(e) - grid->origin[1], z = (int32_t)element_z(e) - grid->origin[2];
    const int32_t x = (int32_t)element_x(e) - grid->origin[0];
    return (uint64_t)row_start(grid, y, z) * 8 + (uint64_t)(x + ROW_MARGIN);
}

static assay_status draw_grid(bit_grid *grid, const search_plan *plan, const assay_elements *targets,
                              distance_workspace *workspace) {
    int32_t high[3];
    find_box(targets, grid->origin, high);
    for (int axis = 0; axis < 3; axis++) grid->size[axis] = high[axis] - grid->origin[axis] + 1;
    grid->row_bytes = (grid->size[0] + 2 * ROW_MARGIN + 7) / 8;
    const uint64_t bytes = (uint64_t)row_start(grid, grid->size[1], grid->size[2] + MARGIN_ROWS) + 8;
    if (bytes > workspace->bits_bytes) {
        free(workspace->bits);
        workspace->bits = calloc(bytes, 1);
        workspace->bits_bytes = workspace->bits ? bytes : 0;
        if (!workspace->bits) return ASSAY_NO_MEMORY;
    }
    if (!workspace->near_rows && !(workspace->near_rows = malloc((size_t)plan->near_count * 4 * sizeof(int64_t))))
        return ASSAY_NO_MEMORY;
    for (int32_t g = 0; g < plan->near_count; g++)
        for (int32_t side = 0; side < 4; side++) {
            const int32_t dy = plan->groups[g].dy, dz = plan->groups[g].dz;
            workspace->near_rows[4 * g + side] = row_start(grid, side & 1 ? -dy : dy, side & 2 ? -dz : dz) - row_start(grid, 0, 0);
        }
    grid->bits = workspace->bits;
    grid->near_rows = workspace->near_rows;
    for (uint64_t i = 0; i < targets->count; i++) {
        const uint64_t bit = bit_of(grid, targets->data[i]);
        workspace->bits[bit >> 3] |= (uint8_t)(1u << (bit & 7));
    }
    return ASSAY_OK;
}

static void erase_grid(const bit_grid *grid, const assay_elements *targets, distance_workspace *workspace) {
    for (uint64_t i = 0; i < targets->count; i++) workspace->bits[bit_of(grid, targets->data[i]) >> 3] = 0;
}

/* The cells of a box, numbered x first. */
typedef struct {
    int32_t low[3], high[3];
    uint32_t size[3];
    uint32_t count;
} cell_frame;

static assay_status frame_cells(cell_frame *frame) {
    uint64_t count = 1;
    for (int axis = 0; axis < 3; axis++) {
        frame->size[axis] = (uint32_t)((frame->high[axis] - frame->low[axis]) >> CELL_SHIFT[axis]) + 1;
        count *= frame->size[axis];
    }
    frame->count = (uint32_t)count;
    return count < UINT32_MAX ? ASSAY_OK : ASSAY_TOO_LARGE;
}

static inline uint32_t cell_of(const cell_frame *frame, assay_element e) {
    const uint32_t x = ((uint32_t)((int32_t)element_x(e) - frame->low[0])) >> CELL_SHIFT[0];
    const uint32_t y = ((uint32_t)((int32_t)element_y(e) - frame->low[1])) >> CELL_SHIFT[1];
    const uint32_t z = ((uint32_t)((int32_t)element_z(e) - frame->low[2])) >> CELL_SHIFT[2];
    return (z * frame->size[1] + y) * frame->size[0] + x;
}

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
static assay_status find_target_cells(const bit_grid *grid, const assay_elements *targets, cell_list *list) {
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

/* The far sources, cell by cell (a counting sort). `far` is ascending, so the sources are ordered by z. */
static assay_status gather_sources(const assay_elements *sources, const uint32_t *far, uint32_t far_count, cell_list *list) {
    cell_frame frame;
    find_box(sources, frame.low, frame.high);
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

static inline int32_t gap(int32_t low, int32_t high, int32_t other_low, int32_t other_high) {
    return other_low > high ? other_low - high : low > other_high ? low - other_high : 0;
}

static inline int32_t span(int32_t low, int32_t high, int32_t other_low, int32_t other_high) {
    const int32_t up = other_high - low, down = high - other_low;
    return up > down ? up : down;
}

static inline double squared_steps(const search_plan *plan, int32_t x, int32_t y, int32_t z) {
    return sum_of_squares(plan->squares[0][x], plan->squares[1][y], plan->squares[2][z], plan->last_axis);
}

static double cell_bound(const search_plan *plan, const cell *a, const cell *b,
                         int32_t (*measure)(int32_t, int32_t, int32_t, int32_t)) {
    return squared_steps(plan, measure(a->low[0], a->high[0], b->low[0], b->high[0]),
                         measure(a->low[1], a->high[1], b->low[1], b->high[1]),
                         measure(a->low[2], a->high[2], b->low[2], b->high[2]));
}

static double point_bound(const search_plan *plan, const int32_t at[3], const cell *box) {
    return squared_steps(plan, gap(at[0], at[0], box->low[0], box->high[0]), gap(at[1], at[1], box->low[1], box->high[1]),
                         gap(at[2], at[2], box->low[2], box->high[2]));
}

/* The target cells that may hold the nearest element of any point of `home`, nearest first. */
static uint32_t choose_candidates(const search_plan *plan, const cell *home, const cell_list *targets, candidate *chosen) {
    double reach = INFINITY;
    for (uint32_t t = 0; t < targets->count; t++) {
        const double furthest = cell_bound(plan, home, &targets->cells[t], span);
        if (furthest < reach) reach = furthest;
    }
    uint32_t count = 0;
    for (uint32_t t = 0; t < targets->count; t++) {
        const double nearest = cell_bound(plan, home, &targets->cells[t], gap);
        if (nearest <= reach) chosen[count++] = (candidate){nearest, t};
    }
    qsort(chosen, count, sizeof *chosen, by_bound);
    return count;
}

/* The nearest element of one cell, if nearer than `best`. A row of a cell is one byte of the grid. */
static double nearest_in_cell(const bit_grid *grid, const search_plan *plan, const int32_t at[3], const cell *box, double best) {
    const int64_t first_byte = (box->low[0] - grid->origin[0] + ROW_MARGIN) >> CELL_SHIFT[0];
    for (int32_t z = box->low[2]; z <= box->high[2]; z++)
        for (int32_t y = box->low[1]; y <= box->high[1]; y++) {
            uint32_t bits = grid->bits[row_start(grid, y - grid->origin[1], z - grid->origin[2]) + first_byte];
            for (; bits; bits &= bits - 1) {
                const int32_t x = box->low[0] + __builtin_ctz(bits);
                const double squared = squared_steps(plan, abs(x - at[0]), abs(y - at[1]), abs(z - at[2]));
                best = squared < best ? squared : best;
            }
        }
    return best;
}

static double nearest_in_cells(const bit_grid *grid, const search_plan *plan, const int32_t at[3], const cell_list *targets,
                               const candidate *candidates, uint32_t count) {
    double best = INFINITY;
    for (uint32_t c = 0; c < count && candidates[c].bound < best; c++) {
        const cell *const box = &targets->cells[candidates[c].cell];
        if (point_bound(plan, at, box) < best) best = nearest_in_cell(grid, plan, at, box, best);
    }
    return best;
}

static assay_status measure_far(const search_plan *plan, const bit_grid *grid, const assay_elements *sources,
                                const uint32_t *far, uint32_t far_count, const assay_elements *targets, double *distances_mm) {
    cell_list homes = {0}, others = {0};
    assay_status status = gather_sources(sources, far, far_count, &homes);
    if (!status) status = find_target_cells(grid, targets, &others);
    candidate *const candidates = status ? NULL : malloc((size_t)others.count * sizeof *candidates);
    if (!status && !candidates) status = ASSAY_NO_MEMORY;
    for (uint32_t h = 0; !status && h < homes.count; h++) {
        const uint32_t count = choose_candidates(plan, &homes.cells[h], &others, candidates);
        for (uint32_t i = homes.first[h]; i < homes.first[h + 1]; i++) {
            const assay_element e = sources->data[homes.members[i]];
            const int32_t at[3] = {(int32_t)element_x(e), (int32_t)element_y(e), (int32_t)element_z(e)};
            distances_mm[homes.members[i]] = sqrt(nearest_in_cells(grid, plan, at, &others, candidates, count));
        }
    }
    free(candidates);
    free(homes.cells);
    free(homes.members);
    free(homes.first);
    free(others.cells);
    return status;
}

/* Half of all elements coincide with one of the other surface. They get distance 0 in a pass without branches, for which
 * half is hardest to guess; the others are listed in `left`. */
static uint32_t settle_coincident(const bit_grid *grid, const assay_elements *sources, double *distances_mm, uint32_t *left) {
    uint32_t count = 0;
    for (uint64_t i = 0; i < sources->count; i++) {
        const assay_element e = sources->data[i];
        const uint32_t x = element_x(e) - (uint32_t)grid->origin[0], y = element_y(e) - (uint32_t)grid->origin[1];
        const uint32_t z = element_z(e) - (uint32_t)grid->origin[2];
        const int is_inside =
            (x < (uint32_t)grid->size[0]) & (y < (uint32_t)grid->size[1]) & (z < (uint32_t)grid->size[2]);
        const uint64_t bit = is_inside ? (uint64_t)row_start(grid, (int32_t)y, (int32_t)z) * 8 + x + ROW_MARGIN : 0;
        distances_mm[i] = 0;
        left[count] = (uint32_t)i;
        count += !(grid->bits[bit >> 3] >> (bit & 7) & 1);
    }
    return count;
}

assay_status measure_distances(const distance_plan *plan, const assay_elements *sources, const assay_elements *targets,
                               distance_workspace *workspace, double *distances_mm) {
    if (!targets->count) {
        for (uint64_t i = 0; i < sources->count; i++) distances_mm[i] = INFINITY;
        return ASSAY_OK;
    }
    if (!sources->count) return ASSAY_OK;
    if (sources->count > UINT32_MAX || targets->count > UINT32_MAX) return ASSAY_TOO_LARGE;
    bit_grid grid;
    assay_status status = draw_grid(&grid, &plan->search, targets, workspace);
    if (status) return status;
    uint32_t *const left = malloc((size_t)sources->count * sizeof *left);
    if (!left) status = ASSAY_NO_MEMORY;
    const uint32_t left_count = status ? 0 : settle_coincident(&grid, sources, distances_mm, left);
    uint32_t far_count = 0;
    for (uint32_t i = 0; i < left_count; i++) {
        const assay_element e = sources->data[left[i]];
        const double squared =
            nearest_through_windows(&grid, &plan->search, (int32_t)element_x(e), (int32_t)element_y(e),
                                    (int32_t)element_z(e), plan->search.last_axis, INFINITY);
        distances_mm[left[i]] = sqrt(squared);
        left[far_count] = left[i];
        far_count += squared > plan->search.settled;
    }
    if (!status && far_count) status = measure_far(&plan->search, &grid, sources, left, far_count, targets, distances_mm);
    erase_grid(&grid, targets, workspace);
    free(left);
    return status;
}
