/* The nearest element of a surface, for one source corner: the part the processor and the graphics
 * card share.
 *
 * The C compiler compiles every function here into the CPU kernel, and NVRTC compiles the same text
 * into the GPU backend, so the device code is tested wherever the CPU tests run. Neither uses fused
 * multiply-add.
 *
 * The surface is a grid of bits, one per corner of its bounding box, x along the bits. A margin of
 * 64 bits lies at both ends of every row, so that a window of 57 bits around any corner near the
 * box can be read at once. The margin at the end of one row may be the one at the beginning of the
 * next.
 */
#ifndef ASSAY_NEAREST_H
#define ASSAY_NEAREST_H

#include "portable.h"

#define WINDOW_REACH 28 /* corners seen to either side along x */
#define WINDOW_EMPTY 63 /* steps to an element that is not there */
#define BLOCK_GROUPS 4  /* groups looked at between two decisions to stop */
#define ROW_MARGIN 64   /* empty bits at both ends of a row */
/* Rows looked at to either side along y and z. As many empty rows lie around the box. */
#define ROW_REACH 14

#define WINDOW_MASK                                                              \
    ((1ull << (2 * WINDOW_REACH + 1)) - 1) /* the bits of a window: 28, 1 and 28 \
                                            */

/* The targets of one label: a bit per corner of their bounding box. */
typedef struct {
    const uint8_t *bits;
    const int64_t *near_rows; /* four byte offsets for each group: the rows it joins */
    int32_t origin[3];        /* of the bounding box */
    int32_t size[3];          /* of the bounding box, in corners */
    int64_t row_bytes;
} bit_grid;

/* The rows dy steps away in y and dz in z, to all sides: up to four, equally far. */
typedef struct {
    int32_t dy, dz;
    double y_squared, z_squared, row_squared; /* mm^2; the last is the sum of the other two */
} row_group;

/* What a search needs to know about voxel sizes. */
typedef struct {
    const double *squares[3]; /* of k steps along x, y, z in mm^2 */
    const double *window;     /* of k steps along x; infinite beyond WINDOW_REACH */
    const row_group *groups;  /* nearest first */
    int32_t group_count;
    int32_t last_axis; /* the axis whose square is added last */
    double settled;    /* a result up to this is the true minimum */
} search_plan;

/* The number of zeros below the lowest set bit. */
ASSAY_SHARED int lowest_bit(uint64_t bits) {
#ifdef __CUDA_ARCH__
    return __ffsll((long long)bits) - 1;
#else
    return __builtin_ctzll(bits);
#endif
}

/* The number of zeros above the highest set bit. */
ASSAY_SHARED int highest_bit_from_top(uint64_t bits) {
#ifdef __CUDA_ARCH__
    return __clzll((long long)bits);
#else
    return __builtin_clzll(bits);
#endif
}

/* The sum in the array's own axis order. Adding the first two commutes, so only the axis that is
 * added last matters. */
ASSAY_SHARED double sum_of_squares(double x, double y, double z, int32_t last_axis) {
    return last_axis == 2 ? (x + y) + z : last_axis == 1 ? (x + z) + y : (y + z) + x;
}

/* Sixty-four bits from any byte on; the machine is little-endian. */
ASSAY_SHARED uint64_t load_bits(const uint8_t *bytes) {
    uint64_t bits;
#ifdef __CUDA_ARCH__
    const uint64_t *const aligned = (const uint64_t *)((uintptr_t)bytes & ~(uintptr_t)7);
    const unsigned shift = 8u * (unsigned)((uintptr_t)bytes & 7);
    bits = shift ? aligned[0] >> shift | aligned[1] << (64 - shift) : aligned[0];
#else
    __builtin_memcpy(&bits, bytes, 8);
#endif
    return bits;
}

/* Where row (y, z), counted from the box's origin, begins. */
ASSAY_SHARED int64_t row_start(const bit_grid *grid, int32_t y, int32_t z) {
    const int64_t rows = grid->size[1] + 2 * ROW_REACH;
    return ((int64_t)(z + ROW_REACH) * rows + y + ROW_REACH) * grid->row_bytes;
}

/* The rows of a group that lie in the box, joined, from byte `first_byte` of each row on. */
ASSAY_SHARED uint64_t join_rows(const bit_grid *grid, const row_group *group, int32_t y, int32_t z,
                                int64_t first_byte) {
    uint64_t bits = 0;
    for (int32_t side = 0; side < 4; side++) {
        const int32_t row_y = side & 1 ? y - group->dy : y + group->dy;
        const int32_t row_z = side & 2 ? z - group->dz : z + group->dz;
        if ((uint32_t)row_y < (uint32_t)grid->size[1] && (uint32_t)row_z < (uint32_t)grid->size[2])
            bits |= load_bits(grid->bits + row_start(grid, row_y, row_z) + first_byte);
    }
    return bits;
}

/* Steps along x to the nearest set bit of a window; WINDOW_EMPTY if there is none. Without a
 * branch: whether a window is empty is as good as random, and a wrong guess costs more than all of
 * this. */
ASSAY_SHARED int steps_in_window(uint64_t window) {
    const int to_next = lowest_bit(window >> WINDOW_REACH | 1ull << WINDOW_EMPTY);
    const int to_last =
        highest_bit_from_top(window << (63 - WINDOW_REACH) | 1ull << (63 - WINDOW_EMPTY));
    return to_next < to_last ? to_next : to_last;
}

/* Squared distance to the nearest element that a window shows in the rows of a group. */
ASSAY_SHARED double group_distance(const search_plan *plan, const row_group *group, uint64_t window,
                                   int32_t last_axis) {
    const double x_squared = plan->window[steps_in_window(window & WINDOW_MASK)];
    return sum_of_squares(x_squared, group->y_squared, group->z_squared, last_axis);
}

/* Squared distance in mm^2 from corner (x, y, z) to the nearest element seen through the windows.
 * Final if it does not exceed `plan->settled`; otherwise only an upper bound, infinite where
 * nothing was seen. */
ASSAY_SHARED double nearest_through_windows(const bit_grid *grid, const search_plan *plan,
                                            int32_t x, int32_t y, int32_t z, int32_t last_axis,
                                            double infinity) {
    double best = infinity;
    x -= grid->origin[0];
    y -= grid->origin[1];
    z -= grid->origin[2];
    if (x < -WINDOW_REACH || x >= grid->size[0] + WINDOW_REACH) return best;
    const int32_t first_bit = x + ROW_MARGIN - WINDOW_REACH;
    const int64_t first_byte = first_bit >> 3;
    const int is_inside =
        (uint32_t)y < (uint32_t)grid->size[1] && (uint32_t)z < (uint32_t)grid->size[2];
    const uint8_t *const home =
        is_inside ? grid->bits + row_start(grid, y, z) + first_byte : grid->bits;
    const int32_t near_count = is_inside ? plan->group_count : 0;
    int32_t g = 0;
    for (; g + BLOCK_GROUPS <= near_count; g += BLOCK_GROUPS) {
        if (plan->groups[g].row_squared >= best) return best;
        for (int32_t k = g; k < g + BLOCK_GROUPS; k++) {
            const int64_t *const rows = grid->near_rows + 4 * k;
            const uint64_t window = load_bits(home + rows[0]) | load_bits(home + rows[1]) |
                                    load_bits(home + rows[2]) | load_bits(home + rows[3]);
            const double squared =
                group_distance(plan, &plan->groups[k], window >> (first_bit & 7), last_axis);
            best = squared < best ? squared : best;
        }
    }
    for (; g < plan->group_count && plan->groups[g].row_squared < best; g++) {
        const uint64_t window = join_rows(grid, &plan->groups[g], y, z, first_byte);
        const double squared =
            group_distance(plan, &plan->groups[g], window >> (first_bit & 7), last_axis);
        best = squared < best ? squared : best;
    }
    return best;
}

#endif
