/* Turns volumes into slices of keys.
 *
 * A gzip stream is inflated just far enough for the next slice, so that its bytes are still in the
 * cache when they are scanned. Where keys are the stored bytes themselves (one-byte label maps, by
 * far the most common), nothing is copied: the scan reads the inflated bytes in place, and they
 * double as the inflater's history.
 */
#include "source.h"

#include "instructions.h"

#include <stdlib.h>
#include <string.h>

enum { READ_AHEAD = 512 << 10, LARGEST_OFFSET = 1 << 20, CACHE_LINE = 64 };

static const uint8_t STORAGE_BYTES[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};

/* Whether every value of the table is its own key. */
static int keys_are_values(const assay_labels *labels) {
    for (uint32_t i = 0; i < labels->value_count; i++)
        if (labels->values[i] != labels->keys[i]) return 0;
    return 1;
}

/* The key of a voxel value. Neighbours mostly repeat the value that was looked up last. */
static uint8_t find_key(slice_reader *reader, int64_t value) {
    const assay_labels *labels = reader->labels;
    if (value == reader->cached_value) return reader->cached_key;
    uint32_t low = 0, high = labels->value_count;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (labels->values[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    reader->cached_value = value;
    reader->cached_key = low < labels->value_count && labels->values[low] == value
                             ? labels->keys[low]
                             : labels->other_key;
    return reader->cached_key;
}

/* As find_key. The table holds no value beyond INT64_MAX. */
static uint8_t find_unsigned_key(slice_reader *reader, uint64_t value) {
    return value > INT64_MAX ? reader->labels->other_key : find_key(reader, (int64_t)value);
}

/* 2^53: float64 counts every whole number up to it. */
#define LARGEST_COUNTED 9007199254740992.0

#define CONVERTER convert_u8
#define VOXEL uint8_t
#define VOXEL_BITS uint8_t
#define LARGEST_KEPT 0xff
#define FIND_KEY find_key
#include "convert_whole_template.h"

#define CONVERTER convert_i8
#define VOXEL int8_t
#define VOXEL_BITS uint8_t
#define LARGEST_KEPT 0x7f
#define FIND_KEY find_key
#include "convert_whole_template.h"

#define CONVERTER convert_u16
#define VOXEL uint16_t
#define VOXEL_BITS uint16_t
#define LARGEST_KEPT 0xff
#define FIND_KEY find_key
#include "convert_whole_template.h"

#define CONVERTER convert_i16
#define VOXEL int16_t
#define VOXEL_BITS uint16_t
#define LARGEST_KEPT 0xff
#define FIND_KEY find_key
#include "convert_whole_template.h"

#define CONVERTER convert_u32
#define VOXEL uint32_t
#define VOXEL_BITS uint32_t
#define LARGEST_KEPT 0xff
#define FIND_KEY find_key
#include "convert_whole_template.h"

#define CONVERTER convert_i32
#define VOXEL int32_t
#define VOXEL_BITS uint32_t
#define LARGEST_KEPT 0xff
#define FIND_KEY find_key
#include "convert_whole_template.h"

#define CONVERTER convert_u64
#define VOXEL uint64_t
#define VOXEL_BITS uint64_t
#define LARGEST_KEPT 0xff
#define FIND_KEY find_unsigned_key
#include "convert_whole_template.h"

#define CONVERTER convert_i64
#define VOXEL int64_t
#define VOXEL_BITS uint64_t
#define LARGEST_KEPT 0xff
#define FIND_KEY find_key
#include "convert_whole_template.h"

#define CONVERTER convert_f32
#define VOXEL float
#include "convert_float_template.h"

#define CONVERTER convert_f64
#define VOXEL double
#include "convert_float_template.h"

/* Two-byte label maps are the second most common. Where keys are values, rows of them are narrowed
 * by the loops below, of which the compiler makes vector code for each instruction set. Zero if
 * some value does not fit in a byte. */
#define NARROW_ROW                                            \
    uint16_t joined = 0;                                      \
    for (uint32_t x = 0; x < size; x++) {                     \
        uint16_t value;                                       \
        memcpy(&value, row + x * sizeof value, sizeof value); \
        joined |= value;                                      \
        keys[x] = (uint8_t)value;                             \
    }                                                         \
    return joined < 256
typedef int narrow_function(const uint8_t *row, uint8_t *keys, uint32_t size);

/* A row in plain C. Like its two siblings it says whether every value fits a byte. */
static int narrow_row(const uint8_t *restrict row, uint8_t *restrict keys, uint32_t size) {
    NARROW_ROW;
}
#if defined(__x86_64__)
/* A row with AVX2. */
__attribute__((target("avx2"))) static int narrow_row_avx2(const uint8_t *restrict row,
                                                           uint8_t *restrict keys, uint32_t size) {
    NARROW_ROW;
}
/* A row with AVX-512. */
__attribute__((target("avx512f,avx512bw,avx512vl"))) static int narrow_row_avx512(
    const uint8_t *restrict row, uint8_t *restrict keys, uint32_t size) {
    NARROW_ROW;
}
#endif
#undef NARROW_ROW

/* The fastest of them that this machine can run. */
static narrow_function *choose_narrow_row(void) {
    switch (choose_instructions()) {
#if defined(__x86_64__)
        case AVX512: return narrow_row_avx512;
        case AVX2: return narrow_row_avx2;
#endif
        default: return narrow_row;
    }
}

/* Copy a row to `reader->row` with the bytes of each voxel in the other order. */
static void swap_row(const slice_reader *reader, const uint8_t *row, uint32_t size) {
    const uint32_t bytes = reader->voxel_bytes;
    for (uint32_t x = 0; x < size; x++)
        for (uint32_t b = 0; b < bytes; b++)
            reader->row[x * bytes + b] = row[x * bytes + bytes - 1 - b];
}

/* A row of voxels of any storage as keys. */
static assay_status convert_row(slice_reader *reader, const uint8_t *row, uint8_t *keys) {
    static assay_status (*const CONVERTERS[])(slice_reader *, const uint8_t *, uint8_t *) = {
        [ASSAY_U8] = convert_u8,   [ASSAY_I8] = convert_i8,   [ASSAY_U16] = convert_u16,
        [ASSAY_I16] = convert_i16, [ASSAY_U32] = convert_u32, [ASSAY_I32] = convert_i32,
        [ASSAY_U64] = convert_u64, [ASSAY_I64] = convert_i64, [ASSAY_F32] = convert_f32,
        [ASSAY_F64] = convert_f64,
    };
    if (reader->source->swapped && reader->voxel_bytes > 1) {
        swap_row(reader, row, reader->source->shape[0]);
        row = reader->row;
    }
    if (reader->narrow_row && reader->narrow_row(row, keys, reader->source->shape[0]))
        return ASSAY_OK;
    return CONVERTERS[reader->source->storage](reader, row, keys);
}

/* A number of bytes, rounded up to whole cache lines. */
static uint64_t in_lines(uint64_t bytes) {
    return (bytes + CACHE_LINE - 1) & ~(uint64_t)(CACHE_LINE - 1);
}

/* Where a byte of the stream is. The first voxel, and with it every row of a multiple of
 * sixty-four, begins a cache line. */
static uint8_t *at_position(const slice_reader *reader, uint64_t position) {
    return reader->buffer + reader->lead + (position - reader->buffer_position);
}

/* See source.h. */
assay_status slices_open(slice_reader *reader, const assay_source *source,
                         const assay_labels *labels) {
    memset(reader, 0, sizeof *reader);
    reader->source = source;
    reader->labels = labels;
    uint64_t voxels = 1;
    for (int axis = 0; axis < 3; axis++) {
        if (!source->shape[axis] || source->shape[axis] > ASSAY_LARGEST_SIZE)
            return ASSAY_TOO_LARGE;
        voxels *= source->shape[axis];
        if (voxels > UINT32_MAX) return ASSAY_TOO_LARGE;
    }
    if (source->storage < ASSAY_U8 || source->storage > ASSAY_F64) return ASSAY_CORRUPT;
    if (source->offset < 0 || (source->kind == ASSAY_GZIP && source->offset > LARGEST_OFFSET))
        return ASSAY_TOO_LARGE;
    reader->voxel_bytes = STORAGE_BYTES[source->storage];
    reader->slice_voxels = (uint64_t)source->shape[0] * source->shape[1];
    reader->is_identity = keys_are_values(labels);
    if (reader->is_identity && reader->voxel_bytes == 2) reader->narrow_row = choose_narrow_row();
    reader->cached_value = labels->value_count ? labels->values[0] : 0;
    reader->cached_key = labels->value_count ? labels->keys[0] : labels->other_key;
    const int in_place =
        source->kind == ASSAY_GZIP && source->storage == ASSAY_U8 && reader->is_identity;
    for (int i = 0; i < 2 && !in_place; i++) {
        reader->key_slices[i] =
            aligned_alloc(CACHE_LINE, in_lines(reader->slice_voxels + 2 * SLICE_SLACK));
        if (!reader->key_slices[i]) return ASSAY_NO_MEMORY;
        memset(reader->key_slices[i], labels->other_key, reader->slice_voxels + 2 * SLICE_SLACK);
    }
    if (source->swapped && !(reader->row = malloc((size_t)source->shape[0] * reader->voxel_bytes)))
        return ASSAY_NO_MEMORY;
    if (source->kind != ASSAY_GZIP) return ASSAY_OK;
    reader->buffer_bytes = SLICE_SLACK + INFLATE_WINDOW + (uint64_t)source->offset +
                           (in_place ? 2 : 1) * reader->slice_voxels * reader->voxel_bytes +
                           READ_AHEAD + INFLATE_SLACK;
    reader->stream = malloc(sizeof *reader->stream);
    reader->lead = SLICE_SLACK + (CACHE_LINE - (uint32_t)source->offset % CACHE_LINE) % CACHE_LINE;
    reader->buffer_bytes = in_lines(reader->buffer_bytes + reader->lead);
    reader->buffer = aligned_alloc(CACHE_LINE, reader->buffer_bytes);
    if (!reader->stream || !reader->buffer) return ASSAY_NO_MEMORY;
    memset(reader->buffer, 0, reader->lead);
    reader->out = at_position(reader, 0);
    return inflate_open(reader->stream, source->bytes, source->size);
}

/* Inflate until the stream's bytes up to `position` are there, keeping those from `oldest` on and
 * the history. */
static assay_status inflate_to(slice_reader *reader, uint64_t oldest, uint64_t position) {
    uint8_t *const end = reader->buffer + reader->buffer_bytes - INFLATE_SLACK;
    if (at_position(reader, position) > end) {
        const uint64_t produced = reader->stream->produced;
        const uint64_t history = produced > INFLATE_WINDOW ? produced - INFLATE_WINDOW : 0;
        const uint64_t keep = (oldest < history ? oldest : history) & ~(uint64_t)(CACHE_LINE - 1);
        memmove(reader->buffer + reader->lead, at_position(reader, keep),
                (size_t)(produced - keep));
        reader->out -= keep - reader->buffer_position;
        reader->buffer_position = keep;
    }
    if (reader->stream->produced >= position) return ASSAY_OK;
    const assay_status status =
        inflate_until(reader->stream, &reader->out, at_position(reader, position));
    if (status) return status;
    return reader->stream->produced >= position ? ASSAY_OK : ASSAY_TRUNCATED;
}

/* The next slice of a gzip stream. */
static assay_status next_from_stream(slice_reader *reader, const uint8_t **previous,
                                     const uint8_t **current) {
    const assay_source *source = reader->source;
    const uint64_t slice_bytes = reader->slice_voxels * reader->voxel_bytes;
    const uint64_t start = (uint64_t)source->offset + reader->next_slice * slice_bytes;
    const int in_place = !reader->key_slices[0], has_previous = reader->next_slice > 0;
    const uint64_t oldest = in_place && has_previous ? start - slice_bytes : start;
    assay_status status = inflate_to(reader, reader->next_slice ? oldest : 0, start + slice_bytes);
    if (status) return status;
    const uint8_t *const bytes = at_position(reader, start);
    if (in_place) {
        memset(reader->out, 0, SLICE_SLACK); /* the scan reads a few bytes ahead and ignores them */
        *current = bytes;
        *previous = has_previous ? at_position(reader, oldest) : NULL;
        return ASSAY_OK;
    }
    uint8_t *const keys = reader->key_slices[reader->next_slice & 1] + SLICE_SLACK;
    for (uint32_t y = 0; y < source->shape[1] && !status; y++)
        status = convert_row(reader, bytes + (uint64_t)y * source->shape[0] * reader->voxel_bytes,
                             keys + (uint64_t)y * source->shape[0]);
    *current = keys;
    *previous = has_previous ? reader->key_slices[~reader->next_slice & 1] + SLICE_SLACK : NULL;
    return status;
}

/* The next slice of an array. */
static assay_status next_from_array(slice_reader *reader, const uint8_t **previous,
                                    const uint8_t **current) {
    const assay_source *source = reader->source;
    const uint8_t *const slice = source->bytes + (int64_t)reader->next_slice * source->strides[1];
    uint8_t *const keys = reader->key_slices[reader->next_slice & 1] + SLICE_SLACK;
    const int copies = source->storage == ASSAY_U8 && reader->is_identity;
    for (uint32_t y = 0; y < source->shape[1]; y++) {
        const uint8_t *const row = slice + (int64_t)y * source->strides[0];
        uint8_t *const row_keys = keys + (uint64_t)y * source->shape[0];
        if (copies) {
            memcpy(row_keys, row, source->shape[0]);
            continue;
        }
        const assay_status status = convert_row(reader, row, row_keys);
        if (status) return status;
    }
    *current = keys;
    *previous =
        reader->next_slice ? reader->key_slices[~reader->next_slice & 1] + SLICE_SLACK : NULL;
    return ASSAY_OK;
}

/* The next slice, written out from the runs of an earlier scan. */
static assay_status next_from_runs(slice_reader *reader, const uint8_t **previous,
                                   const uint8_t **current) {
    const assay_runs *const runs = (const assay_runs *)(const void *)reader->source->bytes;
    uint8_t *const keys = reader->key_slices[reader->next_slice & 1] + SLICE_SLACK;
    const uint64_t start =
        (uint64_t)reader->source->offset + reader->next_slice * reader->slice_voxels;
    const uint64_t end = start + reader->slice_voxels;
    for (uint64_t at = start; at < end;) {
        while (reader->next_run < runs->count && runs->ends[reader->next_run] <= at)
            reader->next_run++;
        if (reader->next_run == runs->count) return ASSAY_TRUNCATED;
        const uint64_t stop =
            runs->ends[reader->next_run] < end ? runs->ends[reader->next_run] : end;
        memset(keys + (at - start), runs->keys[reader->next_run], (size_t)(stop - at));
        at = stop;
    }
    *current = keys;
    *previous =
        reader->next_slice ? reader->key_slices[~reader->next_slice & 1] + SLICE_SLACK : NULL;
    return ASSAY_OK;
}

/* See source.h. */
assay_status slices_next(slice_reader *reader, const uint8_t **previous, const uint8_t **current) {
    assay_status status = ASSAY_CORRUPT;
    switch ((assay_kind)reader->source->kind) {
        case ASSAY_ARRAY: status = next_from_array(reader, previous, current); break;
        case ASSAY_GZIP: status = next_from_stream(reader, previous, current); break;
        case ASSAY_RUNS: status = next_from_runs(reader, previous, current); break;
    }
    reader->next_slice++;
    return status;
}

/* See source.h. */
assay_status slices_finish(slice_reader *reader) {
    if (reader->source->kind != ASSAY_GZIP) return ASSAY_OK;
    inflate_stream *const stream = reader->stream;
    const uint64_t expected = (uint64_t)reader->source->offset +
                              reader->source->shape[2] * reader->slice_voxels * reader->voxel_bytes;
    while (!inflate_has_ended(stream)) {
        if (stream->produced > expected) return ASSAY_TOO_LONG;
        const assay_status status = inflate_until(stream, &reader->out, reader->out + 1);
        if (status) return status;
    }
    return stream->produced > expected ? ASSAY_TOO_LONG : inflate_close(stream);
}

/* See source.h. */
void slices_close(slice_reader *reader) {
    free(reader->key_slices[0]);
    free(reader->key_slices[1]);
    free(reader->row);
    free(reader->stream);
    free(reader->buffer);
}
