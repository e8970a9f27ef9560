/* The GPU backend's kernels as plain loops, so that their source is tested without a card. */
#define ASSAY_DEFINE_KERNELS
#include "device.h"
