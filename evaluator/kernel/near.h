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

/* A box of at most 8 x 8 x 4 corners, both ends inclusive; along x it begins where a byte of the
 * grid does. */
typedef struct {
    int32_t low[3], high[3];
} cell;

/* An element and how far it is. */
typedef struct {
    double squared;
    int32_t at[3];
} neighbour;

/* The nearest element of one cell, if nearer than what was found. */
typedef void look_function(const struct distance_plan *plan, const bit_grid *grid,
                           const int32_t from[3], const cell *box, neighbour *found);

draw_function draw, draw_in_lanes; /* in lanes: with AVX-512 */
search_function search_nearby, search_nearby_in_lanes;
look_function look_into_cell, look_into_cell_in_lanes;

/* What depends on the voxel sizes alone, shared by every label of a pair. */
typedef struct distance_plan {
    search_plan search;
    draw_function *draw;
    search_function *search_nearby;
    look_function *look_into_cell;
    double spacing_mm[3];
    double *squares[3];
    double window[WINDOW_EMPTY + 1];
    row_group *groups;    /* the last of them repeated until blocks are full */
    int32_t padded_count; /* of groups */
    /* Infinite where an element that is no neighbour might be nearer. */
    double neighbour_mm[NO_NEIGHBOUR + 1];
    uint8_t nearest_class[NEIGHBOUR_PATTERNS];
} distance_plan;

#endif
