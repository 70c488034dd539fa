/* The kernels in int8 with states in float32 for AVX-512. */
#if defined(__x86_64__) || defined(_M_X64)
#define REAL_BITS 32
#define OPERANDS_INT8
#include "../simd/avx512.h"
#include "../kernels/template.h"
TABLE(avx512, int8)
TARGET_END
#endif
