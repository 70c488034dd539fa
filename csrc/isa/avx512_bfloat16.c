/* The kernels in bfloat16 with sums in float32 for AVX-512. */
#if defined(__x86_64__) || defined(_M_X64)
#define REAL_BITS 32
#define OPERANDS_BFLOAT16
#include "../simd/avx512.h"
#include "../kernels/template.h"
TABLE(avx512, bfloat16)
TARGET_END
#endif
