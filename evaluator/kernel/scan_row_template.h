/* The row loop of a scan, for one instruction set. scan.c includes this file once for each.
 *
 * Before it is included:
 *
 *     INSTRUCTIONS        the name of the set, as in `avx2`
 *     WITH_INSTRUCTIONS   the attribute that lets the compiler use them, or nothing
 *
 * and three functions, each of which looks at a block of BLOCK voxels:
 *
 *     uint64_t <set>_mixed(rows, x)   at which x the four rows disagree
 *     uint64_t <set>_changes(row)     where a voxel differs from the one before it in its row
 *     int <set>_is_filled(block)      whether any voxel is not zero
 *
 * It defines scan_row_<set> and flag_row_<set>, and undefines its parameters.
 */
#define JOIN_TOKENS(first, second) first##second
#define JOIN(first, second) JOIN_TOKENS(first, second)

/* Visit every corner between four rows of voxels. Only blocks marked in `self->visited` can hold
 * one. With `has_runs`, the runs of the newest row, rows[3], are written too. */
WITH_INSTRUCTIONS static void JOIN(scan_row_, INSTRUCTIONS)(scanner *self,
                                                            const uint8_t *const rows[4],
                                                            int has_runs, uint32_t y, uint32_t z) {
    const uint32_t size = self->scan->shape[0];
    uint64_t carry = 0; /* whether the four rows disagree in the last column before this block */
    visit_end(self, rows, 0, y, z);
    for (uint32_t word = 0; word < self->flag_words && !self->status; word++) {
        for (uint64_t visited = self->visited[word]; visited; visited &= visited - 1) {
            const uint32_t start = (word * BLOCK + (uint32_t)__builtin_ctzll(visited)) * BLOCK;
            const uint64_t valid = size - start < BLOCK ? (1ull << (size - start)) - 1 : ~0ull;
            const uint64_t inner = valid & (start ? ~0ull : ~1ull); /* x = 0 is an end */
            const uint64_t mixed = JOIN(INSTRUCTIONS, _mixed)(rows, start) & valid;
            const uint64_t changes = JOIN(INSTRUCTIONS, _changes)(rows[3] + start) & inner;
            uint64_t corners = (mixed | mixed << 1 | carry | changes) & inner;
            carry = mixed >> 63;
            if (has_runs && changes) end_runs(self, rows[3], start, changes);
            for (; corners; corners &= corners - 1)
                visit_inner(self, rows, start + (uint32_t)__builtin_ctzll(corners), y, z);
        }
    }
    visit_end(self, rows, size, y, z);
}

/* One bit for every block of a row: whether it holds anything but zeros. */
WITH_INSTRUCTIONS static void JOIN(flag_row_, INSTRUCTIONS)(const uint8_t *row, uint32_t size,
                                                            uint64_t *flags) {
    for (uint32_t word = 0; word * BLOCK < size; word += BLOCK) {
        uint64_t filled = 0;
        for (uint32_t block = word; block < word + BLOCK && block * BLOCK < size; block++)
            filled |= (uint64_t)JOIN(INSTRUCTIONS, _is_filled)(row + block * BLOCK)
                      << block % BLOCK;
        *flags++ = filled;
    }
}

#undef JOIN
#undef JOIN_TOKENS
#undef INSTRUCTIONS
#undef WITH_INSTRUCTIONS
