/* Assay's evaluator kernel: from two stored label maps to overlap counts and exact surface distances.
 *
 * Theory of operation
 * -------------------
 * 1. A *source* (a gzip stream, or an array in memory) is turned into slices of one-byte keys (source.c, inflate.c).
 *    A key stands for a voxel value; which labels a key belongs to is a table the caller brings.
 * 2. One pass over neighbouring slices (scan.c) finds every corner of the voxel lattice whose eight voxels differ, and
 *    writes one *element* per label that meets there: its corner and its neighbour code. The same pass records the volume
 *    as runs of equal keys. Elements and runs are all that is kept of a volume, a few megabytes.
 * 3. Merging two run lists gives the joint histogram, hence every overlap count (measure.c).
 * 4. Per label the target surface becomes a grid of bits, one per corner. Three in four source elements coincide with a target
 *    or touch one, which the nine rows of bits around them say. The others look at more rows, nearest row first, and
 *    stop when the row itself is further than the best element (nearest.h). With AVX-512, up to eight sources of a row look at
 *    once (lanes.c). Sources that find nothing nearby compare cells of elements by their bounding boxes first (cells.c).
 *
 * Exactness: a squared distance is `((d0*s0)^2 + (d1*s1)^2) + (d2*s2)^2` in float64, summed in the array's axis order and
 * without fused multiply-add (-ffp-contract=off). Rounding is monotone, so bounds computed the same way never exclude the
 * minimum, and every backend finds the same number to the last bit.
 *
 * Nothing here trusts its input: sizes are checked before use, every status is returned, and no call keeps state.
 */
#ifndef ASSAY_KERNEL_H
#define ASSAY_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define ASSAY_INTERFACE 4 /* raised whenever a struct or a signature below changes; the loader compares */

#define DOOR __attribute__((visibility("default"))) /* what Python calls */

typedef enum {
    ASSAY_OK = 0,
    ASSAY_NO_MEMORY = 1,
    ASSAY_CORRUPT = 2,   /* not gzip, or a broken stream, or a checksum that does not match */
    ASSAY_TRUNCATED = 3, /* the stream or the file ends before the volume does */
    ASSAY_TOO_LONG = 4,  /* more data than the volume holds */
    ASSAY_NOT_WHOLE = 5, /* fractions or NaN in a label map */
    ASSAY_TOO_LARGE = 6, /* more voxels than the kernel's records can count */
} assay_status;

typedef enum {
    ASSAY_U8,
    ASSAY_I8,
    ASSAY_U16,
    ASSAY_I16,
    ASSAY_U32,
    ASSAY_I32,
    ASSAY_U64,
    ASSAY_I64,
    ASSAY_F32,
    ASSAY_F64,
} assay_storage;

typedef enum {
    ASSAY_ARRAY, /* voxels in memory */
    ASSAY_GZIP,  /* voxels in a gzip stream */
    ASSAY_RUNS,  /* keys, in the runs of an earlier scan: slices of a volume that is no longer there */
} assay_kind;

/* Where a volume's voxels are. Axis x is the one that varies fastest in memory. */
typedef struct {
    const uint8_t *bytes; /* for runs, the assay_runs */
    uint64_t size;        /* of a gzip stream */
    int64_t offset;       /* of the first voxel: bytes in the inflated stream, voxels in the runs */
    int64_t strides[2];   /* bytes between rows and between slices of an array */
    uint32_t shape[3];
    int32_t kind;    /* assay_kind */
    int32_t storage; /* assay_storage */
    int32_t swapped; /* bytes are in the other order than this machine's */
} assay_source;

/* Which labels a voxel belongs to. Keys 0..255 stand for classes of voxel values. */
typedef struct {
    const int64_t *values; /* ascending; the voxel values that matter */
    const uint8_t *keys;   /* one per value */
    uint32_t value_count;
    uint32_t label_count;
    const uint16_t *members; /* labels of key k are members[first[k]] .. members[first[k + 1] - 1] */
    const uint32_t *first;   /* 257 entries */
    uint8_t other_key;       /* for any other value */
    uint8_t outside_key;     /* for everything outside the image; neither of the two belongs to a label */
} assay_labels;

/* An element packs its corner and its neighbour code: x and y and z in 18 bits each, then the code in 8. */
#define ASSAY_COORDINATE_BITS 18
#define ASSAY_LARGEST_SIZE ((1u << ASSAY_COORDINATE_BITS) - 2u)
#define ASSAY_MOST_LABELS 1024u
typedef uint64_t assay_element;

typedef struct {
    assay_element *data;
    uint64_t count, capacity;
} assay_elements;

typedef struct {
    uint32_t *ends; /* one past the last voxel of each run, in memory order */
    uint8_t *keys;
    uint64_t count, capacity;
} assay_runs;

/* All that is kept of a volume. */
typedef struct {
    uint32_t shape[3];
    uint32_t label_count;
    assay_runs runs;
    assay_elements *elements; /* one list per label, ordered by z, y, x */
} assay_scan;

static inline uint32_t element_x(assay_element e) { return (uint32_t)(e & 0x3ffff); }
static inline uint32_t element_y(assay_element e) { return (uint32_t)(e >> 18 & 0x3ffff); }
static inline uint32_t element_z(assay_element e) { return (uint32_t)(e >> 36 & 0x3ffff); }
static inline uint8_t element_code(assay_element e) { return (uint8_t)(e >> 54); }

/* Voxel sizes, and which axis comes last when squares are added up. */
typedef struct {
    double spacing_mm[3];
    int32_t last_axis; /* 0, 1 or 2 for x, y or z */
} assay_metric;

#endif
