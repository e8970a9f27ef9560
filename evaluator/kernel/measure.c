/* The functions that Python calls through ctypes: scan volumes, count overlaps, measure distances.
 * Those that read metrics off distances are in reductions.c.
 *
 * Threads live only as long as one call. They take pieces of work from a shared counter, the
 * largest piece first. Every piece writes to its own place, so results do not depend on the number
 * of threads.
 */
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "distances.h"
#include "instructions.h"
#include "scan.h"

enum { MOST_THREADS = 64 };

/* A digest of the sources, which compiler.py passes. The loader compares it with the sources that
 * lie beside the library. */
ASSAY_EXPORT extern const char assay_sources[];
const char assay_sources[] = ASSAY_SOURCES;

/* The version of structs and signatures. */
ASSAY_EXPORT int32_t assay_interface(void) { return ASSAY_INTERFACE; }
/* The instruction set that is used on this machine, by name. */
ASSAY_EXPORT const char *assay_instructions(void) {
    return name_instructions(choose_instructions());
}

/* Keep up to 64 MB of freed memory in the process. Every pair asks for the same megabytes again;
 * handing them back after each cost an eighth of the processor time, in page faults. */
ASSAY_EXPORT void assay_keep_memory(void) {
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

/* ---- threads -------------------------------------------------------------------------------- */

/* One piece of work. A status other than ASSAY_OK stops the crew. */
typedef assay_status work_function(void *context, uint32_t piece, distance_workspace *workspace);

/* Threads that share some work. */
typedef struct {
    work_function *work;
    void *context;
    uint32_t pieces;
    atomic_uint next;
    atomic_int status;
} crew;

/* What every thread does: take the next piece until none is left or one has failed. */
static void *join_crew(void *argument) {
    crew *const self = argument;
    distance_workspace workspace = {0};
    while (!atomic_load(&self->status)) {
        const uint32_t piece = atomic_fetch_add(&self->next, 1);
        if (piece >= self->pieces) break;
        const assay_status status = self->work(self->context, piece, &workspace);
        if (status) atomic_store(&self->status, (int)status);
    }
    free_workspace(&workspace);
    return NULL;
}

/* Do all pieces of some work with up to `threads` threads, this one among them. */
static assay_status run_crew(work_function *work, void *context, uint32_t pieces,
                             uint32_t threads) {
    crew self = {.work = work, .context = context, .pieces = pieces};
    pthread_t others[MOST_THREADS];
    uint32_t started = 0;
    while (started + 1 < threads && started + 1 < pieces && started < MOST_THREADS) {
        /* Where no more threads can be had, fewer do the same work. */
        if (pthread_create(&others[started], NULL, join_crew, &self)) break;
        started++;
    }
    join_crew(&self);
    while (started) pthread_join(others[--started], NULL);
    return (assay_status)atomic_load(&self.status);
}

/* ---- inflating ------------------------------------------------------------------------------ */

/* A gzip stream that holds exactly `size` bytes; `out` has room for them and INFLATE_SLACK more. */
ASSAY_EXPORT assay_status assay_inflate(const uint8_t *bytes, uint64_t bytes_size, uint8_t *out,
                                        uint64_t size) {
    inflate_stream *const stream = malloc(sizeof *stream);
    if (!stream) return ASSAY_NO_MEMORY;
    uint8_t *cursor = out;
    assay_status status = inflate_open(stream, bytes, bytes_size);
    if (!status) status = inflate_until(stream, &cursor, out + size);
    while (!status && !inflate_has_ended(stream) && stream->produced <= size)
        status = inflate_until(stream, &cursor, cursor + 1);
    if (!status && stream->produced > size) status = ASSAY_TOO_LONG;
    if (!status && stream->produced < size) status = ASSAY_TRUNCATED;
    if (!status) status = inflate_close(stream);
    free(stream);
    return status;
}

/* Whether every byte is one of the allowed: 256 flags. Bytes are looked up where they change; most
 * do not. */
ASSAY_EXPORT int32_t assay_holds_only(const uint8_t *bytes, uint64_t size, const uint8_t *allowed) {
    enum { STRETCH = 64 };
    uint64_t at = 0;
    for (; at < size; at++) {
        while (at && size - at >= STRETCH && !memcmp(bytes + at, bytes + at - 1, STRETCH))
            at += STRETCH;
        if (at == size) break;
        if (!allowed[bytes[at]]) return 0;
    }
    return 1;
}

/* ---- scans ---------------------------------------------------------------------------------- */

typedef struct {
    const assay_source *sources;
    const assay_labels *labels;
    int is_planar;
    assay_scan *scans;
    assay_status *statuses;
} scan_job;

/* Scan one volume. */
static assay_status scan_piece(void *context, uint32_t piece, distance_workspace *workspace) {
    (void)workspace;
    scan_job *const job = context;
    job->statuses[piece] =
        scan_volume(&job->sources[piece], job->labels, job->is_planar, &job->scans[piece]);
    return ASSAY_OK; /* the other volume's own status is wanted too */
}

/* Scan `count` volumes; `statuses` says how each went. Every scan must be freed with
 * assay_free_scan. */
ASSAY_EXPORT void assay_scan_volumes(const assay_source *sources, uint32_t count,
                                     const assay_labels *labels, int32_t is_planar,
                                     uint32_t threads, assay_scan *scans, assay_status *statuses) {
    memset(scans, 0, count * sizeof *scans);
    scan_job job = {sources, labels, is_planar, scans, statuses};
    run_crew(scan_piece, &job, count, threads);
}

/* Give back the memory of a scan. */
ASSAY_EXPORT void assay_free_scan(assay_scan *scan) { free_scan(scan); }

/* Which keys occur in a volume: 256 flags. */
ASSAY_EXPORT void assay_keys_present(const assay_scan *scan, uint8_t *present) {
    memset(present, 0, 256);
    for (uint64_t i = 0; i < scan->runs.count; i++) present[scan->runs.keys[i]] = 1;
}

/* ---- overlap -------------------------------------------------------------------------------- */

/* Voxels per label: in the first scan, in the second, in both; three numbers a label. */
ASSAY_EXPORT assay_status assay_count_overlaps(const assay_scan *first, const assay_scan *second,
                                               const assay_labels *labels, uint64_t *counts) {
    uint64_t *const joint = calloc(256 * 256, sizeof *joint);
    if (!joint) return ASSAY_NO_MEMORY;
    uint64_t a = 0, b = 0, position = 0;
    while (a < first->runs.count && b < second->runs.count) {
        const uint32_t end_a = first->runs.ends[a], end_b = second->runs.ends[b];
        const uint32_t end = end_a < end_b ? end_a : end_b;
        joint[first->runs.keys[a] * 256 + second->runs.keys[b]] += end - position;
        position = end;
        a += end_a == end;
        b += end_b == end;
    }
    memset(counts, 0, 3 * labels->label_count * sizeof *counts);
    for (uint32_t key = 0; key < 256 * 256; key++) {
        if (!joint[key]) continue;
        const uint32_t left = key / 256, right = key % 256;
        for (uint32_t m = labels->first[left]; m < labels->first[left + 1]; m++) {
            counts[3 * labels->members[m]] += joint[key];
            for (uint32_t n = labels->first[right]; n < labels->first[right + 1]; n++)
                if (labels->members[n] == labels->members[m])
                    counts[3 * labels->members[m] + 2] += joint[key];
        }
        for (uint32_t n = labels->first[right]; n < labels->first[right + 1]; n++)
            counts[3 * labels->members[n] + 1] += joint[key];
    }
    free(joint);
    return ASSAY_OK;
}

/* ---- distances ------------------------------------------------------------------------------ */

typedef struct {
    const assay_scan *scans[2];
    const distance_plan *plan;
    const uint8_t *code_order; /* our neighbour codes in the caller's bit order */
    double *distances_mm[2];
    uint8_t *codes[2];
    uint64_t *starts[2];
    uint32_t *order; /* label * 2 + direction, most sources first */
} distance_job;

/* One label in one direction: codes of the sources, and their distances. */
static assay_status distance_piece(void *context, uint32_t piece, distance_workspace *workspace) {
    const distance_job *const job = context;
    const uint32_t label = job->order[piece] / 2, from = job->order[piece] % 2;
    const assay_elements *const sources = &job->scans[from]->elements[label];
    const uint64_t start = job->starts[from][label];
    for (uint64_t i = 0; i < sources->count; i++)
        job->codes[from][start + i] = job->code_order[element_code(sources->data[i])];
    return measure_distances(job->plan, sources, &job->scans[1 - from]->elements[label], workspace,
                             job->distances_mm[from] + start);
}

/* Insertion sort: the pieces are few. */
static void order_pieces(distance_job *job, uint32_t pieces) {
    for (uint32_t p = 0; p < pieces; p++) {
        const uint64_t size = job->scans[p % 2]->elements[p / 2].count;
        uint32_t at = p;
        for (; at &&
               job->scans[job->order[at - 1] % 2]->elements[job->order[at - 1] / 2].count < size;
             at--)
            job->order[at] = job->order[at - 1];
        job->order[at] = p;
    }
}

/* How many elements each label of a scan has. */
ASSAY_EXPORT void assay_element_counts(const assay_scan *scan, uint64_t *counts) {
    for (uint32_t label = 0; label < scan->label_count; label++)
        counts[label] = scan->elements[label].count;
}

/* Distances from every element of each scan to the other one's surface of the same label, label
 * after label. */
ASSAY_EXPORT assay_status assay_measure_distances(const assay_scan *first, const assay_scan *second,
                                                  const assay_metric *metric,
                                                  const uint8_t *code_order, uint32_t threads,
                                                  double *first_mm, double *second_mm,
                                                  uint8_t *first_codes, uint8_t *second_codes) {
    const uint32_t labels = first->label_count;
    distance_plan *plan = NULL;
    distance_job job = {.scans = {first, second},
                        .code_order = code_order,
                        .distances_mm = {first_mm, second_mm},
                        .codes = {first_codes, second_codes}};
    job.order = malloc((2 * labels + 1) * sizeof *job.order);
    assay_status status = job.order ? plan_distances(first->shape, metric, &plan) : ASSAY_NO_MEMORY;
    for (int from = 0; from < 2; from++) {
        job.starts[from] = calloc(labels + 1, sizeof *job.starts[from]);
        if (!job.starts[from]) status = ASSAY_NO_MEMORY;
        for (uint32_t label = 0; !status && label < labels; label++)
            job.starts[from][label + 1] =
                job.starts[from][label] + job.scans[from]->elements[label].count;
    }
    if (!status) {
        job.plan = plan;
        order_pieces(&job, 2 * labels);
        status = run_crew(distance_piece, &job, 2 * labels, threads);
    }
    free_plan(plan);
    free(job.order);
    free(job.starts[0]);
    free(job.starts[1]);
    return status;
}

/* Distance from every source to the nearest target, both packed as elements and ordered by z. */
ASSAY_EXPORT assay_status assay_nearest(const assay_element *sources, uint64_t source_count,
                                        const assay_element *targets, uint64_t target_count,
                                        const uint32_t *shape, const assay_metric *metric,
                                        double *distances_mm) {
    const assay_elements from = {(assay_element *)sources, source_count, source_count};
    const assay_elements to = {(assay_element *)targets, target_count, target_count};
    distance_workspace workspace = {0};
    distance_plan *plan = NULL;
    assay_status status = plan_distances(shape, metric, &plan);
    if (!status) status = measure_distances(plan, &from, &to, &workspace, distances_mm);
    free_workspace(&workspace);
    free_plan(plan);
    return status;
}
