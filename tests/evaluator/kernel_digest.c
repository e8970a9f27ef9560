/* Prints one number for all that the kernel makes of some random volumes, and its instruction set.
 *
 * test_kernel_instructions.py compares the numbers of every instruction set, and of 64-bit ARM under emulation, where no Python
 * is at hand.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

enum { VALUES = 5, ROUNDS = 12 };

void assay_scan_volumes(const assay_source *sources, uint32_t count, const assay_labels *labels, int32_t is_planar,
                        uint32_t threads, assay_scan *scans, assay_status *statuses);
void assay_free_scan(assay_scan *scan);
void assay_element_counts(const assay_scan *scan, uint64_t *counts);
assay_status assay_count_overlaps(const assay_scan *first, const assay_scan *second, const assay_labels *labels,
                                  uint64_t *counts);
assay_status assay_measure_distances(const assay_scan *first, const assay_scan *second, const assay_metric *metric,
                                     const uint8_t *code_order, uint32_t threads, double *first_mm, double *second_mm,
                                     uint8_t *first_codes, uint8_t *second_codes);
void assay_sum_areas(const double *distances_mm, const uint8_t *codes, uint64_t count, const double *area_of_code,
                     double tolerance_mm, double sums[3]);
int32_t assay_percentile(const double *distances_mm, const uint8_t *codes, uint64_t count, const double *area_of_code,
                         double share, double *result_mm);
const char *assay_instructions(void);

static uint64_t digest = 1469598103934665603ull; /* FNV-1a */
static uint64_t random_state = 88172645463325252ull;

static void add(const void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) digest = (digest ^ ((const uint8_t *)bytes)[i]) * 1099511628211ull;
}

static uint32_t draw_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

/* Boxes of random values, and single voxels. */
static void paint(uint8_t *volume, const uint32_t shape[3]) {
    const uint32_t voxels = shape[0] * shape[1] * shape[2];
    memset(volume, 0, voxels);
    for (int box = 0; box < 14; box++) {
        uint32_t low[3], high[3];
        for (int axis = 0; axis < 3; axis++) {
            low[axis] = draw_below(shape[axis]);
            high[axis] = low[axis] + 1 + draw_below(shape[axis] / 4 + 1);
            if (high[axis] > shape[axis]) high[axis] = shape[axis];
        }
        const uint8_t value = (uint8_t)draw_below(VALUES);
        for (uint32_t z = low[2]; z < high[2]; z++)
            for (uint32_t y = low[1]; y < high[1]; y++)
                memset(volume + (z * shape[1] + y) * shape[0] + low[0], value, high[0] - low[0]);
    }
    for (int voxel = 0; voxel < 40; voxel++) volume[draw_below(voxels)] = (uint8_t)draw_below(VALUES);
}

/* Labels 1 to 3, and in every second round the background as a label of its own. */
static void add_round(int round) {
    static const int64_t values[VALUES] = {0, 1, 2, 3, 4};
    static const uint8_t keys[VALUES] = {0, 1, 2, 3, 4};
    const uint32_t shape[3] = {20 + draw_below(200), 10 + draw_below(60), round % 4 ? 1 + draw_below(30) : 1};
    const int has_background = round & 1;
    uint16_t members[VALUES];
    uint32_t first[257], count = 0;
    for (int key = 0; key < 256; key++) {
        first[key] = count;
        if ((key == 0 && has_background) || (key >= 1 && key <= 3)) members[count] = (uint16_t)count, count++;
    }
    first[256] = count;
    const assay_labels labels = {values, keys, VALUES, count, members, first, 5, 6};
    uint8_t *volumes[2];
    assay_source sources[2];
    for (int i = 0; i < 2; i++) {
        volumes[i] = malloc(shape[0] * shape[1] * shape[2]);
        paint(volumes[i], shape);
        sources[i] = (assay_source){.bytes = volumes[i], .strides = {shape[0], (int64_t)shape[0] * shape[1]},
                                    .shape = {shape[0], shape[1], shape[2]}, .kind = ASSAY_ARRAY, .storage = ASSAY_U8};
    }
    assay_scan scans[2];
    assay_status statuses[2];
    assay_scan_volumes(sources, 2, &labels, shape[2] == 1, 1, scans, statuses);
    add(statuses, sizeof statuses);
    uint64_t counts[2][VALUES] = {{0}}, overlaps[3 * VALUES] = {0};
    double *distances_mm[2], areas[256];
    uint8_t *codes[2], code_order[256];
    for (int i = 0; i < 2; i++) {
        uint64_t total = 0;
        assay_element_counts(&scans[i], counts[i]);
        add(scans[i].runs.ends, scans[i].runs.count * sizeof *scans[i].runs.ends);
        add(scans[i].runs.keys, scans[i].runs.count);
        for (uint32_t label = 0; label < count; label++) {
            add(scans[i].elements[label].data, counts[i][label] * sizeof(assay_element));
            total += counts[i][label];
        }
        distances_mm[i] = calloc(total + 1, sizeof(double));
        codes[i] = calloc(total + 1, 1);
    }
    assay_count_overlaps(&scans[0], &scans[1], &labels, overlaps);
    add(overlaps, sizeof overlaps);
    for (int code = 0; code < 256; code++) {
        code_order[code] = (uint8_t)code;
        areas[code] = 0.1 + code * 0.013;
    }
    const assay_metric metric = {{0.7, 1.1 + 0.1 * round, round % 3 ? 2.5 : 0.5}, round % 3};
    assay_measure_distances(&scans[0], &scans[1], &metric, code_order, 1, distances_mm[0], distances_mm[1], codes[0], codes[1]);
    for (int i = 0; i < 2; i++) {
        double sums[3], percentile_mm = 0;
        assay_sum_areas(distances_mm[i], codes[i], counts[i][0], areas, 2.0, sums);
        const int32_t is_certain = assay_percentile(distances_mm[i], codes[i], counts[i][0], areas, 0.95, &percentile_mm);
        uint64_t total = 0;
        for (uint32_t label = 0; label < count; label++) total += counts[i][label];
        add(distances_mm[i], total * sizeof(double));
        add(codes[i], total);
        add(sums, sizeof sums);
        add(&is_certain, sizeof is_certain);
        add(&percentile_mm, sizeof percentile_mm);
        assay_free_scan(&scans[i]);
        free(volumes[i]);
        free(distances_mm[i]);
        free(codes[i]);
    }
}

int main(void) {
    for (int round = 0; round < ROUNDS; round++) add_round(round);
    printf("%016" PRIx64 " %s\n", digest, assay_instructions());
    return 0;
}
