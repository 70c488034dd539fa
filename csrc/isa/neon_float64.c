/* The kernels in float64 for NEON. */
#if defined(__aarch64__) || defined(_M_ARM64)
#define REAL_BITS 64
#include "../simd/neon.h"
#include "../kernels/template.h"
TABLE(neon, float64)
#endif
