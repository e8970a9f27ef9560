/* Assay's evaluator kernel: from two stored label maps to overlap counts and exact surface
 * distances. README.md has the map of the files and a small example worked by hand.
 *
 * Theory of operation
 * -------------------
 * 1. A *source* is a gzip stream or an array in memory. It is turned into slices of one-byte keys
 *    (source.c, inflate.c). A key stands for a voxel value. The caller brings a table that says
 *    which labels a key belongs to.
 * 2. One pass over neighbouring slices (scan.c) finds every corner of the voxel lattice whose
 *    eight voxels differ. It writes one *element* per label that meets there: its corner and its
 *    neighbour code (elements.h). The same pass records the volume as runs of equal keys. Only
 *    elements and runs are kept of a volume, a few megabytes.
 * 3. Merging two run lists gives the joint histogram, and from it every overlap count (measure.c).
 * 4. Per label, the target surface becomes a grid of bits, one per corner. Three in four source
 *    elements coincide with a target or touch one, which the nine rows of bits around them show.
 *    The others look at more rows, nearest row first, and stop when the row itself is further than
 *    the best element (nearest.h). With AVX-512, up to eight sources of a row are searched at once
 *    (lanes.c). Sources that find nothing nearby compare cells of elements by their bounding boxes
 *    first, and then the elements of the few cells that are left (cells.c). Where one source is
 *    far, those that follow are taken there at once, twice as many after each look.
 *
 * Exactness: a squared distance is `((d0*s0)^2 + (d1*s1)^2) + (d2*s2)^2` in float64, summed in the
 * array's axis order and without fused multiply-add (-ffp-contract=off). Rounding is monotone, so
 * bounds computed the same way never exclude the minimum, and every backend finds the same number
 * to the last bit.
 *
 * No function trusts its input: sizes are checked before use, every status is returned, and no
 * call keeps state.
 */
#ifndef ASSAY_KERNEL_H
#define ASSAY_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "elements.h"

/* Raised whenever a struct or a signature below changes. The loader compares it with its own. */
#define ASSAY_INTERFACE 4

/* In front of every function that Python calls; all others are hidden. */
#define ASSAY_EXPORT __attribute__((visibility("default")))

/* How a call ended; library.py has the same list. */

typedef enum {
    ASSAY_OK = 0,
    ASSAY_NO_MEMORY = 1,
    ASSAY_CORRUPT = 2,   /* not gzip, or a broken stream, or a checksum that does not match */
    ASSAY_TRUNCATED = 3, /* the stream or the file ends before the volume does */
    ASSAY_TOO_LONG = 4,  /* more data than the volume holds */
    ASSAY_NOT_WHOLE = 5, /* fractions or NaN in a label map */
    ASSAY_TOO_LARGE = 6, /* more voxels than the kernel's records can count */
} assay_status;

/* How a voxel is stored; library.py has the same list. */
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

/* Where voxels come from; library.py has the same list. */
typedef enum {
    ASSAY_ARRAY, /* voxels in memory */
    ASSAY_GZIP,  /* voxels in a gzip stream */
    ASSAY_RUNS,  /* keys in the runs of an earlier scan, of a volume that is no longer there */
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
    /* The labels of key k are members[first[k]] .. members[first[k + 1] - 1]. */
    const uint16_t *members;
    const uint32_t *first; /* 257 entries */
    /* Two keys that belong to no label. */
    uint8_t other_key;   /* any other value */
    uint8_t outside_key; /* everything outside the image */
} assay_labels;

#define ASSAY_LARGEST_SIZE ((1u << COORDINATE_BITS) - 2u) /* voxels along one axis */
#define ASSAY_MOST_LABELS 1024u

/* A list of elements that grows. */
typedef struct {
    assay_element *data;
    uint64_t count, capacity;
} assay_elements;

/* A volume as runs of equal keys. */
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

/* Voxel sizes, and which axis comes last when squares are added up. */
typedef struct {
    double spacing_mm[3];
    int32_t last_axis; /* 0, 1 or 2 for x, y or z */
} assay_metric;

#endif
