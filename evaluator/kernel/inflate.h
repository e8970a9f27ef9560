/* Decompresses a gzip stream piece by piece, in place. */
#ifndef ASSAY_INFLATE_H
#define ASSAY_INFLATE_H

#include "kernel.h"

#define INFLATE_WINDOW 32768u /* how far back a match may reach */
#define INFLATE_SLACK 512u    /* bytes behind the limit that may be written */

/* Root tables and subtables: a complete code has at least two symbols in every subtable. */
enum { LITERAL_TABLE = 2048 + 144 * 16, DISTANCE_TABLE = 256 + 16 * 128 };

/* A gzip member being decoded piece by piece. */
typedef struct {
    const uint8_t *next, *end;
    uint64_t bits;
    uint32_t bit_count;
    uint32_t overrun; /* zero bytes invented behind the end of the input */
    uint64_t produced;
    uint32_t crc;
    uint32_t stored_left;
    int block; /* what the decoder stands in: see inflate.c */
    int is_last;
    uint32_t literals[LITERAL_TABLE];
    uint32_t distances[DISTANCE_TABLE];
} inflate_stream;

/* Read the header of a gzip member. */
assay_status inflate_open(inflate_stream *stream, const uint8_t *bytes, uint64_t size);

/* Decode until `limit` is reached or passed (by at most INFLATE_SLACK) or the data ends. `*out`
 * advances. The bytes before `*out`, as many as were produced but at most INFLATE_WINDOW, must be
 * where the last call left them. */
assay_status inflate_until(inflate_stream *stream, uint8_t **out, const uint8_t *limit);

/* Whether the last block is decoded to its end. */
int inflate_has_ended(const inflate_stream *stream);

/* The checksum and length behind the data, once it has ended, and that nothing follows. */
assay_status inflate_close(inflate_stream *stream);

/* The CRC-32 of some bytes and of all before them, whose CRC-32 is `crc` (0 for none). */
uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t size);

#endif
