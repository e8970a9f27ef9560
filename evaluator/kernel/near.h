/* What distances.c, cells.c and lanes.c share: the plan of a search, and the three functions of it
 * that exist in plain C and for AVX-512.
 */
#ifndef ASSAY_NEAR_H
#define ASSAY_NEAR_H

#include "kernel.h"
#include "nearest.h"

enum {
    NEIGHBOUR_PATTERNS = 1 << 12, /* three corners of each of four joined rows */
    NO_NEIGHBOUR = 8, /* classes of neighbours below: one bit for a step along each of x, y, z */
};

struct distance_plan;

/* Set the bits of all targets. */
typedef void draw_function(const bit_grid *grid, const assay_elements *targets, uint8_t *bits);

/* Distances in mm of all sources to the nearest target that `grid` shows nearby. Those that may
 * have a nearer one beyond are listed in `far`, ascending, which has room for all. Returns how
 * many. */
typedef uint32_t search_function(const struct distance_plan *plan, const bit_grid *grid,
                                 const assay_elements *sources, double *distances_mm,
                                 uint32_t *far);

/* Where one source is far, so are mostly those that follow. They go to the cells without a look at
 * the rows, twice as many each time. The cells measure any source, so this changes no distance. */
typedef struct {
    uint32_t left, last; /* still to skip now; skipped after the look before */
} skipping;

/* How many to skip after a look, which found that the sources are far or not. */
static inline void note_look(skipping *skip, int is_far) {
    enum { FEWEST = 4, MOST = 256 };
    const uint32_t twice = skip->last ? 2 * skip->last : FEWEST;
    skip->last = !is_far ? 0 : twice < MOST ? twice : MOST;
    skip->left = skip->last;
}

/* A box of at most 8 x 8 x 4 corners, both ends inclusive; along x it lies in one byte of the grid.
 */
typedef struct {
    int32_t low[3], high[3];
} cell;

/* An element and how far it is. */
typedef struct {
    double squared;
    int32_t at[3];
} neighbour;

/* Targets listed in groups of LIST_GROUP, so that lanes are full. */
enum { LIST_GROUP = 8 };
typedef struct {
    uint32_t first, groups; /* no groups: not listed yet */
} target_list;

/* The nearest element of a list, if nearer than what was found. `pool` has x, y and z of the
 * elements, whole numbers. */
typedef void look_function(const struct distance_plan *plan, const float *const pool[3],
                           target_list list, const int32_t from[3], neighbour *found);

/* Boxes of cells, whole groups of BOX_GROUP; the ends are whole numbers, both inclusive. */
enum { BOX_GROUP = 16 };
typedef struct {
    double *low[3], *high[3];
} cell_boxes;

/* The smallest squared distances from a corner to the boxes of one group, of which the last may be
 * any numbers. */
typedef void bound_function(const struct distance_plan *plan, const cell_boxes *boxes,
                            uint32_t first, const int32_t from[3], double bounds[BOX_GROUP]);

draw_function draw, draw_in_lanes; /* in lanes: with AVX-512 */
search_function search_nearby, search_nearby_in_lanes;
look_function look_through_list, look_through_list_in_lanes;
bound_function bound_boxes, bound_boxes_in_lanes;

/* What depends on the voxel sizes alone, shared by every label of a pair. */
typedef struct distance_plan {
    search_plan search;
    draw_function *draw;
    search_function *search_nearby;
    look_function *look_through_list;
    bound_function *bound_boxes;
    double spacing_mm[3];
    double *squares[3];
    double window[WINDOW_EMPTY + 1];
    row_group *groups;    /* the last of them repeated until blocks are full */
    int32_t padded_count; /* of groups */
    /* Infinite where an element that is no neighbour might be nearer. */
    double neighbour_mm[NO_NEIGHBOUR + 1];
    uint8_t nearest_class[NEIGHBOUR_PATTERNS];
} distance_plan;

/* The loop of a bound_function, of which the compiler makes vector code for each instruction set.
 */
static inline __attribute__((always_inline)) void bound_group(const distance_plan *plan,
                                                              const cell_boxes *boxes,
                                                              uint32_t first, const int32_t from[3],
                                                              double bounds[BOX_GROUP]) {
    double squares[3][BOX_GROUP];
    for (int axis = 0; axis < 3; axis++) {
        const double *const low = boxes->low[axis] + first, *const high = boxes->high[axis] + first;
        const double at = from[axis], size_mm = plan->spacing_mm[axis];
        for (int i = 0; i < BOX_GROUP; i++) {
            const double before = low[i] - at, behind = at - high[i];
            const double outside = before > behind ? before : behind;
            const double length = (outside > 0 ? outside : 0) * size_mm;
            squares[axis][i] = length * length;
        }
    }
    const int last = plan->search.last_axis, one = last == 0 ? 1 : 0, two = last == 2 ? 1 : 2;
    for (int i = 0; i < BOX_GROUP; i++)
        bounds[i] = (squares[one][i] + squares[two][i]) + squares[last][i];
}

#endif
