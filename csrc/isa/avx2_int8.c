/* The kernels in int8 with states in float32 for AVX2 and FMA. */
#if defined(__x86_64__) || defined(_M_X64)
#define REAL_BITS 32
#define OPERANDS_INT8
#include "../simd/avx2.h"
#include "../kernels/template.h"
TABLE(avx2, int8)
TARGET_END
#endif
