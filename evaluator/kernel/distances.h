/* Exact distances between the surfaces of one label in two volumes. */
#ifndef ASSAY_DISTANCES_H
#define ASSAY_DISTANCES_H

#include "kernel.h"

/* Squares per axis and the rows around a corner, shared by every label of a pair. */
typedef struct distance_plan distance_plan;

/* Make the plan for a volume. Call free_plan afterwards, whatever the status. */
assay_status plan_distances(const uint32_t shape[3], const assay_metric *metric,
                            distance_plan **plan);
/* Give back a plan, or nothing for NULL. */
void free_plan(distance_plan *plan);

/* Room one thread works in, grown as needed and kept from label to label. */
typedef struct {
    uint8_t *bits; /* all zero between two calls */
    uint64_t bits_bytes;
    int64_t *near_rows; /* sized for the plan of the first call: one workspace, one plan */
} distance_workspace;

/* Give back the memory of a workspace. */
void free_workspace(distance_workspace *workspace);

/* Distance in mm from every source element to the nearest target element, in the order of the
 * sources; infinite if there is no target. */
assay_status measure_distances(const distance_plan *plan, const assay_elements *sources,
                               const assay_elements *targets, distance_workspace *workspace,
                               double *distances_mm);

#endif
