/* The kernels in int8 with states in float32 for NEON. */
#if defined(__aarch64__) || defined(_M_ARM64)
#define REAL_BITS 32
#define OPERANDS_INT8
#include "../simd/neon.h"
#include "../kernels/template.h"
TABLE(neon, int8)
#endif
