/* One row of voxels of a whole-number type as keys. source.c includes this file once per type.
 *
 * Before it is included:
 *
 *     CONVERTER      the name of the function
 *     VOXEL          the stored type
 *     VOXEL_BITS     the unsigned type of the same size
 *     LARGEST_KEPT   the largest value that, as a byte, stays what it is
 *     FIND_KEY       the function that looks up a value in the table
 *
 * The parameters are undefined at the end.
 *
 * Where keys are values, values that fit in a byte are taken as they are, in a loop of which the
 * compiler makes vector code. Otherwise every value goes through the table, which costs time only
 * where the value changes.
 */

/* Bytes of `row` are in this machine's order. */
static assay_status CONVERTER(slice_reader *reader, const uint8_t *row, uint8_t *keys) {
    const uint32_t size = reader->source->shape[0];
    VOXEL_BITS beyond = (VOXEL_BITS)(reader->is_identity ? 0 : 1);
    for (uint32_t x = 0; reader->is_identity && x < size; x++) {
        VOXEL_BITS value;
        memcpy(&value, row + x * sizeof value, sizeof value);
        beyond |= (VOXEL_BITS)(value & (VOXEL_BITS) ~(VOXEL_BITS)LARGEST_KEPT);
        keys[x] = (uint8_t)value;
    }
    for (uint32_t x = 0; beyond && x < size; x++) {
        VOXEL value;
        memcpy(&value, row + x * sizeof value, sizeof value);
        keys[x] = FIND_KEY(reader, value);
    }
    return ASSAY_OK;
}

#undef CONVERTER
#undef VOXEL
#undef VOXEL_BITS
#undef LARGEST_KEPT
#undef FIND_KEY
