/* One row of voxels of a floating-point type as keys. source.c includes this file once per type,
 * with CONVERTER and VOXEL as in convert_whole_template.h; both are undefined at the end.
 */

/* ASSAY_NOT_WHOLE for fractions, NaN, infinities, and numbers that float64 does not count exactly.
 */
static assay_status CONVERTER(slice_reader *reader, const uint8_t *row, uint8_t *keys) {
    const uint32_t size = reader->source->shape[0];
    int beyond = !reader->is_identity;
    for (uint32_t x = 0; reader->is_identity && x < size; x++) {
        VOXEL value;
        memcpy(&value, row + x * sizeof value, sizeof value);
        const VOXEL inside = value >= 0 && value <= 255 ? value : 0;
        keys[x] = (uint8_t)inside;
        beyond |= (VOXEL)keys[x] != value;
    }
    for (uint32_t x = 0; beyond && x < size; x++) {
        VOXEL value;
        memcpy(&value, row + x * sizeof value, sizeof value);
        const int is_counted = value >= (VOXEL)-LARGEST_COUNTED && value <= (VOXEL)LARGEST_COUNTED;
        if (!is_counted || (VOXEL)(int64_t)value != value) return ASSAY_NOT_WHOLE;
        keys[x] = find_key(reader, (int64_t)value);
    }
    return ASSAY_OK;
}

#undef CONVERTER
#undef VOXEL
