/* One pass over a volume: all that is kept of it. */
#ifndef ASSAY_SCAN_H
#define ASSAY_SCAN_H

#include "source.h"

/* Read a whole volume once and keep its runs and its elements. The caller frees the scan, whatever
 * the status. */
assay_status scan_volume(const assay_source *source, const assay_labels *labels, int is_planar,
                         assay_scan *scan);

/* Give back the memory of a scan and make it empty. */
void free_scan(assay_scan *scan);

#endif
