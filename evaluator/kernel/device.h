/* The GPU backend's kernels, one piece of work each: `index` says which. NVRTC compiles them for
 * the graphics card, and the C compiler into loops (device.c), through which the same source is
 * tested where there is no card.
 *
 * A volume is an array of one-byte keys, x fastest. Atomic counters hand out places, so elements
 * come in any order and the caller sorts them.
 */
#ifndef ASSAY_DEVICE_H
#define ASSAY_DEVICE_H

#include "elements.h"
#include "nearest.h"

#ifdef __CUDA_ARCH__
#define ATOMIC_ADD(place, value) atomicAdd(place, value)
#define ATOMIC_OR(place, value) atomicOr(place, value)
#else
#define ATOMIC_ADD(place, value) add_and_return(place, value)
#define ATOMIC_OR(place, value) (*(place) |= (value))
#endif

#define VOXELS_PER_THREAD 256

typedef unsigned long long counter; /* what atomicAdd takes for 64 bits */

/* An atomic addition where only one thread runs. */
ASSAY_SHARED counter add_and_return(counter *place, counter value) {
    const counter before = *place;
    *place = before + value;
    return before;
}

/* The eight voxels around a corner, from the lowest byte on: x-1 or x, then y-1 or y, then z-1 or
 * z. */
ASSAY_SHARED uint64_t keys_around(const uint8_t *keys, const int32_t *shape, int32_t is_planar,
                                  int32_t outside, int32_t x, int32_t y, int32_t z) {
    uint64_t bytes = 0;
    for (int32_t n = 0; n < 8; n++) {
        const int32_t vx = x - 1 + (n & 1), vy = y - 1 + (n >> 1 & 1);
        const int32_t vz = is_planar ? 0 : z - 1 + (n >> 2);
        const int is_inside =
            vx >= 0 && vx < shape[0] && vy >= 0 && vy < shape[1] && vz >= 0 && vz < shape[2];
        const uint64_t key =
            is_inside ? keys[((int64_t)vz * shape[1] + vy) * shape[0] + vx] : (uint64_t)outside;
        bytes |= key << 8 * n;
    }
    return bytes;
}

/* Which of the eight bytes equal `key`, as eight bits. */
ASSAY_SHARED uint32_t positions_of(uint64_t bytes, uint32_t key) {
    uint32_t positions = 0;
    for (uint32_t n = 0; n < 8; n++) positions |= (uint32_t)((bytes >> 8 * n & 0xff) == key) << n;
    return positions;
}

/* Whether voxels of a key belong to a label. */
ASSAY_SHARED int belongs_to(const uint32_t *first, const uint16_t *members, uint32_t key,
                            uint16_t label) {
    for (uint32_t m = first[key]; m < first[key + 1]; m++)
        if (members[m] == label) return 1;
    return 0;
}

/* Every element at one corner. With `elements` NULL they are only counted. `slots` counts per
 * label, or hands out places. */
ASSAY_SHARED void find_elements(int64_t index, const uint8_t *keys, const int32_t *shape,
                                int32_t is_planar, int32_t outside, const uint32_t *first,
                                const uint16_t *members, counter *slots, uint64_t *elements) {
    const int32_t x = (int32_t)(index % (shape[0] + 1));
    const int32_t y = (int32_t)(index / (shape[0] + 1) % (shape[1] + 1));
    const int32_t z = (int32_t)(index / (shape[0] + 1) / (shape[1] + 1));
    const uint64_t bytes = keys_around(keys, shape, is_planar, outside, x, y, z);
    if (bytes == 0x0101010101010101ull * (bytes & 0xff)) return;
    const assay_element corner = pack_corner((uint32_t)x, (uint32_t)y, (uint32_t)z);
    uint32_t seen = 0;
    for (uint32_t n = 0; n < 8; n++) {
        if (seen >> n & 1) continue;
        const uint32_t key = (uint32_t)(bytes >> 8 * n & 0xff);
        const uint32_t here = positions_of(bytes, key);
        for (uint32_t m = first[key]; m < first[key + 1]; m++) {
            uint32_t code = here;
            int is_new = 1;
            for (uint32_t other = 0; other < 8; other++) {
                if ((code >> other & 1) ||
                    !belongs_to(first, members, (uint32_t)(bytes >> 8 * other & 0xff), members[m]))
                    continue;
                /* An earlier key of the same label wrote this element. */
                if (seen >> other & 1) is_new = 0;
                code |= 1u << other;
            }
            if (!is_new || code == ALL_EIGHT) continue;
            const counter slot = ATOMIC_ADD(&slots[members[m]], (counter)1);
            if (elements) elements[slot] = with_code(corner, code);
        }
        seen |= here;
    }
}

/* Pairs of keys in a stretch of voxels, added up while they stay the same: neighbours mostly do. */
ASSAY_SHARED void count_pairs(int64_t index, const uint8_t *reference, const uint8_t *prediction,
                              int64_t voxels, counter *joint) {
    const int64_t start = index * VOXELS_PER_THREAD;
    const int64_t end = start + VOXELS_PER_THREAD < voxels ? start + VOXELS_PER_THREAD : voxels;
    counter same = 0;
    uint32_t last = 0;
    for (int64_t v = start; v < end; v++) {
        const uint32_t pair = (uint32_t)reference[v] << 8 | prediction[v];
        if (same && pair != last) {
            ATOMIC_ADD(&joint[last], same);
            same = 0;
        }
        last = pair;
        same++;
    }
    if (same) ATOMIC_ADD(&joint[last], same);
}

/* A grid as three numbers of origin, three of size, and the bytes of a row. */
ASSAY_SHARED bit_grid grid_of(const uint8_t *bits, const int64_t *near_rows, const int32_t *box,
                              int64_t row_bytes) {
    bit_grid grid;
    grid.bits = bits;
    grid.near_rows = near_rows;
    for (int axis = 0; axis < 3; axis++) {
        grid.origin[axis] = box[axis];
        grid.size[axis] = box[3 + axis];
    }
    grid.row_bytes = row_bytes;
    return grid;
}

/* Set one target's bit; `bits` begins at a multiple of four bytes. */
ASSAY_SHARED void draw_target(int64_t index, const uint64_t *targets, const int32_t *box,
                              int64_t row_bytes, uint32_t *bits) {
    const bit_grid grid = grid_of((const uint8_t *)bits, 0, box, row_bytes);
    const uint64_t e = targets[index];
    const int64_t row = row_start(&grid, (int32_t)element_y(e) - grid.origin[1],
                                  (int32_t)element_z(e) - grid.origin[2]);
    const int64_t bit = row * 8 + (int32_t)element_x(e) - grid.origin[0] + ROW_MARGIN;
    ATOMIC_OR(&bits[bit >> 5], 1u << (bit & 31));
}

/* Squared distance of one source; negative where the windows did not settle it. */
ASSAY_SHARED void search_near(int64_t index, const uint64_t *sources, const uint8_t *bits,
                              const int64_t *near_rows, const int32_t *box, int64_t row_bytes,
                              const row_group *groups, int32_t group_count, const double *window,
                              int32_t last_axis, double settled, double infinity, double *squared) {
    const bit_grid grid = grid_of(bits, near_rows, box, row_bytes);
    search_plan plan;
    plan.groups = groups;
    plan.group_count = group_count;
    plan.window = window;
    plan.last_axis = last_axis;
    plan.settled = settled;
    const uint64_t e = sources[index];
    const double found =
        nearest_through_windows(&grid, &plan, (int32_t)element_x(e), (int32_t)element_y(e),
                                (int32_t)element_z(e), last_axis, infinity);
    squared[index] = found <= settled ? found : -1.0;
}

/* Squared length in mm^2 of the steps between two coordinates. */
ASSAY_SHARED double square_of_steps(int32_t from, int32_t to, double spacing_mm) {
    const double length = (from < to ? to - from : from - to) * spacing_mm;
    return length * length;
}

/* What the windows left open: all targets, one after the other. Few sources are far, and a card has
 * many threads. */
ASSAY_SHARED void search_far(int64_t index, const uint64_t *sources, const uint64_t *targets,
                             int64_t target_count, const double *spacing_mm, int32_t last_axis,
                             double infinity, double *squared) {
    if (squared[index] >= 0) return;
    const uint64_t e = sources[index];
    double best = infinity;
    for (int64_t t = 0; t < target_count; t++) {
        const double x =
            square_of_steps((int32_t)element_x(e), (int32_t)element_x(targets[t]), spacing_mm[0]);
        const double y =
            square_of_steps((int32_t)element_y(e), (int32_t)element_y(targets[t]), spacing_mm[1]);
        const double z =
            square_of_steps((int32_t)element_z(e), (int32_t)element_z(targets[t]), spacing_mm[2]);
        const double here = sum_of_squares(x, y, z, last_axis);
        best = here < best ? here : best;
    }
    squared[index] = best;
}

/* Which indices one call works on. On a card every thread takes one index. Should there be fewer
 * threads than indices, it goes on by the number of threads. On the processor, one loop takes all.
 */
#ifdef __CUDACC__
#define DEVICE_KERNEL extern "C" __global__
/* The first index of this thread. */
__device__ static inline long long first_index(void) {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}
/* From one index of this thread to its next. */
__device__ static inline long long index_step(void) { return (long long)gridDim.x * blockDim.x; }
#else
#define DEVICE_KERNEL __attribute__((visibility("default")))
/* The first index of the loop. */
static inline long long first_index(void) { return 0; }
/* From one index of the loop to the next. */
static inline long long index_step(void) { return 1; }
#endif

#ifdef ASSAY_DEFINE_KERNELS
/* find_elements for every corner: `count` of them. */
DEVICE_KERNEL void assay_device_find_elements(long long count, const uint8_t *keys,
                                              const int32_t *shape, int is_planar, int outside,
                                              const uint32_t *first, const uint16_t *members,
                                              counter *slots, uint64_t *elements) {
    for (long long index = first_index(); index < count; index += index_step())
        find_elements(index, keys, shape, is_planar, outside, first, members, slots, elements);
}

/* count_pairs for every stretch of voxels. */
DEVICE_KERNEL void assay_device_count_pairs(long long count, const uint8_t *reference,
                                            const uint8_t *prediction, long long voxels,
                                            counter *joint) {
    for (long long index = first_index(); index < count; index += index_step())
        count_pairs(index, reference, prediction, voxels, joint);
}

/* draw_target for every target. */
DEVICE_KERNEL void assay_device_draw_target(long long count, const uint64_t *targets,
                                            const int32_t *box, long long row_bytes,
                                            uint32_t *bits) {
    for (long long index = first_index(); index < count; index += index_step())
        draw_target(index, targets, box, row_bytes, bits);
}

/* search_near for every source. */
DEVICE_KERNEL void assay_device_search_near(long long count, const uint64_t *sources,
                                            const uint8_t *bits, const int64_t *near_rows,
                                            const int32_t *box, long long row_bytes,
                                            const row_group *groups, int group_count,
                                            const double *window, int last_axis, double settled,
                                            double infinity, double *squared) {
    for (long long index = first_index(); index < count; index += index_step())
        search_near(index, sources, bits, near_rows, box, row_bytes, groups, group_count, window,
                    last_axis, settled, infinity, squared);
}

/* search_far for every source. */
DEVICE_KERNEL void assay_device_search_far(long long count, const uint64_t *sources,
                                           const uint64_t *targets, long long target_count,
                                           const double *spacing_mm, int last_axis, double infinity,
                                           double *squared) {
    for (long long index = first_index(); index < count; index += index_step())
        search_far(index, sources, targets, target_count, spacing_mm, last_axis, infinity, squared);
}
#endif

#endif
