/* One pass over a volume: every corner whose voxels differ, and every run of equal keys.
 *
 * Corner (x, y, z) lies between voxels x-1 and x, y-1 and y, z-1 and z, so it touches four rows of
 * voxels. For 64 voxels at a time, one comparison tells at which x the four rows disagree, and
 * another where the newest row changes from one voxel to the next. A corner is mixed if its column
 * disagrees, the column before it disagrees, or the row changes there. In a label map one corner in
 * fifty to a hundred is mixed. Only those are looked at one by one.
 *
 * Most of a label map is zeros. Where zero belongs to no label, the scan notes which blocks of a
 * row hold nothing else. It compares only blocks that are filled in one of the four rows, and
 * blocks that follow one.
 *
 * Outside the image lies `outside_key`: a row of it stands in for rows beyond the edge.
 */
#include "scan.h"

#include <stdlib.h>
#include <string.h>

#include "instructions.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* What one scan works with. */
typedef struct {
    assay_scan *scan;
    const assay_labels *labels;
    int is_shared;          /* some label has several keys, or some key several labels */
    uint16_t label_of[256]; /* where nothing is shared: the label of a key, or NO_LABEL */
    uint16_t met[ASSAY_MOST_LABELS];
    uint8_t code_of[ASSAY_MOST_LABELS]; /* zero between corners */
    int skips_zeros;     /* key 0 and the outside belong to no label: blocks of zeros are skipped */
    uint32_t flag_words; /* of a row: one bit for each block that holds anything but zeros */
    uint64_t *flags[2];  /* of the rows of two slices, taken in turn */
    uint64_t *no_flags;  /* of a row outside */
    uint64_t *visited;   /* the blocks of the four rows that have to be looked at */
    uint8_t last_key;    /* of the run that is open */
    uint64_t row_start;  /* position of the newest row's first voxel */
    assay_status status;
} scanner;

enum { NO_LABEL = 0xffff, BLOCK = 64 };

typedef void scan_row_function(scanner *self, const uint8_t *const rows[4], int has_runs,
                               uint32_t y, uint32_t z);
typedef void flag_row_function(const uint8_t *row, uint32_t size, uint64_t *flags);

/* Append an element to the list of its label. */
static void add_element(scanner *self, uint32_t label, assay_element element) {
    assay_elements *list = &self->scan->elements[label];
    if (list->count == list->capacity) {
        const uint64_t capacity = list->capacity ? 2 * list->capacity : 512;
        assay_element *data = realloc(list->data, capacity * sizeof *data);
        if (!data) {
            self->status = ASSAY_NO_MEMORY;
            return;
        }
        list->data = data;
        list->capacity = capacity;
    }
    list->data[list->count++] = element;
}

/* Make room for `more` runs. */
static void reserve_runs(scanner *self, uint64_t more) {
    assay_runs *runs = &self->scan->runs;
    if (runs->count + more <= runs->capacity) return;
    const uint64_t capacity = 2 * runs->capacity + more + 4096;
    uint32_t *ends = realloc(runs->ends, capacity * sizeof *ends);
    if (ends) runs->ends = ends;
    uint8_t *keys = realloc(runs->keys, capacity);
    if (keys) runs->keys = keys;
    if (!ends || !keys)
        self->status = ASSAY_NO_MEMORY;
    else
        runs->capacity = capacity;
}

/* Write the run that ends before voxel `position` and begin the next. */
static inline void end_run(scanner *self, uint64_t position, uint8_t next_key) {
    assay_runs *runs = &self->scan->runs;
    runs->ends[runs->count] = (uint32_t)position;
    runs->keys[runs->count++] = self->last_key;
    self->last_key = next_key;
}

#if defined(__x86_64__)
/* Which of the eight bytes equal `key`, as eight bits. */
static inline uint32_t equal_bytes(uint64_t bytes, uint8_t key) {
    const __m128i keys = _mm_cvtsi64_si128((long long)(0x0101010101010101ull * key));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_cvtsi64_si128((long long)bytes), keys)) &
           0xff;
}
#else
/* Which of the eight bytes equal `key`, as eight bits. */
static inline uint32_t equal_bytes(uint64_t bytes, uint8_t key) {
    const uint64_t low = 0x7f7f7f7f7f7f7f7full;
    const uint64_t difference = bytes ^ 0x0101010101010101ull * key;
    const uint64_t differs = ((difference & low) + low) | difference;
    return (uint32_t)((~differs >> 7 & 0x0101010101010101ull) * 0x0102040810204080ull >> 56);
}
#endif

/* Where labels share keys or have several, the code of every label met here is gathered over all
 * its keys. */
static void visit_shared(scanner *self, uint64_t bytes, assay_element corner) {
    const assay_labels *labels = self->labels;
    uint32_t met = 0;
    for (uint32_t remaining = 0xff; remaining;) {
        const uint8_t key = (uint8_t)(bytes >> 8 * __builtin_ctz(remaining));
        const uint32_t equal = equal_bytes(bytes, key);
        remaining &= ~equal;
        for (uint32_t m = labels->first[key]; m < labels->first[key + 1]; m++) {
            const uint16_t label = labels->members[m];
            if (!self->code_of[label]) self->met[met++] = label;
            self->code_of[label] |= (uint8_t)equal;
        }
    }
    while (met) {
        const uint16_t label = self->met[--met];
        const uint8_t code = self->code_of[label];
        self->code_of[label] = 0;
        if (code != ALL_EIGHT) add_element(self, label, with_code(corner, code));
    }
}

/* Bits of `bytes`: voxel x-1 or x, then y-1 or y, then z-1 or z, from the lowest on. */
static inline void visit_corner(scanner *self, uint64_t bytes, uint32_t x, uint32_t y, uint32_t z) {
    const assay_element corner = pack_corner(x, y, z);
    if (self->is_shared) {
        visit_shared(self, bytes, corner);
        return;
    }
    for (uint32_t remaining = self->skips_zeros ? 0xff & ~equal_bytes(bytes, 0) : 0xff;
         remaining;) {
        const uint8_t key = (uint8_t)(bytes >> 8 * __builtin_ctz(remaining));
        const uint32_t equal = equal_bytes(bytes, key);
        const uint16_t label = self->label_of[key];
        remaining &= ~equal;
        if (label == NO_LABEL) continue;
        add_element(self, label, with_code(corner, equal));
    }
}

/* Two neighbouring keys of a row, the first in the low byte. */
static inline uint64_t load_pair(const uint8_t *row) {
    uint16_t pair;
    memcpy(&pair, row, 2);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    pair = __builtin_bswap16(pair);
#endif
    return pair;
}

/* A corner between two voxels of each row. */
static inline void visit_inner(scanner *self, const uint8_t *const rows[4], uint32_t x, uint32_t y,
                               uint32_t z) {
    uint64_t bytes = 0;
    for (int r = 0; r < 4; r++) bytes |= load_pair(rows[r] + x - 1) << 16 * r;
    visit_corner(self, bytes, x, y, z);
}

/* A corner at the low or high end of the rows: one neighbour along x is outside. */
static void visit_end(scanner *self, const uint8_t *const rows[4], uint32_t x, uint32_t y,
                      uint32_t z) {
    const uint64_t outside = self->labels->outside_key;
    uint64_t bytes = 0;
    for (int r = 0; r < 4; r++) {
        const uint64_t pair =
            x ? rows[r][x - 1] | outside << 8 : outside | (uint64_t)rows[r][0] << 8;
        bytes |= pair << 16 * r;
    }
    if (equal_bytes(bytes, (uint8_t)bytes) != 0xff) visit_corner(self, bytes, x, y, z);
}

/* A row of voxels follows the one before: does a run end between them? */
static void begin_row(scanner *self, uint8_t first_key) {
    reserve_runs(self, 1);
    if (self->status) return;
    if (first_key != self->last_key && self->row_start) end_run(self, self->row_start, first_key);
    self->last_key = first_key;
}

/* Write every run that ends where `changes` has a bit; `start` is the first voxel of the block. */
static void end_runs(scanner *self, const uint8_t *row, uint32_t start, uint64_t changes) {
    reserve_runs(self, BLOCK);
    if (self->status) return;
    for (; changes; changes &= changes - 1) {
        const uint32_t x = start + (uint32_t)__builtin_ctzll(changes);
        end_run(self, self->row_start + x, row[x]);
    }
}

/* Where two blocks differ. */
static inline uint64_t plain_block(const uint8_t *first, const uint8_t *second) {
    uint64_t bits = 0;
    for (int word = 0; word < BLOCK / 8; word++) {
        uint64_t a, b;
        memcpy(&a, first + 8 * word, 8);
        memcpy(&b, second + 8 * word, 8);
        if (a != b) bits |= (uint64_t)(0xff & ~equal_bytes(a ^ b, 0)) << 8 * word;
    }
    return bits;
}

/* At which x of a block the four rows disagree. */
static inline uint64_t plain_mixed(const uint8_t *const rows[4], uint32_t x) {
    return plain_block(rows[0] + x, rows[1] + x) | plain_block(rows[0] + x, rows[2] + x) |
           plain_block(rows[0] + x, rows[3] + x);
}

/* Where a block of a row differs from the voxels before. */
static inline uint64_t plain_changes(const uint8_t *row) { return plain_block(row, row - 1); }

/* Whether a block holds anything but zeros. */
static inline int plain_is_filled(const uint8_t *block) {
    uint64_t joined = 0;
    for (int word = 0; word < BLOCK / 8; word++) {
        uint64_t bytes;
        memcpy(&bytes, block + 8 * word, 8);
        joined |= bytes;
    }
    return joined != 0;
}

#define INSTRUCTIONS plain
#define WITH_INSTRUCTIONS
#include "scan_row_template.h"

#if defined(__x86_64__)

/* Where two blocks differ, 16 bytes at a time. */
static inline uint64_t sse2_block(const uint8_t *first, const uint8_t *second) {
    uint64_t bits = 0;
    for (int part = 0; part < 4; part++) {
        const __m128i a = _mm_loadu_si128((const __m128i *)(first + 16 * part));
        const __m128i b = _mm_loadu_si128((const __m128i *)(second + 16 * part));
        bits |= (uint64_t)(uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) << 16 * part;
    }
    return ~bits;
}

/* As plain_mixed. */
static inline uint64_t sse2_mixed(const uint8_t *const rows[4], uint32_t x) {
    return sse2_block(rows[0] + x, rows[1] + x) | sse2_block(rows[0] + x, rows[2] + x) |
           sse2_block(rows[0] + x, rows[3] + x);
}

/* As plain_changes. */
static inline uint64_t sse2_changes(const uint8_t *row) { return sse2_block(row, row - 1); }

/* As plain_is_filled, which is as fast. */
static inline int sse2_is_filled(const uint8_t *block) { return plain_is_filled(block); }

#define INSTRUCTIONS sse2
#define WITH_INSTRUCTIONS
#include "scan_row_template.h"

#define WITH_AVX2 __attribute__((target("avx2,bmi,popcnt")))
/* As plain_mixed, 32 bytes at a time. */
WITH_AVX2 static inline uint64_t avx2_mixed(const uint8_t *const rows[4], uint32_t x) {
    uint64_t bits = 0;
    for (int part = 0; part < 2; part++) {
        const __m256i first = _mm256_loadu_si256((const __m256i *)(rows[0] + x + 32 * part));
        __m256i equal = _mm256_set1_epi8(-1);
        for (int r = 1; r < 4; r++) {
            const __m256i row = _mm256_loadu_si256((const __m256i *)(rows[r] + x + 32 * part));
            equal = _mm256_and_si256(equal, _mm256_cmpeq_epi8(first, row));
        }
        bits |= (uint64_t)(uint32_t)_mm256_movemask_epi8(equal) << 32 * part;
    }
    return ~bits;
}

/* As plain_changes, 32 bytes at a time. */
WITH_AVX2 static inline uint64_t avx2_changes(const uint8_t *row) {
    uint64_t bits = 0;
    for (int part = 0; part < 2; part++) {
        const __m256i here = _mm256_loadu_si256((const __m256i *)(row + 32 * part));
        const __m256i before = _mm256_loadu_si256((const __m256i *)(row + 32 * part - 1));
        bits |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(here, before))
                << 32 * part;
    }
    return ~bits;
}

/* As plain_is_filled, 32 bytes at a time. */
WITH_AVX2 static inline int avx2_is_filled(const uint8_t *block) {
    const __m256i first = _mm256_loadu_si256((const __m256i *)block);
    const __m256i second = _mm256_loadu_si256((const __m256i *)(block + 32));
    const __m256i joined = _mm256_or_si256(first, second);
    return !_mm256_testz_si256(joined, joined);
}

#define INSTRUCTIONS avx2
#define WITH_INSTRUCTIONS WITH_AVX2
#include "scan_row_template.h"

#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,bmi,popcnt")))
/* As plain_mixed, 64 bytes at once. */
WITH_AVX512 static inline uint64_t avx512_mixed(const uint8_t *const rows[4], uint32_t x) {
    /* Truth tables of three bits a, b, c: they disagree; a or (b xor c). */
    enum { NOT_ALL_EQUAL = 0x7e, OR_DIFFERS = 0xf6 };
    const __m512i first = _mm512_loadu_si512(rows[0] + x), second = _mm512_loadu_si512(rows[1] + x);
    const __m512i third = _mm512_loadu_si512(rows[2] + x), fourth = _mm512_loadu_si512(rows[3] + x);
    const __m512i three = _mm512_ternarylogic_epi64(first, second, third, NOT_ALL_EQUAL);
    const __m512i all = _mm512_ternarylogic_epi64(three, first, fourth, OR_DIFFERS);
    return _mm512_test_epi8_mask(all, all);
}

/* As plain_changes, 64 bytes at once. */
WITH_AVX512 static inline uint64_t avx512_changes(const uint8_t *row) {
    return _mm512_cmpneq_epi8_mask(_mm512_loadu_si512(row), _mm512_loadu_si512(row - 1));
}

/* As plain_is_filled, 64 bytes at once. */
WITH_AVX512 static inline int avx512_is_filled(const uint8_t *block) {
    const __m512i bytes = _mm512_loadu_si512(block);
    return _mm512_test_epi64_mask(bytes, bytes) != 0;
}

#define INSTRUCTIONS avx512
#define WITH_INSTRUCTIONS WITH_AVX512
#include "scan_row_template.h"

#elif defined(__aarch64__)

/* Where two blocks differ, 16 bytes at a time. */
static inline uint64_t neon_block(const uint8_t *first, const uint8_t *second) {
    uint64_t bits = 0;
    for (int part = 0; part < 4; part++) {
        const uint8x16_t equal =
            vceqq_u8(vld1q_u8(first + 16 * part), vld1q_u8(second + 16 * part));
        const uint8x16_t weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
        const uint8x16_t weighed = vandq_u8(equal, weights);
        const uint64_t sixteen =
            vaddv_u8(vget_low_u8(weighed)) | (uint64_t)vaddv_u8(vget_high_u8(weighed)) << 8;
        bits |= sixteen << 16 * part;
    }
    return ~bits;
}

/* As plain_mixed. */
static inline uint64_t neon_mixed(const uint8_t *const rows[4], uint32_t x) {
    return neon_block(rows[0] + x, rows[1] + x) | neon_block(rows[0] + x, rows[2] + x) |
           neon_block(rows[0] + x, rows[3] + x);
}

/* As plain_changes. */
static inline uint64_t neon_changes(const uint8_t *row) { return neon_block(row, row - 1); }

/* As plain_is_filled, which is as fast. */
static inline int neon_is_filled(const uint8_t *block) { return plain_is_filled(block); }

#define INSTRUCTIONS neon
#define WITH_INSTRUCTIONS
#include "scan_row_template.h"
#endif

/* The functions of one instruction set. */
typedef struct {
    scan_row_function *scan_row;
    flag_row_function *flag_row;
} row_functions;

/* The functions of the best instruction set that this machine has. */
static row_functions choose_row_functions(void) {
    switch (choose_instructions()) {
#if defined(__x86_64__)
        case AVX512: return (row_functions){scan_row_avx512, flag_row_avx512};
        case AVX2: return (row_functions){scan_row_avx2, flag_row_avx2};
        case SSE2: return (row_functions){scan_row_sse2, flag_row_sse2};
#elif defined(__aarch64__)
        case NEON: return (row_functions){scan_row_neon, flag_row_neon};
#endif
        default: return (row_functions){scan_row_plain, flag_row_plain};
    }
}

/* Which blocks of four rows can hold a corner: those that are filled in any of them, and those that
 * follow one. */
static int choose_blocks(scanner *self, const uint64_t *const flags[4]) {
    uint64_t carry = 0, any = 0;
    for (uint32_t word = 0; word < self->flag_words; word++) {
        const uint64_t filled = flags[0][word] | flags[1][word] | flags[2][word] | flags[3][word];
        self->visited[word] = filled | filled << 1 | carry;
        carry = filled >> 63;
        any |= filled;
    }
    const int is_last_word_full = self->scan->shape[0] > (self->flag_words * BLOCK - 1) * BLOCK;
    if (!is_last_word_full)
        self->visited[self->flag_words - 1] &=
            (1ull << ((self->scan->shape[0] + BLOCK - 1) / BLOCK) % BLOCK) - 1;
    return any != 0;
}

/* Visit every corner between two slices of keys; either may be NULL, outside the volume. */
static void scan_layer(scanner *self, row_functions functions, const uint8_t *lower,
                       const uint8_t *upper, const uint8_t *outside, uint32_t z) {
    const uint32_t *shape = self->scan->shape;
    const int has_runs = upper != NULL;
    uint64_t *const new_flags = self->flags[z & 1], *const old_flags = lower == upper
                                                                           ? new_flags
                                                                           : self->flags[~z & 1];
    for (uint32_t y = 0; y <= shape[1] && !self->status; y++) {
        const uint64_t row = (uint64_t)y * shape[0], flag = (uint64_t)y * self->flag_words;
        const int has_below = y > 0, has_above = y < shape[1];
        const uint8_t *const rows[4] = {
            lower && has_below ? lower + row - shape[0] : outside,
            lower && has_above ? lower + row : outside,
            upper && has_below ? upper + row - shape[0] : outside,
            upper && has_above ? upper + row : outside,
        };
        const uint64_t *const flags[4] = {
            lower && has_below ? old_flags + flag - self->flag_words : self->no_flags,
            lower && has_above ? old_flags + flag : self->no_flags,
            upper && has_below ? new_flags + flag - self->flag_words : self->no_flags,
            upper && has_above ? new_flags + flag : self->no_flags,
        };
        self->row_start = (uint64_t)z * shape[0] * shape[1] + row;
        if (self->skips_zeros && has_runs && has_above)
            functions.flag_row(rows[3], shape[0], new_flags + flag);
        if (has_runs && has_above) begin_row(self, rows[3][0]);
        if (choose_blocks(self, flags) && !self->status)
            functions.scan_row(self, rows, has_runs && has_above, y, z);
    }
}

/* Visit every corner of a volume, slice by slice. */
static assay_status scan_slices(scanner *self, slice_reader *reader, const uint8_t *outside,
                                int is_planar) {
    const row_functions functions = choose_row_functions();
    const uint32_t depth = self->scan->shape[2];
    const uint8_t *previous = NULL, *current = NULL;
    for (uint32_t z = 0; z < depth; z++) {
        const assay_status status = slices_next(reader, &previous, &current);
        if (status) return status;
        scan_layer(self, functions, is_planar ? current : previous, current, outside, z);
        if (self->status) return self->status;
    }
    if (!is_planar) scan_layer(self, functions, current, NULL, outside, depth);
    if (self->status) return self->status;
    reserve_runs(self, 1);
    if (self->status) return self->status;
    end_run(self, (uint64_t)self->scan->shape[0] * self->scan->shape[1] * depth, 0);
    return slices_finish(reader);
}

/* Room for flags. Where zeros may be part of a label, every block counts as filled once and for
 * all. */
static void prepare_flags(scanner *self) {
    const assay_labels *const labels = self->labels;
    const uint32_t *const shape = self->scan->shape;
    self->flag_words = (shape[0] + BLOCK * BLOCK - 1) / (BLOCK * BLOCK);
    const size_t row_bytes = self->flag_words * sizeof(uint64_t);
    const size_t slice_bytes = row_bytes * shape[1];
    self->skips_zeros = labels->first[0] == labels->first[1];
    const int filled = self->skips_zeros ? 0 : 0xff;
    for (int slice = 0; slice < 2; slice++) {
        self->flags[slice] = malloc(slice_bytes);
        if (self->flags[slice]) memset(self->flags[slice], filled, slice_bytes);
    }
    self->no_flags = malloc(row_bytes);
    if (self->no_flags) memset(self->no_flags, filled, row_bytes);
    self->visited = malloc(row_bytes);
    if (!self->flags[0] || !self->flags[1] || !self->no_flags || !self->visited)
        self->status = ASSAY_NO_MEMORY;
}

/* Give back what prepare_flags took. */
static void free_flags(scanner *self) {
    free(self->flags[0]);
    free(self->flags[1]);
    free(self->no_flags);
    free(self->visited);
}

/* Learn whether labels share keys and, if not, which label each key has. */
static void note_labels(scanner *self) {
    const assay_labels *labels = self->labels;
    for (int key = 0; key < 256; key++) {
        const uint32_t first = labels->first[key], count = labels->first[key + 1] - first;
        self->label_of[key] = count ? labels->members[first] : NO_LABEL;
        self->is_shared |= count > 1;
        for (uint32_t m = first; m < first + count; m++) {
            uint8_t *const keys = &self->code_of[labels->members[m]];
            self->is_shared |= (*keys)++ != 0;
        }
    }
    memset(self->code_of, 0, sizeof self->code_of);
}

/* See scan.h. */
assay_status scan_volume(const assay_source *source, const assay_labels *labels, int is_planar,
                         assay_scan *scan) {
    memset(scan, 0, sizeof *scan);
    memcpy(scan->shape, source->shape, sizeof scan->shape);
    if (labels->label_count > ASSAY_MOST_LABELS) return ASSAY_TOO_LARGE;
    scan->label_count = labels->label_count;
    scan->elements = calloc(labels->label_count ? labels->label_count : 1, sizeof *scan->elements);
    if (!scan->elements) return ASSAY_NO_MEMORY;
    scanner *const self = calloc(1, sizeof *self);
    uint8_t *const outside = malloc((size_t)source->shape[0] + 2 * SLICE_SLACK);
    slice_reader reader;
    assay_status status = slices_open(&reader, source, labels);
    if (!self || !outside) status = ASSAY_NO_MEMORY;
    if (!status) {
        self->scan = scan;
        self->labels = labels;
        note_labels(self);
        prepare_flags(self);
        status = self->status;
    }
    if (!status) {
        memset(outside, labels->outside_key, (size_t)source->shape[0] + 2 * SLICE_SLACK);
        status = scan_slices(self, &reader, outside + SLICE_SLACK, is_planar);
    }
    slices_close(&reader);
    if (self) free_flags(self);
    free(outside);
    free(self);
    return status;
}

/* See scan.h. */
void free_scan(assay_scan *scan) {
    for (uint32_t label = 0; scan->elements && label < scan->label_count; label++)
        free(scan->elements[label].data);
    free(scan->elements);
    free(scan->runs.ends);
    free(scan->runs.keys);
    memset(scan, 0, sizeof *scan);
}
