/* CRC-32 of gzip, with carry-less multiplication where the processor has it.
 *
 * Folding follows Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ"
 * (Intel, 2009), with the constants of the bit-reflected polynomial 0xedb88320. 64-bit ARM has an
 * instruction. The rest, and other processors, go by tables, eight bytes at a time.
 */
#include "inflate.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#define HAS_CRC_INSTRUCTION (1 << 7) /* HWCAP_CRC32 */
#define WITH_CRC __attribute__((target("+crc")))
#endif

static uint32_t TABLES[8][256];

/* Runs when the library is loaded: what one byte does to the checksum, at eight distances. */
__attribute__((constructor)) static void fill_tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        TABLES[0][i] = value;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            TABLES[t][i] = TABLES[t - 1][i] >> 8 ^ TABLES[0][TABLES[t - 1][i] & 0xff];
}

/* The checksum after some bytes, in plain C; here and below it is kept inverted. */
static uint32_t update_by_table(uint32_t crc, const uint8_t *bytes, size_t size) {
    for (; size >= 8; bytes += 8, size -= 8) {
        const uint32_t low = crc ^ (bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                                    (uint32_t)bytes[3] << 24);
        crc = TABLES[7][low & 0xff] ^ TABLES[6][low >> 8 & 0xff] ^ TABLES[5][low >> 16 & 0xff] ^
              TABLES[4][low >> 24] ^ TABLES[3][bytes[4]] ^ TABLES[2][bytes[5]] ^
              TABLES[1][bytes[6]] ^ TABLES[0][bytes[7]];
    }
    while (size--) crc = crc >> 8 ^ TABLES[0][(crc ^ *bytes++) & 0xff];
    return crc;
}

#if defined(__x86_64__)
#define WITH_FOLDING __attribute__((target("pclmul,sse4.1")))
#define WITH_WIDE_FOLDING __attribute__((target("pclmul,vpclmulqdq,avx512f")))

/* Move four 128-bit parts ahead by the distance that `by` stands for, and add the next bytes. */
WITH_WIDE_FOLDING static inline __m512i fold_wide(__m512i folded, __m512i by, __m512i next) {
    const __m512i low = _mm512_clmulepi64_epi128(folded, by, 0x00);
    const __m512i high = _mm512_clmulepi64_epi128(folded, by, 0x11);
    return _mm512_xor_si512(_mm512_xor_si512(low, high), next);
}

/* Fold all bytes into 64 bytes of the same checksum, by four of the steps below side by side, on
 * 512 bits each. `size` is a multiple of 256 and at least 256. */
WITH_WIDE_FOLDING static void fold_to_64(uint32_t crc, const uint8_t *bytes, size_t size,
                                         uint8_t folded[64]) {
    enum { LANES = 4, WIDTH = 64 };
    const __m512i by_2048 = _mm512_broadcast_i32x4(_mm_set_epi64x(0x01322d1430, 0x011542778a));
    const __m512i by_512 = _mm512_broadcast_i32x4(_mm_set_epi64x(0x01c6e41596, 0x0154442bd4));
    __m512i lanes[LANES];
    for (int i = 0; i < LANES; i++) lanes[i] = _mm512_loadu_si512(bytes + WIDTH * i);
    lanes[0] = _mm512_xor_si512(lanes[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    for (size_t at = LANES * WIDTH; at < size; at += LANES * WIDTH)
        for (int i = 0; i < LANES; i++)
            lanes[i] = fold_wide(lanes[i], by_2048, _mm512_loadu_si512(bytes + at + WIDTH * i));
    for (int i = 1; i < LANES; i++) lanes[i] = fold_wide(lanes[i - 1], by_512, lanes[i]);
    _mm512_storeu_si512(folded, lanes[LANES - 1]);
}

/* The checksum after some bytes, by carry-less multiplication. `size` is a multiple of 16 and at
 * least 64. */
WITH_FOLDING static uint32_t update_by_folding(uint32_t crc, const uint8_t *bytes, size_t size) {
    const __m128i by_512 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i by_128 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i to_64 = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low_words = _mm_setr_epi32(~0, 0, ~0, 0);
    __m128i fold[4];
    for (int i = 0; i < 4; i++) fold[i] = _mm_loadu_si128((const __m128i *)(bytes + 16 * i));
    fold[0] = _mm_xor_si128(fold[0], _mm_cvtsi32_si128((int)crc));
    for (bytes += 64, size -= 64; size >= 64; bytes += 64, size -= 64)
        for (int i = 0; i < 4; i++) {
            const __m128i low = _mm_clmulepi64_si128(fold[i], by_512, 0x00);
            const __m128i high = _mm_clmulepi64_si128(fold[i], by_512, 0x11);
            fold[i] = _mm_xor_si128(_mm_xor_si128(low, high),
                                    _mm_loadu_si128((const __m128i *)(bytes + 16 * i)));
        }
    __m128i one = fold[0];
    for (int i = 1; i < 4; i++) {
        const __m128i low = _mm_clmulepi64_si128(one, by_128, 0x00);
        const __m128i high = _mm_clmulepi64_si128(one, by_128, 0x11);
        one = _mm_xor_si128(_mm_xor_si128(low, high), fold[i]);
    }
    for (; size >= 16; bytes += 16, size -= 16) {
        const __m128i low = _mm_clmulepi64_si128(one, by_128, 0x00);
        const __m128i high = _mm_clmulepi64_si128(one, by_128, 0x11);
        one = _mm_xor_si128(_mm_xor_si128(low, high), _mm_loadu_si128((const __m128i *)bytes));
    }
    one = _mm_xor_si128(_mm_srli_si128(one, 8), _mm_clmulepi64_si128(one, by_128, 0x10));
    one = _mm_xor_si128(_mm_srli_si128(one, 4),
                        _mm_clmulepi64_si128(_mm_and_si128(one, low_words), to_64, 0x00));
    __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(one, low_words), barrett, 0x10);
    quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, low_words), barrett, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(one, quotient), 1);
}
#endif

#if defined(__aarch64__) && defined(__linux__)
/* The checksum after some bytes, by the instruction of 64-bit ARM. */
WITH_CRC static uint32_t update_by_instruction(uint32_t crc, const uint8_t *bytes, size_t size) {
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        crc = __crc32d(crc, word);
    }
    while (size--) crc = __crc32b(crc, *bytes++);
    return crc;
}
#endif

/* See inflate.h. */
uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t size) {
    crc = ~crc;
#if defined(__x86_64__)
    if (size >= 1024 && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f")) {
        const size_t wide = size & ~(size_t)255;
        uint8_t folded[64];
        fold_to_64(crc, bytes, wide, folded);
        crc = update_by_folding(0, folded, sizeof folded);
        bytes += wide;
        size -= wide;
    }
    if (size >= 64 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
        const size_t folded = size & ~(size_t)15;
        crc = update_by_folding(crc, bytes, folded);
        bytes += folded;
        size -= folded;
    }
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HAS_CRC_INSTRUCTION) return ~update_by_instruction(crc, bytes, size);
#endif
    return ~update_by_table(crc, bytes, size);
}
