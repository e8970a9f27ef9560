/* Distances from the elements of one surface to those of another: first through windows of bits, then, for the few that
 * found nothing nearby, cell by cell.
 *
 * Far sources. Targets are gathered in cells of 8 x 8 x 4 corners, and so are the far sources. Between the bounding boxes of
 * two cells there is a smallest and a largest possible distance; whichever target cell lies, at its nearest, beyond the
 * smallest of the largest distances cannot hold anyone's nearest element. The few cells left are visited nearest first.
 * Bounds are sums of the same rounded squares as distances are, so they hold to the last bit.
 */
#include "distances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nearest.h"

enum { REACH = 14, CELL_X = 3, CELL_Y = 3, CELL_Z = 2 }; /* reach of the first search in corners; cells as powers of 2 */

struct distance_plan {
    search_plan search;
    double *squares[3];
    double window[WINDOW_EMPTY + 1];
    row_group *groups;
};

typedef struct {
    int32_t low[3], high[3]; /* bounding box, inclusive */
    uint32_t first, count;   /* its points */
} cell;

typedef struct {
    int32_t at[3];
    uint32_t index; /* which source this is */
} point;

typedef struct {
    cell *cells;
    uint32_t cell_count;
    point *points;
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

/* Counting sort of elements into cells; `indices` picks some of them, NULL takes all. */
static assay_status gather_cells(const assay_elements *elements, const uint32_t *indices, uint32_t count, cell_list *list) {
    static const int SHIFT[3] = {CELL_X, CELL_Y, CELL_Z};
    int32_t low[3], high[3];
    find_box(elements, low, high);
    uint64_t cells = 1, size[3];
    for (int axis = 0; axis < 3; axis++) {
        size[axis] = (uint64_t)((high[axis] - low[axis]) >> SHIFT[axis]) + 1;
        cells *= size[axis];
    }
    if (cells >= UINT32_MAX) return ASSAY_TOO_LARGE;
    uint32_t *const slot = calloc(cells + 1, sizeof *slot), *const cell_of = malloc((size_t)count * sizeof *cell_of);
    list->points = malloc((size_t)count * sizeof *list->points);
    list->cells = NULL;
    assay_status status = slot && cell_of && list->points ? ASSAY_OK : ASSAY_NO_MEMORY;
    for (uint32_t i = 0; !status && i < count; i++) {
        const assay_element e = elements->data[indices ? indices[i] : i];
        const uint64_t x = (uint64_t)((int32_t)element_x(e) - low[0]) >> CELL_X;
        const uint64_t y = (uint64_t)((int32_t)element_y(e) - low[1]) >> CELL_Y;
        const uint64_t z = (uint64_t)((int32_t)element_z(e) - low[2]) >> CELL_Z;
        cell_of[i] = (uint32_t)((z * size[1] + y) * size[0] + x);
        slot[cell_of[i]]++;
    }
    uint32_t used = 0;
    for (uint64_t c = 0; !status && c < cells; c++) used += slot[c] != 0;
    if (!status && !(list->cells = malloc((size_t)used * sizeof *list->cells))) status = ASSAY_NO_MEMORY;
    list->cell_count = 0;
    uint32_t first = 0;
    for (uint64_t c = 0; !status && c < cells; c++) {
        if (!slot[c]) continue;
        list->cells[list->cell_count] = (cell){
            {INT32_MAX, INT32_MAX, INT32_MAX}, {INT32_MIN, INT32_MIN, INT32_MIN}, first, 0};
        first += slot[c];
        slot[c] = list->cell_count++;
    }
    for (uint32_t i = 0; !status && i < count; i++) {
        const uint32_t index = indices ? indices[i] : i;
        const assay_element e = elements->data[index];
        cell *const home = &list->cells[slot[cell_of[i]]];
        const point p = {{(int32_t)element_x(e), (int32_t)element_y(e), (int32_t)element_z(e)}, index};
        for (int axis = 0; axis < 3; axis++) {
            if (p.at[axis] < home->low[axis]) home->low[axis] = p.at[axis];
            if (p.at[axis] > home->high[axis]) home->high[axis] = p.at[axis];
        }
        list->points[home->first + home->count++] = p;
    }
    free(slot);
    free(cell_of);
    return status;
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
    for (uint32_t t = 0; t < targets->cell_count; t++) {
        const double furthest = cell_bound(plan, home, &targets->cells[t], span);
        if (furthest < reach) reach = furthest;
    }
    uint32_t count = 0;
    for (uint32_t t = 0; t < targets->cell_count; t++) {
        const double nearest = cell_bound(plan, home, &targets->cells[t], gap);
        if (nearest <= reach) chosen[count++] = (candidate){nearest, t};
    }
    qsort(chosen, count, sizeof *chosen, by_bound);
    return count;
}

static double nearest_in_cells(const search_plan *plan, const int32_t at[3], const cell_list *targets,
                               const candidate *candidates, uint32_t count) {
    double best = INFINITY;
    for (uint32_t c = 0; c < count && candidates[c].bound < best; c++) {
        const cell *const box = &targets->cells[candidates[c].cell];
        if (point_bound(plan, at, box) >= best) continue;
        for (uint32_t i = 0; i < box->count; i++) {
            const int32_t *const other = targets->points[box->first + i].at;
            const double squared =
                squared_steps(plan, abs(other[0] - at[0]), abs(other[1] - at[1]), abs(other[2] - at[2]));
            if (squared < best) best = squared;
        }
    }
    return best;
}

static assay_status measure_far(const search_plan *plan, const assay_elements *sources, const uint32_t *far, uint32_t far_count,
                                const assay_elements *targets, double *distances_mm) {
    cell_list homes = {0}, others = {0};
    assay_status status = gather_cells(sources, far, far_count, &homes);
    if (!status) status = gather_cells(targets, NULL, (uint32_t)targets->count, &others);
    candidate *const candidates = status ? NULL : malloc((size_t)others.cell_count * sizeof *candidates);
    if (!status && !candidates) status = ASSAY_NO_MEMORY;
    for (uint32_t h = 0; !status && h < homes.cell_count; h++) {
        const cell *const home = &homes.cells[h];
        const uint32_t count = choose_candidates(plan, home, &others, candidates);
        for (uint32_t i = 0; i < home->count; i++) {
            const point *const p = &homes.points[home->first + i];
            distances_mm[p->index] = sqrt(nearest_in_cells(plan, p->at, &others, candidates, count));
        }
    }
    free(candidates);
    free(homes.cells);
    free(homes.points);
    free(others.cells);
    free(others.points);
    return status;
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
    uint32_t *far = NULL;
    uint32_t far_count = 0;
    for (uint64_t i = 0; i < sources->count; i++) {
        const assay_element e = sources->data[i];
        const double squared =
            nearest_through_windows(&grid, &plan->search, (int32_t)element_x(e), (int32_t)element_y(e),
                                    (int32_t)element_z(e), plan->search.last_axis, INFINITY);
        distances_mm[i] = sqrt(squared);
        if (squared <= plan->search.settled) continue;
        if (!far && !(far = malloc((size_t)(sources->count - i) * sizeof *far))) {
            status = ASSAY_NO_MEMORY;
            break;
        }
        far[far_count++] = (uint32_t)i;
    }
    erase_grid(&grid, targets, workspace);
    if (!status && far_count) status = measure_far(&plan->search, sources, far, far_count, targets, distances_mm);
    free(far);
    return status;
}
