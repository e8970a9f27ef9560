/* The GPU backend's kernels as plain loops: how their source is tested without a card. */
#define ASSAY_DEFINE_KERNELS
#include "device.h"
