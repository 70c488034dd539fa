/* The kernels in float32 for NEON. */
#if defined(__aarch64__) || defined(_M_ARM64)
#define REAL_BITS 32
#include "../simd/neon.h"
#include "../kernels/template.h"
TABLE(neon, float32)
#endif
