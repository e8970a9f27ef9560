/* What lets one text be C for the processor and CUDA for a graphics card: the names of whole-number
 * types, and the words in front of a function that both compile. elements.h, nearest.h and device.h
 * build on it.
 */
#ifndef ASSAY_PORTABLE_H
#define ASSAY_PORTABLE_H

#ifdef __CUDACC__
#define ASSAY_SHARED __host__ __device__ static inline
#else
#define ASSAY_SHARED static inline
#endif

#ifdef __CUDACC_RTC__ /* NVRTC compiles while the program runs and finds no headers */
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef unsigned long long uintptr_t;
#else
#include <stdint.h>
#endif

#endif
