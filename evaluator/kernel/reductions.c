/* Reads metrics off distances: sums of areas, and percentiles weighted by area.
 *
 * Sums run in eight chains side by side, for an addition need not wait for the one before; with
 * AVX-512 the chains are the lanes of a register, added up in the same order, so sums are the same
 * to the last bit on every machine.
 *
 * A percentile needs no full sort. A sample of the distances says between which two it must lie;
 * one pass adds up what is nearer and sets aside what is between them; bins narrow that down until
 * what is left is worth sorting.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "instructions.h"
#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define WITH_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw")))
#endif

/* ---- sums ----------------------------------------------------------------------------------- */

enum { LANES = 8, SUM_BLOCK = 512 };

/* Distances in mm of surface elements, and their areas by neighbour code. */
typedef struct {
    const double *distances_mm;
    const uint8_t *codes;
    uint64_t count;
    const double *area_of_code;
} directed_distances;

typedef struct {
    double total[LANES], within[LANES], weighted[LANES];
} lane_sums;

typedef void add_function(const directed_distances *directed, uint64_t start, uint64_t end,
                          double tolerance_mm, lane_sums *sums);

/* The sum of eight chains, always in this order. */
static double sum_of_lanes(const double lanes[LANES]) {
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
           ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/* Add the areas of elements `start` to `end` to the chains. */
static void add_areas(const directed_distances *directed, uint64_t start, uint64_t end,
                      double tolerance_mm, lane_sums *sums) {
    for (uint64_t i = start; i < end; i++) {
        const uint64_t lane = (i - start) % LANES;
        const double area = directed->area_of_code[directed->codes[i]];
        const double distance_mm = directed->distances_mm[i];
        sums->total[lane] += area;
        sums->within[lane] += distance_mm <= tolerance_mm ? area : 0;
        sums->weighted[lane] += distance_mm * area;
    }
}

#if defined(__x86_64__)
/* The areas of eight elements from `i` on. */
WITH_AVX512 static inline __m512d load_areas(const directed_distances *directed, uint64_t i) {
    const __m512i codes =
        _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(directed->codes + i)));
    return _mm512_i64gather_pd(codes, directed->area_of_code, sizeof(double));
}

/* As add_areas, the chains in the lanes of a register. */
WITH_AVX512 static void add_areas_in_lanes(const directed_distances *directed, uint64_t start,
                                           uint64_t end, double tolerance_mm, lane_sums *sums) {
    __m512d total = _mm512_setzero_pd(), within = total, weighted = total;
    uint64_t i = start;
    for (; i + LANES <= end; i += LANES) {
        const __m512d area = load_areas(directed, i);
        const __m512d distance_mm = _mm512_loadu_pd(directed->distances_mm + i);
        const __mmask8 is_within =
            _mm512_cmp_pd_mask(distance_mm, _mm512_set1_pd(tolerance_mm), _CMP_LE_OQ);
        total = _mm512_add_pd(total, area);
        within = _mm512_mask_add_pd(within, is_within, within, area);
        weighted = _mm512_add_pd(weighted, _mm512_mul_pd(distance_mm, area));
    }
    _mm512_storeu_pd(sums->total, total);
    _mm512_storeu_pd(sums->within, within);
    _mm512_storeu_pd(sums->weighted, weighted);
    add_areas(directed, i, end, tolerance_mm, sums);
}
#endif

/* Area of all elements, of those within the tolerance, and the sum of distance times area. */
ASSAY_EXPORT void assay_sum_areas(const double *distances_mm, const uint8_t *codes, uint64_t count,
                                  const double *area_of_code, double tolerance_mm, double sums[3]) {
    const directed_distances directed = {distances_mm, codes, count, area_of_code};
    sums[0] = sums[1] = sums[2] = 0;
    add_function *add = add_areas;
#if defined(__x86_64__)
    if (choose_instructions() == AVX512) add = add_areas_in_lanes;
#endif
    /* Block by block: the rounding of half a million additions stays that of a thousand. */
    for (uint64_t start = 0; start < count; start += SUM_BLOCK) {
        const uint64_t end = start + SUM_BLOCK < count ? start + SUM_BLOCK : count;
        lane_sums lanes = {.total = {0}};
        add(&directed, start, end, tolerance_mm, &lanes);
        sums[0] += sum_of_lanes(lanes.total);
        sums[1] += sum_of_lanes(lanes.within);
        sums[2] += sum_of_lanes(lanes.weighted);
    }
}

/* ---- percentiles ---------------------------------------------------------------------------- */

enum { BINS = 256, FEW = 256, SAMPLES = 128, FEWEST_SAMPLED = 1024 };

typedef struct {
    double distance_mm, area;
} weighted_distance;

/* For qsort: the nearest first. */
static int by_distance(const void *left, const void *right) {
    const weighted_distance *a = left, *b = right;
    return (a->distance_mm > b->distance_mm) - (a->distance_mm < b->distance_mm);
}

/* Whether the elements are in order already, as thousands of equal distances are. */
static int is_sorted(const weighted_distance *elements, uint64_t count) {
    for (uint64_t i = 1; i < count; i++)
        if (elements[i].distance_mm < elements[i - 1].distance_mm) return 0;
    return 1;
}

/* Bins of equal width between the smallest and the largest distance. */
typedef struct {
    double low, scale;
    double areas[BINS];
} histogram;

/* The bin of a distance. */
static inline int bin_of(const histogram *bins, double distance_mm) {
    return (int)((distance_mm - bins->low) * bins->scale);
}

/* Empty bins between two distances. */
static void span_bins(histogram *bins, double low, double high) {
    memset(bins, 0, sizeof *bins);
    bins->low = low;
    bins->scale = high > low ? (BINS - 1) / (high - low) : 0;
}

/* The first bin whose end reaches the wanted area; `*below` is the area before it. */
static int find_bin(const histogram *bins, double wanted, double *below) {
    int bin = 0;
    while (bin < BINS - 1 && *below + bins->areas[bin] < wanted) *below += bins->areas[bin++];
    return bin;
}

/* Keep only the elements of the bin that matters, until they are few or all alike. */
static uint64_t narrow(weighted_distance *elements, uint64_t count, double wanted, double *below) {
    histogram bins;
    while (count > FEW) {
        double low = elements[0].distance_mm, high = low;
        for (uint64_t i = 1; i < count; i++) {
            low = elements[i].distance_mm < low ? elements[i].distance_mm : low;
            high = elements[i].distance_mm > high ? elements[i].distance_mm : high;
        }
        if (low == high) break;
        span_bins(&bins, low, high);
        for (uint64_t i = 0; i < count; i++)
            bins.areas[bin_of(&bins, elements[i].distance_mm)] += elements[i].area;
        const int bin = find_bin(&bins, wanted, below);
        uint64_t kept = 0;
        for (uint64_t i = 0; i < count; i++)
            if (bin_of(&bins, elements[i].distance_mm) == bin) elements[kept++] = elements[i];
        if (kept == count) break;
        count = kept;
    }
    return count;
}

/* Elements between two distances, the area of those that are nearer, and of all. */
typedef struct {
    double low_mm, high_mm;
    weighted_distance *elements;
    uint64_t count;
    double nearer_area, area, total_area;
} bracket;

/* The `nth` smallest of some values, which are moved about (Hoare's selection). */
static double select_nth(double *values, int count, int nth) {
    int low = 0, high = count - 1;
    while (low < high) {
        const double pivot = values[(low + high) / 2];
        int up = low, down = high;
        while (up <= down) {
            while (values[up] < pivot) up++;
            while (values[down] > pivot) down--;
            if (up > down) break;
            const double held = values[up];
            values[up++] = values[down];
            values[down--] = held;
        }
        if (nth <= down)
            high = down;
        else if (nth >= up)
            low = up;
        else
            break;
    }
    return values[nth];
}

/* Between which distances the percentile lies, most likely. */
static void guess_bracket(const directed_distances *directed, double share, bracket *guess) {
    double sample[SAMPLES];
    guess->low_mm = 0;
    guess->high_mm = INFINITY;
    if (directed->count < FEWEST_SAMPLED) return;
    for (uint64_t i = 0; i < SAMPLES; i++)
        sample[i] = directed->distances_mm[i * directed->count / SAMPLES];
    const int low = (int)((share - 0.06) * SAMPLES), high = (int)ceil((share + 0.06) * SAMPLES);
    if (low > 0) guess->low_mm = select_nth(sample, SAMPLES, low);
    if (high < SAMPLES) guess->high_mm = select_nth(sample, SAMPLES, high);
}

/* Keep an element for the search within the bracket. */
static inline void set_aside(const directed_distances *directed, uint64_t i, bracket *found) {
    found->elements[found->count++] =
        (weighted_distance){directed->distances_mm[i], directed->area_of_code[directed->codes[i]]};
}

/* From element `start` on; what is nearer than the bracket counts as within. */
typedef void fill_function(const directed_distances *directed, uint64_t start, bracket *found,
                           lane_sums *sums);

/* Add up areas in the chains, and set aside what lies in the bracket. */
static void fill_bracket(const directed_distances *directed, uint64_t start, bracket *found,
                         lane_sums *sums) {
    for (uint64_t i = start; i < directed->count; i++) {
        const double area = directed->area_of_code[directed->codes[i]];
        const double distance_mm = directed->distances_mm[i];
        sums->total[i % LANES] += area;
        sums->within[i % LANES] += distance_mm < found->low_mm ? area : 0;
        if (distance_mm >= found->low_mm && distance_mm <= found->high_mm)
            set_aside(directed, i, found);
    }
}

#if defined(__x86_64__)
/* As fill_bracket, the chains in the lanes of a register. */
WITH_AVX512 static void fill_bracket_in_lanes(const directed_distances *directed, uint64_t start,
                                              bracket *found, lane_sums *sums) {
    const __m512d low_mm = _mm512_set1_pd(found->low_mm), high_mm = _mm512_set1_pd(found->high_mm);
    __m512d total = _mm512_setzero_pd(), nearer = total;
    uint64_t i = start;
    for (; i + LANES <= directed->count; i += LANES) {
        const __m512d area = load_areas(directed, i);
        const __m512d distance_mm = _mm512_loadu_pd(directed->distances_mm + i);
        const __mmask8 is_nearer = _mm512_cmp_pd_mask(distance_mm, low_mm, _CMP_LT_OQ);
        total = _mm512_add_pd(total, area);
        nearer = _mm512_mask_add_pd(nearer, is_nearer, nearer, area);
        const __mmask8 is_close = _mm512_cmp_pd_mask(distance_mm, high_mm, _CMP_LE_OQ);
        for (uint32_t inside = (uint32_t)is_close & ~(uint32_t)is_nearer; inside;
             inside &= inside - 1)
            set_aside(directed, i + (uint64_t)__builtin_ctz(inside), found);
    }
    _mm512_storeu_pd(sums->total, total);
    _mm512_storeu_pd(sums->within, nearer);
    fill_bracket(directed, i, found, sums);
}
#endif

/* Fill a bracket from all elements. */
static void gather_bracket(const directed_distances *directed, bracket *found) {
    lane_sums sums = {.total = {0}};
    found->count = 0;
    fill_function *fill = fill_bracket;
#if defined(__x86_64__)
    if (choose_instructions() == AVX512) fill = fill_bracket_in_lanes;
#endif
    fill(directed, 0, found, &sums);
    found->total_area = sum_of_lanes(sums.total);
    found->nearer_area = sum_of_lanes(sums.within);
    found->area = 0;
    for (uint64_t i = 0; i < found->count; i++) found->area += found->elements[i].area;
}

/* The first distance of a bracket at which the wanted area is reached; 0 where it comes within a
 * doubt of being another. */
static int32_t pick_distance(bracket *found, double wanted, double doubt, double *result_mm) {
    double below = found->nearer_area;
    const uint64_t left = narrow(found->elements, found->count, wanted - doubt, &below);
    if (!is_sorted(found->elements, left))
        qsort(found->elements, left, sizeof *found->elements, by_distance);
    for (uint64_t i = 0; i < left; i++) {
        below += found->elements[i].area;
        const int is_step =
            i + 1 == left || found->elements[i + 1].distance_mm > found->elements[i].distance_mm;
        if (!is_step || below < wanted - doubt) continue;
        *result_mm = found->elements[i].distance_mm;
        return below > wanted + doubt;
    }
    return 0;
}

/* Area-weighted percentile without a full sort.
 *
 * Returns 1 and the distance, or 0 where some cumulated share comes so close to the wanted one that
 * the order of summation would decide; the caller then sums in the reference's own order. Also 0
 * for infinite distances. */
ASSAY_EXPORT int32_t assay_percentile(const double *distances_mm, const uint8_t *codes,
                                      uint64_t count, const double *area_of_code, double share,
                                      double *result_mm) {
    const directed_distances directed = {distances_mm, codes, count, area_of_code};
    bracket found = {.elements = malloc((count ? count : 1) * sizeof *found.elements)};
    if (!found.elements) return 0;
    guess_bracket(&directed, share, &found);
    gather_bracket(&directed, &found);
    double wanted = share * found.total_area, doubt = 1e-9 * found.total_area;
    const int is_below = found.low_mm > 0 && found.nearer_area >= wanted - doubt;
    const int is_above =
        found.high_mm < INFINITY && found.nearer_area + found.area <= wanted + doubt;
    if (is_below || is_above) { /* the sample misled: take all elements */
        found.low_mm = 0;
        found.high_mm = INFINITY;
        gather_bracket(&directed, &found);
    }
    int is_finite = 1;
    for (uint64_t i = 0; i < found.count; i++)
        is_finite &= isfinite(found.elements[i].distance_mm) != 0;
    const int32_t is_certain = is_finite && pick_distance(&found, wanted, doubt, result_mm);
    free(found.elements);
    return is_certain;
}
