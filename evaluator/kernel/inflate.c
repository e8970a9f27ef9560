/* A gzip decoder for label maps (RFC 1951, RFC 1952).
 *
 * Why not zlib: a label map is mostly matches of length 258 at distance 1. zlib copies them a byte
 * or two at a time into a buffer that has left the cache when it is read again. This decoder works
 * in slices that stay in the cache, and writes matches 64 bytes at a time. With ASSAY_INFLATE=zlib
 * Python decompresses with zlib instead and this file is not used (inflate.py).
 *
 * Structure. refill() tops up a 64-bit buffer of bits, lowest bit first. A code is decoded by
 * looking up its next bits in a table, of two levels where codes are long. decode_codes() is the
 * loop in which nearly all time is spent.
 *
 * It accepts exactly what zlib accepts (tests fuzz it against zlib): codes must be complete, except
 * for a lone distance or literal code of one bit. Every length, distance and table index is
 * checked. Behind the end of the input, refill() adds zero bytes and counts them; has_overrun()
 * notices before anything decoded from them is returned as valid.
 */
#include "inflate.h"

#include <string.h>

/* Where in the stream the decoder stands. */
enum { NEEDS_HEADER, IN_STORED, IN_CODES, HAS_ENDED };
enum {
    LITERAL_BITS = 11,
    DISTANCE_BITS = 8,
    LONGEST_CODE = 15,
    LARGEST_LITERAL = 288,
    LARGEST_DISTANCE = 32,
    LONGEST_MATCH = 258
};

/* A table entry: bits to take (0..7), extra bits or bits of a subtable (8..11), kind (12..15),
 * value (16..31). */
#define KIND_LITERAL 0x8000u
#define KIND_SUBTABLE 0x4000u
#define KIND_END 0x2000u
#define KIND_INVALID 0x1000u
#define KIND_SPECIAL (KIND_SUBTABLE | KIND_END | KIND_INVALID)

/* Bits of the stream that the entry stands for. */
static inline uint32_t entry_bits(uint32_t entry) { return entry & 0xffu; }
/* Extra bits that follow a length or a distance, or bits that index a subtable. */
static inline uint32_t entry_extra(uint32_t entry) { return entry >> 8 & 0xfu; }
/* A literal, the base of a length or a distance, or where a subtable begins. */
static inline uint32_t entry_value(uint32_t entry) { return entry >> 16; }

static const uint16_t LENGTH_BASE[29] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                         15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                         67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t LENGTH_EXTRA[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t DISTANCE_BASE[30] = {
    1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
    193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const uint8_t DISTANCE_EXTRA[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                           6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

/* The table entry of a symbol of the literal and length code. */
static uint32_t literal_entry(uint32_t symbol) {
    if (symbol < 256) return KIND_LITERAL | symbol << 16;
    if (symbol == 256) return KIND_END;
    if (symbol > 285) return KIND_INVALID;
    return (uint32_t)LENGTH_BASE[symbol - 257] << 16 | (uint32_t)LENGTH_EXTRA[symbol - 257] << 8;
}

/* The table entry of a symbol of the distance code. */
static uint32_t distance_entry(uint32_t symbol) {
    if (symbol > 29) return KIND_INVALID;
    return (uint32_t)DISTANCE_BASE[symbol] << 16 | (uint32_t)DISTANCE_EXTRA[symbol] << 8;
}

/* The table entry of a symbol of the code in which code lengths are written. */
static uint32_t plain_entry(uint32_t symbol) { return symbol << 16; }

/* The lowest `length` bits in the other order: deflate stores codes with the first bit lowest. */
static uint32_t reversed(uint32_t code, uint32_t length) {
    uint32_t result = 0;
    while (length--) {
        result = result << 1 | (code & 1);
        code >>= 1;
    }
    return result;
}

/* Fill a two-level decoding table from code lengths; returns 0 if the lengths are no valid code. */
static int build_table(uint32_t *table, uint32_t size, uint32_t root_bits, const uint8_t *lengths,
                       uint32_t symbols, uint32_t (*entry_of)(uint32_t), int may_be_lone) {
    uint32_t count[LONGEST_CODE + 1] = {0}, next_code[LONGEST_CODE + 2];
    for (uint32_t s = 0; s < symbols; s++) count[lengths[s]]++;
    uint32_t longest = LONGEST_CODE;
    while (longest && !count[longest]) longest--;
    int64_t left = 1;
    for (uint32_t n = 1; n <= LONGEST_CODE; n++) {
        left = (left << 1) - count[n];
        if (left < 0) return 0;
    }
    if (left > 0 && (!may_be_lone || longest > 1)) return 0;
    uint32_t code = 0;
    for (uint32_t n = 1; n <= LONGEST_CODE; n++) {
        next_code[n] = code;
        code = (code + count[n]) << 1;
    }
    const uint32_t root_size = 1u << root_bits;
    for (uint32_t i = 0; i < root_size; i++) table[i] = KIND_INVALID | root_bits;
    const uint32_t sub_bits = longest > root_bits ? longest - root_bits : 0;
    uint32_t used = root_size;
    for (uint32_t length = 1; length <= longest; length++) {
        if (!count[length]) continue;
        for (uint32_t s = 0; s < symbols; s++) {
            if (lengths[s] != length) continue;
            const uint32_t bits = reversed(next_code[length]++, length);
            const uint32_t entry = entry_of(s);
            if (length <= root_bits) {
                for (uint32_t i = bits; i < root_size; i += 1u << length) table[i] = entry | length;
                continue;
            }
            uint32_t *root = &table[bits & (root_size - 1)];
            if (!(*root & KIND_SUBTABLE)) {
                if (used + (1u << sub_bits) > size) return 0;
                *root = KIND_SUBTABLE | used << 16 | sub_bits << 8 | root_bits;
                used += 1u << sub_bits;
            }
            uint32_t *sub = table + entry_value(*root);
            for (uint32_t i = bits >> root_bits; i < 1u << sub_bits;
                 i += 1u << (length - root_bits))
                sub[i] = entry | (length - root_bits);
        }
    }
    return 1;
}

/* Fill both tables of a block; returns 0 if either code is not valid. */
static int build_code_tables(inflate_stream *stream, const uint8_t *lengths, uint32_t literals,
                             uint32_t distances) {
    return build_table(stream->literals, LITERAL_TABLE, LITERAL_BITS, lengths, literals,
                       literal_entry, 1) &&
           build_table(stream->distances, DISTANCE_TABLE, DISTANCE_BITS, lengths + literals,
                       distances, distance_entry, 1);
}

/* Eight bytes as a number, the first lowest. */
static inline uint64_t load_64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

/* At least 56 bits afterwards; bits above the count are bits of the stream too, so adding them
 * twice does no harm. */
static inline void refill(inflate_stream *stream) {
    if (stream->end - stream->next >= 8) {
        stream->bits |= load_64(stream->next) << stream->bit_count;
        stream->next += (63 - stream->bit_count) >> 3;
        stream->bit_count |= 56;
        return;
    }
    while (stream->bit_count < 56) {
        if (stream->next < stream->end)
            stream->bits |= (uint64_t)*stream->next++ << stream->bit_count;
        else
            stream->overrun++;
        stream->bit_count += 8;
    }
}

/* Take `count` bits, which refill has made available. */
static inline uint32_t take(inflate_stream *stream, uint32_t count) {
    const uint32_t value = (uint32_t)(stream->bits & ((1ull << count) - 1));
    stream->bits >>= count;
    stream->bit_count -= count;
    return value;
}

/* Bits were used that the input never held. */
static inline int has_overrun(const inflate_stream *stream) {
    return stream->overrun * 8 > stream->bit_count;
}

/* Give whole unread bytes back to the input. */
static assay_status align_to_byte(inflate_stream *stream) {
    take(stream, stream->bit_count & 7);
    if (has_overrun(stream)) return ASSAY_TRUNCATED;
    stream->next -= stream->bit_count / 8 - stream->overrun;
    stream->bits = 0;
    stream->bit_count = stream->overrun = 0;
    return ASSAY_OK;
}

/* A block that is not compressed: its length, twice. */
static assay_status read_stored_header(inflate_stream *stream) {
    const assay_status status = align_to_byte(stream);
    if (status) return status;
    if (stream->end - stream->next < 4) return ASSAY_TRUNCATED;
    const uint32_t length = stream->next[0] | (uint32_t)stream->next[1] << 8;
    const uint32_t check = stream->next[2] | (uint32_t)stream->next[3] << 8;
    if ((length ^ check) != 0xffff) return ASSAY_CORRUPT;
    stream->next += 4;
    stream->stored_left = length;
    stream->block = IN_STORED;
    return ASSAY_OK;
}

/* A block with the code lengths that RFC 1951 fixes. */
static assay_status read_fixed_header(inflate_stream *stream) {
    uint8_t lengths[LARGEST_LITERAL + LARGEST_DISTANCE];
    for (int i = 0; i < LARGEST_LITERAL; i++)
        lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    memset(lengths + LARGEST_LITERAL, 5, LARGEST_DISTANCE);
    stream->block = IN_CODES;
    return build_code_tables(stream, lengths, LARGEST_LITERAL, LARGEST_DISTANCE) ? ASSAY_OK
                                                                                 : ASSAY_CORRUPT;
}

/* A block that brings its own code lengths, which are compressed too (RFC 1951, 3.2.7). */
static assay_status read_dynamic_header(inflate_stream *stream) {
    static const uint8_t ORDER[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                      11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[LARGEST_LITERAL + LARGEST_DISTANCE] = {0}, meta[19] = {0};
    refill(stream);
    const uint32_t literals = take(stream, 5) + 257, distances = take(stream, 5) + 1;
    const uint32_t metas = take(stream, 4) + 4;
    if (literals > 286 || distances > 30) return ASSAY_CORRUPT;
    for (uint32_t i = 0; i < metas; i++) {
        refill(stream);
        meta[ORDER[i]] = (uint8_t)take(stream, 3);
    }
    /* The distance table is not needed yet: it serves as room for the table of code lengths. */
    uint32_t *table = stream->distances;
    if (!build_table(table, DISTANCE_TABLE, 7, meta, 19, plain_entry, 0)) return ASSAY_CORRUPT;
    for (uint32_t i = 0; i < literals + distances;) {
        refill(stream);
        const uint32_t entry = table[stream->bits & 127];
        if (entry & KIND_INVALID) return ASSAY_CORRUPT;
        take(stream, entry_bits(entry));
        const uint32_t symbol = entry_value(entry);
        if (symbol < 16) {
            lengths[i++] = (uint8_t)symbol;
            continue;
        }
        if (symbol == 16 && i == 0) return ASSAY_CORRUPT;
        const uint8_t value = symbol == 16 ? lengths[i - 1] : 0;
        uint32_t repeat = symbol == 16   ? 3 + take(stream, 2)
                          : symbol == 17 ? 3 + take(stream, 3)
                                         : 11 + take(stream, 7);
        if (i + repeat > literals + distances) return ASSAY_CORRUPT;
        while (repeat--) lengths[i++] = value;
    }
    if (has_overrun(stream)) return ASSAY_TRUNCATED;
    if (!lengths[256]) return ASSAY_CORRUPT; /* a block that cannot end */
    stream->block = IN_CODES;
    return build_code_tables(stream, lengths, literals, distances) ? ASSAY_OK : ASSAY_CORRUPT;
}

/* Read what begins a block, and make its tables. */
static assay_status read_block_header(inflate_stream *stream) {
    refill(stream);
    stream->is_last = (int)take(stream, 1);
    switch (take(stream, 2)) {
        case 0: return read_stored_header(stream);
        case 1: return read_fixed_header(stream);
        case 2: return read_dynamic_header(stream);
        default: return has_overrun(stream) ? ASSAY_TRUNCATED : ASSAY_CORRUPT;
    }
}

/* Copy a match; may write up to 64 bytes too many, which INFLATE_SLACK allows for. */
static inline void copy_match(uint8_t *out, uint32_t distance, uint32_t length) {
    const uint8_t *from = out - distance;
    uint8_t *const end = out + length;
    if (distance == 1) {
        memset(out, *from, length);
        return;
    }
    if (distance >= 32) {
        do {
            memcpy(out, from, 32);
            out += 32;
            from += 32;
        } while (out < end);
        return;
    }
    if (distance >= 8) {
        do {
            memcpy(out, from, 8);
            out += 8;
            from += 8;
        } while (out < end);
        return;
    }
    while (out < end) *out++ = *from++;
}

/* The bits of a match of length 258 at distance 1, over and over again. */
typedef struct {
    uint64_t bits;   /* as often as sixty-four bits hold it */
    uint32_t length; /* of one of them, in bits; 0 before the first */
} match_pattern;

/* Remember the bits of a match. Blocks mostly repeat the one that is known already. */
static void note_pattern(match_pattern *pattern, uint64_t bits, uint32_t length) {
    const uint64_t once = bits & ((1ull << length) - 1);
    if (pattern->length == length && (pattern->bits & ((1ull << length) - 1)) == once) return;
    pattern->bits = once;
    pattern->length = length;
    for (uint32_t filled = length; filled < 64; filled *= 2)
        pattern->bits |= pattern->bits << filled;
}

/* How often the same match comes again, each beginning before `room` bytes are written. Their bits
 * are taken. Background consists of little else: a run of zeros is a thousand such matches in a
 * row, of two or three bits each, so up to 28 are recognised with one comparison. */
static uint64_t take_repeated(inflate_stream *stream, const match_pattern *pattern, int64_t room) {
    uint64_t total = 0;
    for (;;) {
        refill(stream);
        const uint64_t differs = stream->bits ^ pattern->bits;
        const uint32_t alike = differs ? (uint32_t)__builtin_ctzll(differs) : 64;
        const uint32_t known = alike < stream->bit_count ? alike : stream->bit_count;
        if (known < pattern->length || room <= 0) return total;
        const int64_t wanted = (room + LONGEST_MATCH - 1) / LONGEST_MATCH;
        const uint32_t found = known / pattern->length;
        const uint32_t times = wanted < found ? (uint32_t)wanted : found;
        take(stream, times * pattern->length);
        total += times;
        room -= (int64_t)times * LONGEST_MATCH;
    }
}

/* Copy bytes of a block that is not compressed, as far as `limit`. */
static assay_status decode_stored(inflate_stream *stream, uint8_t **out, const uint8_t *limit) {
    uint64_t size = stream->stored_left;
    if (size > (uint64_t)(limit - *out)) size = (uint64_t)(limit - *out);
    if (size > (uint64_t)(stream->end - stream->next)) return ASSAY_TRUNCATED;
    memcpy(*out, stream->next, size);
    stream->next += size;
    *out += size;
    stream->produced += size;
    stream->stored_left -= (uint32_t)size;
    if (!stream->stored_left) stream->block = stream->is_last ? HAS_ENDED : NEEDS_HEADER;
    return ASSAY_OK;
}

/* Decode literals and matches until `limit` is reached or passed, or the block ends. */
static assay_status decode_codes(inflate_stream *stream, uint8_t **cursor, const uint8_t *limit) {
    uint8_t *out = *cursor;
    const uint8_t *const start = out;
    const uint64_t produced = stream->produced;
    match_pattern pattern = {0};
    assay_status status = ASSAY_OK;
    while (out < limit) {
        refill(stream);
        uint32_t entry = stream->literals[stream->bits & ((1u << LITERAL_BITS) - 1)];
        if (entry & KIND_LITERAL) {
            take(stream, entry_bits(entry));
            *out++ = (uint8_t)entry_value(entry);
            entry = stream->literals[stream->bits & ((1u << LITERAL_BITS) - 1)];
            if (entry & KIND_LITERAL) {
                take(stream, entry_bits(entry));
                *out++ = (uint8_t)entry_value(entry);
                continue;
            }
            refill(stream);
        }
        const uint64_t match_bits = stream->bits;
        const uint32_t bits_before = stream->bit_count;
        if (entry & KIND_SUBTABLE) {
            take(stream, LITERAL_BITS);
            entry = stream->literals[entry_value(entry) +
                                     (stream->bits & ((1u << entry_extra(entry)) - 1))];
            if (entry & KIND_LITERAL) {
                take(stream, entry_bits(entry));
                *out++ = (uint8_t)entry_value(entry);
                continue;
            }
        }
        if (entry & KIND_SPECIAL) {
            if (entry & KIND_INVALID) {
                status = ASSAY_CORRUPT;
                break;
            }
            take(stream, entry_bits(entry));
            stream->block = stream->is_last ? HAS_ENDED : NEEDS_HEADER;
            break;
        }
        take(stream, entry_bits(entry));
        const uint32_t length = entry_value(entry) + take(stream, entry_extra(entry));
        entry = stream->distances[stream->bits & ((1u << DISTANCE_BITS) - 1)];
        if (entry & KIND_SUBTABLE) {
            take(stream, DISTANCE_BITS);
            entry = stream->distances[entry_value(entry) +
                                      (stream->bits & ((1u << entry_extra(entry)) - 1))];
        }
        if (entry & KIND_INVALID) {
            status = ASSAY_CORRUPT;
            break;
        }
        take(stream, entry_bits(entry));
        const uint32_t distance = entry_value(entry) + take(stream, entry_extra(entry));
        if (distance > produced + (uint64_t)(out - start)) {
            status = ASSAY_CORRUPT;
            break;
        }
        copy_match(out, distance, length);
        out += length;
        if (length == LONGEST_MATCH && distance == 1) {
            note_pattern(&pattern, match_bits, bits_before - stream->bit_count);
            const uint64_t more = take_repeated(stream, &pattern, limit - out) * LONGEST_MATCH;
            memset(out, out[-1], more);
            out += more;
        }
    }
    if (has_overrun(stream)) status = ASSAY_TRUNCATED;
    stream->produced += (uint64_t)(out - start);
    *cursor = out;
    return status;
}

/* See inflate.h. */
assay_status inflate_until(inflate_stream *stream, uint8_t **out, const uint8_t *limit) {
    const uint8_t *const start = *out;
    assay_status status = ASSAY_OK;
    while (!status && *out < limit && stream->block != HAS_ENDED) {
        if (stream->block == NEEDS_HEADER)
            status = read_block_header(stream);
        else if (stream->block == IN_STORED)
            status = decode_stored(stream, out, limit);
        else
            status = decode_codes(stream, out, limit);
    }
    stream->crc = crc32_update(stream->crc, start, (size_t)(*out - start));
    return status;
}

/* See inflate.h. */
int inflate_has_ended(const inflate_stream *stream) { return stream->block == HAS_ENDED; }

/* See inflate.h. Skips the header of RFC 1952 with all its fields. */
assay_status inflate_open(inflate_stream *stream, const uint8_t *bytes, uint64_t size) {
    enum { HAS_CHECK = 2, HAS_EXTRA = 4, HAS_NAME = 8, HAS_COMMENT = 16, RESERVED = 0xe0 };
    memset(stream, 0, sizeof *stream);
    const uint8_t *next = bytes + 10, *const end = bytes + size;
    if (size < 18) return ASSAY_TRUNCATED;
    if (bytes[0] != 0x1f || bytes[1] != 0x8b || bytes[2] != 8 || bytes[3] & RESERVED)
        return ASSAY_CORRUPT;
    if (bytes[3] & HAS_EXTRA) {
        const uint32_t length = next[0] | (uint32_t)next[1] << 8;
        if ((uint64_t)(end - next) < 2 + (uint64_t)length) return ASSAY_TRUNCATED;
        next += 2 + length;
    }
    for (int flag = HAS_NAME; flag <= HAS_COMMENT; flag <<= 1) {
        if (!(bytes[3] & flag)) continue;
        const uint8_t *zero = next < end ? memchr(next, 0, (size_t)(end - next)) : NULL;
        if (!zero) return ASSAY_TRUNCATED;
        next = zero + 1;
    }
    if (bytes[3] & HAS_CHECK) {
        if (end - next < 2) return ASSAY_TRUNCATED;
        const uint32_t expected = next[0] | (uint32_t)next[1] << 8;
        if ((crc32_update(0, bytes, (size_t)(next - bytes)) & 0xffff) != expected)
            return ASSAY_CORRUPT;
        next += 2;
    }
    stream->next = next;
    stream->end = end;
    stream->block = NEEDS_HEADER;
    return ASSAY_OK;
}

/* See inflate.h. */
assay_status inflate_close(inflate_stream *stream) {
    const assay_status status = align_to_byte(stream);
    if (status) return status;
    if (stream->end - stream->next < 8) return ASSAY_TRUNCATED;
    uint32_t trailer[2] = {0, 0};
    for (int i = 0; i < 8; i++) trailer[i / 4] |= (uint32_t)stream->next[i] << (8 * (i % 4));
    if (trailer[0] != stream->crc || trailer[1] != (uint32_t)stream->produced) return ASSAY_CORRUPT;
    return stream->end - stream->next == 8 ? ASSAY_OK : ASSAY_TOO_LONG;
}
