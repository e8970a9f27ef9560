/* Which of the kernel's code paths runs. */
#ifndef ASSAY_INSTRUCTIONS_H
#define ASSAY_INSTRUCTIONS_H

/* The instruction sets the kernel has code for. Whatever has none of its own for a set runs its
 * plain C. */
typedef enum { PLAIN, SSE2, AVX2, AVX512, NEON } instruction_set;

/* What this machine offers; ASSAY_KERNEL_INSTRUCTIONS forces one of those it has, and "plain" where
 * it has not. */
instruction_set choose_instructions(void);

/* "avx512", "avx2", "sse2", "neon" or "plain". */
const char *name_instructions(instruction_set set);

#endif
