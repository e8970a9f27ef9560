/* Reads a volume slice by slice, wherever its voxels are. */
#ifndef ASSAY_SOURCE_H
#define ASSAY_SOURCE_H

#include "inflate.h"
#include "kernel.h"

#define SLICE_SLACK 64u /* bytes that may be read before and behind a slice of keys */

/* Hands out a volume slice by slice, as keys, row after row without gaps. */
typedef struct {
    const assay_source *source;
    const assay_labels *labels;
    uint32_t voxel_bytes;
    uint64_t slice_voxels;
    int is_identity; /* keys are the stored bytes themselves */
    int (*narrow_row)(const uint8_t *row, uint8_t *keys, uint32_t size); /* or NULL */
    int64_t cached_value;
    uint8_t cached_key;
    uint8_t *key_slices[2]; /* converted slices, taken in turn */
    uint8_t *row;           /* one row, bytes put in order */
    inflate_stream *stream;
    uint8_t *buffer; /* inflated bytes: history and what is not handed out yet */
    uint64_t buffer_bytes;
    uint32_t lead;            /* bytes of the buffer before the first that was inflated */
    uint64_t buffer_position; /* of the buffer's first byte in the inflated stream */
    uint8_t *out;
    uint32_t next_slice;
    uint64_t next_run;
} slice_reader;

/* Prepare to read a source. Call slices_close afterwards, whatever the status. */
assay_status slices_open(slice_reader *reader, const assay_source *source,
                         const assay_labels *labels);

/* The next slice; `*previous` is the one before it, still valid (NULL for the first). */
assay_status slices_next(slice_reader *reader, const uint8_t **previous, const uint8_t **current);

/* After the last slice: is the stream sound to its end? */
assay_status slices_finish(slice_reader *reader);

/* Give back all memory; the source stays the caller's. */
void slices_close(slice_reader *reader);

#endif
