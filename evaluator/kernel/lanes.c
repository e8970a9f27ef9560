/* The search nearby with AVX-512, for up to eight sources of a row at once.
 *
 * Sources come row after row. Those that stand close together in a row look at the same rows of
 * bits. These are joined once, and every lane shifts what it sees to its own place. Lanes go on
 * until the last of them is settled, which changes no result: a row further than what was found
 * holds nothing nearer.
 */
#include "near.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>

#define WITH_AVX512 \
    __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vbmi2,avx512vpopcntdq")))

#define LANES 8
/* How far the last lane's corner may lie beyond the first lane's: their windows fit in 128 bits. */
#define REACH 54

/* Sources of one row, the first of them from the grid's origin. */
typedef struct {
    int32_t x, y, z;
    __mmask8 in_use;
    __m512i steps; /* of each lane from the first one, along x */
} lane_set;

/* As many of the next `left` sources as stand in one row and close enough together. */
WITH_AVX512 static inline lane_set gather_lanes(const bit_grid *grid, const assay_element *sources,
                                                uint64_t left) {
    const assay_element e = *sources;
    const uint64_t to_row_end = COORDINATE_MASK - element_x(e);
    const __m512i elements =
        _mm512_maskz_loadu_epi64(left < LANES ? (__mmask8)((1u << left) - 1) : 0xff, sources);
    const __m512i places = _mm512_and_si512(elements, _mm512_set1_epi64((long long)place_mask()));
    lane_set lanes;
    lanes.steps = _mm512_sub_epi64(places, _mm512_set1_epi64((long long)(e & place_mask())));
    const __m512i furthest =
        _mm512_set1_epi64((long long)(to_row_end < REACH ? to_row_end : REACH));
    /* Unsigned: a source that comes before the first is far away. */
    const uint32_t fits = _mm512_cmple_epu64_mask(lanes.steps, furthest);
    const uint32_t together = left < LANES ? fits & ((1u << left) - 1) : fits;
    /* From the first on, without a gap. */
    lanes.in_use = (__mmask8)((1u << __builtin_ctz(~together)) - 1);
    lanes.x = (int32_t)element_x(e) - grid->origin[0];
    lanes.y = (int32_t)element_y(e) - grid->origin[1];
    lanes.z = (int32_t)element_z(e) - grid->origin[2];
    return lanes;
}

/* Distances of the lanes that coincide with a target or have one for a neighbour; infinite for the
 * others. */
WITH_AVX512 static inline __m512d settle_neighbours(const distance_plan *plan, const bit_grid *grid,
                                                    const lane_set *lanes) {
    const int64_t row = grid->row_bytes, layer = row_start(grid, 0, 1) - row_start(grid, 0, 0);
    const int is_near = (lanes->x >= -REACH - 1) & (lanes->x <= grid->size[0]) & (lanes->y >= -1) &
                        (lanes->y <= grid->size[1]) & (lanes->z >= -1) &
                        (lanes->z <= grid->size[2]);
    const int32_t bit = is_near ? lanes->x + ROW_MARGIN - 1 : 0;
    const int32_t margin = 2 - ROW_REACH; /* no bit is set around it */
    const uint8_t *const home =
        grid->bits + row_start(grid, is_near ? lanes->y : margin, is_near ? lanes->z : margin) +
        bit / 8;
    const uint8_t *const below = home - layer, *const above = home + layer;
    const uint64_t joined[4] = {
        load_bits(home),
        load_bits(home - row) | load_bits(home + row),
        load_bits(below) | load_bits(above),
        load_bits(below - row) | load_bits(below + row) | load_bits(above - row) |
            load_bits(above + row),
    };
    const __m512i shifts = _mm512_add_epi64(lanes->steps, _mm512_set1_epi64(bit % 8));
    __m512d nearest = _mm512_set1_pd(INFINITY);
    for (int rows = 0; rows < 4; rows++) {
        const __m512i seen = _mm512_srlv_epi64(_mm512_set1_epi64((long long)joined[rows]), shifts);
        const __mmask8 is_level = _mm512_test_epi64_mask(seen, _mm512_set1_epi64(2));
        const __mmask8 is_beside = _mm512_test_epi64_mask(seen, _mm512_set1_epi64(5));
        nearest = _mm512_mask_min_pd(nearest, is_level, nearest,
                                     _mm512_set1_pd(plan->neighbour_mm[2 * rows]));
        nearest = _mm512_mask_min_pd(nearest, is_beside, nearest,
                                     _mm512_set1_pd(plan->neighbour_mm[2 * rows + 1]));
    }
    return nearest;
}

/* Squares of as many steps in mm. */
WITH_AVX512 static inline __m512d square_lanes(__m512i steps, __m512d size_mm) {
    const __m512d length = _mm512_mul_pd(_mm512_cvtepi64_pd(steps), size_mm);
    return _mm512_mul_pd(length, length);
}

/* Squares of whole steps in mm, given as floats. */
WITH_AVX512 static inline __m512d square_lengths(__m256 steps, __m512d size_mm) {
    const __m512d length = _mm512_mul_pd(_mm512_cvtps_pd(steps), size_mm);
    return _mm512_mul_pd(length, length);
}

/* See sum_of_squares in nearest.h. */
WITH_AVX512 static inline __m512d sum_in_lanes(__m512d x, __m512d y, __m512d z, int32_t last_axis) {
    return last_axis == 2   ? _mm512_add_pd(_mm512_add_pd(x, y), z)
           : last_axis == 1 ? _mm512_add_pd(_mm512_add_pd(x, z), y)
                            : _mm512_add_pd(_mm512_add_pd(y, z), x);
}

/* Steps to the nearest bit, going up from bit `from` or down to it; 64 where there is none. */
WITH_AVX512 static inline __m512i steps_in_lanes(__m512i bits, unsigned from) {
    const __m512i after = _mm512_srli_epi64(bits, from);
    const __m512i before = _mm512_slli_epi64(bits, 63 - from);
    const __m512i below_lowest =
        _mm512_andnot_si512(after, _mm512_add_epi64(after, _mm512_set1_epi64(-1)));
    return _mm512_min_epu64(_mm512_lzcnt_epi64(before), _mm512_popcnt_epi64(below_lowest));
}

/* Squares of the steps along x to the nearest bit every lane sees of the joined rows. One that sees
 * nothing is given 64 steps, too many to be settled. */
WITH_AVX512 static inline __m512d squares_along_x(__m128i joined, __m512i shifts, __m512d size_mm) {
    const __m512i both = _mm512_castsi128_si512(joined);
    const __m512i low = _mm512_permutexvar_epi64(_mm512_setzero_si512(), both);
    const __m512i high = _mm512_permutexvar_epi64(_mm512_set1_epi64(1), both);
    return square_lanes(steps_in_lanes(_mm512_shrdv_epi64(low, high, shifts), WINDOW_REACH),
                        size_mm);
}

/* The rows of one group, joined. */
WITH_AVX512 static inline __m128i join_lanes(const uint8_t *home, const int64_t rows[4]) {
    __m128i joined = _mm_loadu_si128((const __m128i *)(home + rows[0]));
    for (int side = 1; side < 4; side++)
        joined = _mm_or_si128(joined, _mm_loadu_si128((const __m128i *)(home + rows[side])));
    return joined;
}

/* Squared distances of the open lanes through their windows. All lanes lie in the box along y and
 * z. */
WITH_AVX512 static inline __attribute__((always_inline)) __m512d
search_rows(const distance_plan *plan, const bit_grid *grid, const lane_set *lanes, __mmask8 open,
            int last_axis) {
    const int32_t first_bit = lanes->x + ROW_MARGIN - WINDOW_REACH;
    const uint8_t *const home = grid->bits + row_start(grid, lanes->y, lanes->z) + (first_bit >> 3);
    const __m512i shifts = _mm512_add_epi64(lanes->steps, _mm512_set1_epi64(first_bit & 7));
    const __m512d size_mm = _mm512_set1_pd(plan->spacing_mm[0]);
    __m512d best = _mm512_maskz_mov_pd(open, _mm512_set1_pd(INFINITY));
    for (int32_t g = 0; g < plan->padded_count; g += BLOCK_GROUPS) {
        const row_group *const groups = plan->groups + g;
        if (!_mm512_cmp_pd_mask(best, _mm512_set1_pd(groups->row_squared), _CMP_GT_OQ)) break;
        for (int k = 0; k < BLOCK_GROUPS; k++) {
            const __m512d x =
                squares_along_x(join_lanes(home, grid->near_rows + 4 * (g + k)), shifts, size_mm);
            const __m512d y = _mm512_set1_pd(groups[k].y_squared);
            const __m512d z = _mm512_set1_pd(groups[k].z_squared);
            best = _mm512_min_pd(best, sum_in_lanes(x, y, z, last_axis));
        }
    }
    return best;
}

/* Squared distances of the open lanes through their windows, wherever the lanes are. */
WITH_AVX512 static __m512d search_windows(const distance_plan *plan, const bit_grid *grid,
                                          const lane_set *lanes, __mmask8 open) {
    /* Further to the right a window would reach into the next row; of the lanes, only some may
     * stand there. */
    const int32_t steps_left = grid->size[0] + WINDOW_REACH - 1 - lanes->x;
    const __mmask8 sees_its_row =
        _mm512_mask_cmple_epi64_mask(open, lanes->steps, _mm512_set1_epi64(steps_left));
    const int is_inside = (lanes->x >= -WINDOW_REACH) & (sees_its_row == open) &
                          ((uint32_t)lanes->y < (uint32_t)grid->size[1]) &
                          ((uint32_t)lanes->z < (uint32_t)grid->size[2]);
    if (is_inside && plan->search.last_axis == 2) return search_rows(plan, grid, lanes, open, 2);
    if (is_inside && plan->search.last_axis == 1) return search_rows(plan, grid, lanes, open, 1);
    if (is_inside) return search_rows(plan, grid, lanes, open, 0);
    double squared[LANES];
    int64_t steps[LANES];
    _mm512_storeu_si512(steps, lanes->steps);
    for (uint32_t left = open; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        squared[lane] = nearest_through_windows(
            grid, &plan->search, lanes->x + grid->origin[0] + (int32_t)steps[lane],
            lanes->y + grid->origin[1], lanes->z + grid->origin[2], plan->search.last_axis,
            INFINITY);
    }
    return _mm512_maskz_loadu_pd(open, squared);
}

/* Draws as many targets as go together; returns how many. */
WITH_AVX512 static inline uint64_t draw_lanes(const bit_grid *grid, const assay_element *targets,
                                              uint64_t left, uint8_t *bits) {
    const lane_set lanes = gather_lanes(grid, targets, left);
    const int32_t first_bit = lanes.x + ROW_MARGIN;
    const __m512i shifts = _mm512_add_epi64(lanes.steps, _mm512_set1_epi64(first_bit & 7));
    const __m512i drawn = _mm512_maskz_sllv_epi64(lanes.in_use, _mm512_set1_epi64(1), shifts);
    uint8_t *const home = bits + row_start(grid, lanes.y, lanes.z) + (first_bit >> 3);
    const uint64_t word = load_bits(home) | (uint64_t)_mm512_reduce_or_epi64(drawn);
    __builtin_memcpy(home, &word, sizeof word);
    return (uint64_t)__builtin_popcount(lanes.in_use);
}

/* See draw_function in near.h. Where lanes begin is known only when those before are gathered, so
 * four parts of the list are drawn in turn, which do not wait for each other. */
WITH_AVX512 void draw_in_lanes(const bit_grid *grid, const assay_elements *targets, uint8_t *bits) {
    enum { PARTS = 4 };
    uint64_t next[PARTS], end[PARTS];
    for (int part = 0; part < PARTS; part++) {
        next[part] = targets->count * (uint64_t)part / PARTS;
        end[part] = targets->count * (uint64_t)(part + 1) / PARTS;
    }
    for (int is_busy = 1; is_busy;) {
        is_busy = 0;
        for (int part = 0; part < PARTS; part++) {
            if (next[part] == end[part]) continue;
            next[part] +=
                draw_lanes(grid, targets->data + next[part], end[part] - next[part], bits);
            is_busy = 1;
        }
    }
}

/* See search_function in near.h. */
WITH_AVX512 uint32_t search_nearby_in_lanes(const distance_plan *plan, const bit_grid *grid,
                                            const assay_elements *sources, double *distances_mm,
                                            uint32_t *far) {
    uint32_t far_count = 0;
    skipping skip = {0}; /* of sets of lanes */
    for (uint64_t first = 0; first < sources->count;) {
        const lane_set lanes = gather_lanes(grid, sources->data + first, sources->count - first);
        __m512d distances = settle_neighbours(plan, grid, &lanes);
        const __mmask8 open =
            _mm512_mask_cmp_pd_mask(lanes.in_use, distances, _mm512_set1_pd(INFINITY), _CMP_EQ_OQ);
        if (open == lanes.in_use && skip.left) {
            skip.left--;
            for (uint32_t left = open; left; left &= left - 1)
                far[far_count++] = (uint32_t)first + (uint32_t)__builtin_ctz(left);
        } else if (open) {
            const __m512d squared = search_windows(plan, grid, &lanes, open);
            distances = _mm512_mask_sqrt_pd(distances, open, squared);
            const uint32_t beyond = _mm512_mask_cmp_pd_mask(
                open, squared, _mm512_set1_pd(plan->search.settled), _CMP_GT_OQ);
            for (uint32_t left = beyond; left; left &= left - 1)
                far[far_count++] = (uint32_t)first + (uint32_t)__builtin_ctz(left);
            note_look(&skip, beyond == lanes.in_use);
        }
        _mm512_mask_storeu_pd(distances_mm + first, lanes.in_use, distances);
        first += (uint64_t)__builtin_popcount(lanes.in_use);
    }
    return far_count;
}

/* See bound_function in near.h. */
WITH_AVX512 void bound_boxes_in_lanes(const distance_plan *plan, const cell_boxes *boxes,
                                      uint32_t first, const int32_t from[3],
                                      double bounds[BOX_GROUP]) {
    bound_group(plan, boxes, first, from, bounds);
}

/* See look_function in near.h. The elements of a group at once. */
WITH_AVX512 void look_through_list_in_lanes(const distance_plan *plan, const float *const pool[3],
                                            target_list list, const int32_t from[3],
                                            neighbour *found) {
    __m512d nearest = _mm512_set1_pd(found->squared);
    __m512i place = _mm512_set1_epi64(-1);
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 from_x = _mm256_set1_ps((float)from[0]), from_y = _mm256_set1_ps((float)from[1]);
    const __m256 from_z = _mm256_set1_ps((float)from[2]);
    const __m512d size_x = _mm512_set1_pd(plan->spacing_mm[0]);
    const __m512d size_y = _mm512_set1_pd(plan->spacing_mm[1]);
    const __m512d size_z = _mm512_set1_pd(plan->spacing_mm[2]);
    const uint64_t first = (uint64_t)list.first * LIST_GROUP;
    for (uint64_t i = first; i < first + (uint64_t)list.groups * LIST_GROUP; i += LIST_GROUP) {
        const __m512d x =
            square_lengths(_mm256_sub_ps(_mm256_loadu_ps(pool[0] + i), from_x), size_x);
        const __m512d y =
            square_lengths(_mm256_sub_ps(_mm256_loadu_ps(pool[1] + i), from_y), size_y);
        const __m512d z =
            square_lengths(_mm256_sub_ps(_mm256_loadu_ps(pool[2] + i), from_z), size_z);
        const __m512d squared = sum_in_lanes(x, y, z, plan->search.last_axis);
        const __mmask8 is_nearer = _mm512_cmp_pd_mask(squared, nearest, _CMP_LT_OQ);
        nearest = _mm512_mask_mov_pd(nearest, is_nearer, squared);
        place = _mm512_mask_add_epi64(place, is_nearer, lane, _mm512_set1_epi64((long long)i));
    }
    const double smallest = _mm512_reduce_min_pd(nearest);
    if (smallest >= found->squared) return;
    int64_t places[LANES];
    _mm512_storeu_si512(places, place);
    const int64_t at =
        places[__builtin_ctz(_mm512_cmp_pd_mask(nearest, _mm512_set1_pd(smallest), _CMP_EQ_OQ))];
    *found =
        (neighbour){smallest, {(int32_t)pool[0][at], (int32_t)pool[1][at], (int32_t)pool[2][at]}};
}
#endif
