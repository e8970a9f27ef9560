/* A surface element in 64 bits: where it is, and which of the voxels around it belong to the label.
 *
 *     bits  0..17   x of the corner
 *     bits 18..35   y
 *     bits 36..53   z
 *     bits 54..61   neighbour code: bit n is set if voxel n of the eight around the corner is in
 *                   the label; n counts x-1 or x first, then y-1 or y, then z-1 or z
 *
 * As numbers, elements are therefore ordered by code, then z, y and x. Elements of one code, or
 * places (elements without their code), are ordered as a scan visits corners. elements.py is the
 * same table for Python.
 */
#ifndef ASSAY_ELEMENTS_H
#define ASSAY_ELEMENTS_H

#include "portable.h"

#define COORDINATE_BITS 18
#define COORDINATE_MASK ((1u << COORDINATE_BITS) - 1u)
#define Y_SHIFT COORDINATE_BITS
#define Z_SHIFT (2 * COORDINATE_BITS)
#define CODE_SHIFT (3 * COORDINATE_BITS)
#define CODE_MASK 0xffu
#define ALL_EIGHT \
    0xffu /* the code of a corner inside the label: no surface, and never an element */

typedef uint64_t assay_element;

/* The place of a corner; every coordinate fits in COORDINATE_BITS. */
ASSAY_SHARED assay_element pack_corner(uint32_t x, uint32_t y, uint32_t z) {
    return (assay_element)x | (assay_element)y << Y_SHIFT | (assay_element)z << Z_SHIFT;
}

/* The element of a place, whose code is still zero. */
ASSAY_SHARED assay_element with_code(assay_element place, uint32_t code) {
    return place | (assay_element)code << CODE_SHIFT;
}

/* The bits that say where an element is. */
ASSAY_SHARED assay_element place_mask(void) { return ((assay_element)1 << CODE_SHIFT) - 1; }

/* The corner along x. */
ASSAY_SHARED uint32_t element_x(assay_element e) { return (uint32_t)(e & COORDINATE_MASK); }
/* The corner along y. */
ASSAY_SHARED uint32_t element_y(assay_element e) {
    return (uint32_t)(e >> Y_SHIFT & COORDINATE_MASK);
}
/* The corner along z. */
ASSAY_SHARED uint32_t element_z(assay_element e) {
    return (uint32_t)(e >> Z_SHIFT & COORDINATE_MASK);
}
/* The neighbour code. */
ASSAY_SHARED uint8_t element_code(assay_element e) { return (uint8_t)(e >> CODE_SHIFT); }

#endif
