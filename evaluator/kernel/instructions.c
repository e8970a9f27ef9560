/* Which instructions this machine has. Asked once per call into the kernel. */
#include "instructions.h"

#include <stdlib.h>
#include <string.h>

static const char *const NAMES[] = {
    [PLAIN] = "plain", [SSE2] = "sse2", [AVX2] = "avx2", [AVX512] = "avx512", [NEON] = "neon"};

/* Whether this machine has a set. */
static int is_here(instruction_set set) {
#if defined(__x86_64__)
    if (set == AVX512) /* as Ice Lake, Zen 4 and later processors have it */
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2") &&
               __builtin_cpu_supports("avx512vpopcntdq");
    if (set == AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi");
    if (set == SSE2) return 1;
#elif defined(__aarch64__)
    if (set == NEON) return 1;
#endif
    return set == PLAIN;
}

/* See instructions.h. */
instruction_set choose_instructions(void) {
    static const instruction_set BEST_FIRST[] = {AVX512, AVX2, SSE2, NEON};
    /* Tests set it to run every path that this machine has. */
    const char *const wish = getenv("ASSAY_KERNEL_INSTRUCTIONS");
    for (unsigned i = 0; i < sizeof BEST_FIRST / sizeof *BEST_FIRST; i++)
        if (is_here(BEST_FIRST[i]) && (!wish || !strcmp(wish, NAMES[BEST_FIRST[i]])))
            return BEST_FIRST[i];
    return PLAIN;
}

/* See instructions.h. */
const char *name_instructions(instruction_set set) { return NAMES[set]; }
