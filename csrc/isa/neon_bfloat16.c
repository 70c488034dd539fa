/* The kernels in bfloat16 with sums in float32 for NEON. */
#if defined(__aarch64__) || defined(_M_ARM64)
#define REAL_BITS 32
#define OPERANDS_BFLOAT16
#include "../simd/neon.h"
#include "../kernels/template.h"
TABLE(neon, bfloat16)
#endif
