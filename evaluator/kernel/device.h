/* The GPU backend's kernels, one piece of work each: `index` is the thread. Compiled by NVRTC for the graphics card, and by
 * the C compiler into loops (device.c), through which the very same source is tested where there is no card.
 *
 * A volume is an array of one-byte keys, x fastest. Elements are packed as in kernel.h. Slots are handed out by atomic
 * counters, so elements come in any order; the caller sorts them.
 */
#ifndef ASSAY_DEVICE_H
#define ASSAY_DEVICE_H

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

/* What an atomic addition is where only one thread runs. */
ASSAY_SHARED counter add_and_return(counter *place, counter value) {
    const counter before = *place;
    *place = before + value;
    return before;
}

/* The eight voxels around a corner, from the lowest byte on: x-1 or x, then y-1 or y, then z-1 or z. */
ASSAY_SHARED uint64_t keys_around(const uint8_t *keys, const int32_t *shape, int32_t is_planar, int32_t outside, int32_t x,
                                  int32_t y, int32_t z) {
    uint64_t bytes = 0;
    for (int32_t n = 0; n < 8; n++) {
        const int32_t vx = x - 1 + (n & 1), vy = y - 1 + (n >> 1 & 1), vz = is_planar ? 0 : z - 1 + (n >> 2);
        const int is_inside = vx >= 0 && vx < shape[0] && vy >= 0 && vy < shape[1] && vz >= 0 && vz < shape[2];
        const uint64_t key = is_inside ? keys[((int64_t)vz * shape[1] + vy) * shape[0] + vx] : (uint64_t)outside;
        bytes |= key << 8 * n;
    }
    return bytes;
}

ASSAY_SHARED uint32_t positions_of(uint64_t bytes, uint32_t key) {
    uint32_t positions = 0;
    for (uint32_t n = 0; n < 8; n++) positions |= (uint32_t)((bytes >> 8 * n & 0xff) == key) << n;
    return positions;
}

ASSAY_SHARED int belongs_to(const uint32_t *first, const uint16_t *members, uint32_t key, uint16_t label) {
    for (uint32_t m = first[key]; m < first[key + 1]; m++)
        if (members[m] == label) return 1;
    return 0;
}

/* Every element at one corner. With `elements` NULL they are only counted. `slots` counts per label, or hands out places. */
ASSAY_SHARED void find_elements(int64_t index, const uint8_t *keys, const int32_t *shape, int32_t is_planar, int32_t outside,
                                const uint32_t *first, const uint16_t *members, counter *slots, uint64_t *elements) {
    const int32_t x = (int32_t)(index % (shape[0] + 1)), y = (int32_t)(index / (shape[0] + 1) % (shape[1] + 1));
    const int32_t z = (int32_t)(index / (shape[0] + 1) / (shape[1] + 1));
    const uint64_t bytes = keys_around(keys, shape, is_planar, outside, x, y, z);
    if (bytes == 0x0101010101010101ull * (bytes & 0xff)) return;
    const uint64_t corner = (uint64_t)x | (uint64_t)y << 18 | (uint64_t)z << 36;
    uint32_t seen = 0;
    for (uint32_t n = 0; n < 8; n++) {
        if (seen >> n & 1) continue;
        const uint32_t key = (uint32_t)(bytes >> 8 * n & 0xff);
        const uint32_t here = positions_of(bytes, key);
        for (uint32_t m = first[key]; m < first[key + 1]; m++) {
            uint32_t code = here;
            int is_new = 1;
            for (uint32_t other = 0; other < 8; other++) {
                if ((code >> other & 1) || !belongs_to(first, members, (uint32_t)(bytes >> 8 * other & 0xff), members[m])) continue;
                if (seen >> other & 1) is_new = 0; /* an earlier key of the same label wrote this element */
                code |= 1u << other;
            }
            if (!is_new || code == 0xff) continue;
            const counter slot = ATOMIC_ADD(&slots[members[m]], (counter)1);
            if (elements) elements[slot] = corner | (uint64_t)code << 54;
        }
        seen |= here;
    }
}

/* Pairs of keys in a stretch of voxels, added up while they stay the same: neighbours mostly do. */
ASSAY_SHARED void count_pairs(int64_t index, const uint8_t *reference, const uint8_t *prediction, int64_t voxels, counter *joint) {
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
ASSAY_SHARED bit_grid grid_of(const uint8_t *bits, const int64_t *near_rows, const int32_t *box, int64_t row_bytes) {
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

ASSAY_SHARED int32_t packed_x(uint64_t element) { return (int32_t)(element & 0x3ffff); }
ASSAY_SHARED int32_t packed_y(uint64_t element) { return (int32_t)(element >> 18 & 0x3ffff); }
ASSAY_SHARED int32_t packed_z(uint64_t element) { return (int32_t)(element >> 36 & 0x3ffff); }

/* Set one target's bit; `bits` begins at a multiple of four bytes. */
ASSAY_SHARED void draw_target(int64_t index, const uint64_t *targets, const int32_t *box, int64_t row_bytes, uint32_t *bits) {
    const bit_grid grid = grid_of((const uint8_t *)bits, 0, box, row_bytes);
    const uint64_t e = targets[index];
    const int64_t row = row_start(&grid, packed_y(e) - grid.origin[1], packed_z(e) - grid.origin[2]);
    const int64_t bit = row * 8 + packed_x(e) - grid.origin[0] + ROW_MARGIN;
    ATOMIC_OR(&bits[bit >> 5], 1u << (bit & 31));
}

/* Squared distance of one source; negative where the windows did not settle it. */
ASSAY_SHARED void search_near(int64_t index, const uint64_t *sources, const uint8_t *bits, const int64_t *near_rows,
                              const int32_t *box, int64_t row_bytes, const row_group *groups, int32_t group_count,
                              const double *window, int32_t last_axis, double settled, double infinity,
                              double *squared) {
    const bit_grid grid = grid_of(bits, near_rows, box, row_bytes);
    search_plan plan;
    plan.groups = groups;
    plan.group_count = group_count;
    plan.window = window;
    plan.last_axis = last_axis;
    plan.settled = settled;
    const uint64_t e = sources[index];
    const double found = nearest_through_windows(&grid, &plan, packed_x(e), packed_y(e), packed_z(e), last_axis, infinity);
    squared[index] = found <= settled ? found : -1.0;
}

ASSAY_SHARED double square_of_steps(int32_t from, int32_t to, double spacing_mm) {
    const double length = (from < to ? to - from : from - to) * spacing_mm;
    return length * length;
}

/* What the windows left open: all targets, one after the other. Few sources are far, and a card has many threads. */
ASSAY_SHARED void search_far(int64_t index, const uint64_t *sources, const uint64_t *targets, int64_t target_count,
                             const double *spacing_mm, int32_t last_axis, double infinity, double *squared) {
    if (squared[index] >= 0) return;
    const uint64_t e = sources[index];
    double best = infinity;
    for (int64_t t = 0; t < target_count; t++) {
        const double x = square_of_steps(packed_x(e), packed_x(targets[t]), spacing_mm[0]);
        const double y = square_of_steps(packed_y(e), packed_y(targets[t]), spacing_mm[1]);
        const double z = square_of_steps(packed_z(e), packed_z(targets[t]), spacing_mm[2]);
        const double here = sum_of_squares(x, y, z, last_axis);
        best = here < best ? here : best;
    }
    squared[index] = best;
}

/* Each piece as a kernel for a card, or as a loop for a test: DEVICE_KERNEL(name, (parameters), (arguments)). */
#ifdef __CUDACC__
#define UNPACK(...) __VA_ARGS__
#define DEVICE_KERNEL(NAME, PARAMETERS, ARGUMENTS)                                                  \
    extern "C" __global__ void assay_device_##NAME(long long threads, UNPACK PARAMETERS) {          \
        const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;                   \
        if (index < threads) NAME(index, UNPACK ARGUMENTS);                                         \
    }
#else
#define UNPACK(...) __VA_ARGS__
#define DEVICE_KERNEL(NAME, PARAMETERS, ARGUMENTS)                                                  \
    __attribute__((visibility("default"))) void assay_device_##NAME(long long threads, UNPACK PARAMETERS) { \
        for (long long index = 0; index < threads; index++) NAME(index, UNPACK ARGUMENTS);          \
    }
#endif

#ifdef ASSAY_DEFINE_KERNELS
DEVICE_KERNEL(find_elements,
              (const uint8_t *keys, const int32_t *shape, int is_planar, int outside, const uint32_t *first,
               const uint16_t *members, counter *slots, uint64_t *elements),
              (keys, shape, is_planar, outside, first, members, slots, elements))
DEVICE_KERNEL(count_pairs, (const uint8_t *reference, const uint8_t *prediction, long long voxels, counter *joint),
              (reference, prediction, voxels, joint))
DEVICE_KERNEL(draw_target, (const uint64_t *targets, const int32_t *box, long long row_bytes, uint32_t *bits),
              (targets, box, row_bytes, bits))
DEVICE_KERNEL(search_near,
              (const uint64_t *sources, const uint8_t *bits, const int64_t *near_rows, const int32_t *box, long long row_bytes,
               const row_group *groups, int group_count, const double *window, int last_axis, double settled,
               double infinity, double *squared),
              (sources, bits, near_rows, box, row_bytes, groups, group_count, window, last_axis, settled, infinity,
               squared))
DEVICE_KERNEL(search_far,
              (const uint64_t *sources, const uint64_t *targets, long long target_count, const double *spacing_mm, int last_axis,
               double infinity, double *squared),
              (sources, targets, target_count, spacing_mm, last_axis, infinity, squared))
#endif

#endif
