/* The kernels in bfloat16 with sums in float32 for AVX2 and FMA. */
#if defined(__x86_64__) || defined(_M_X64)
#define REAL_BITS 32
#define OPERANDS_BFLOAT16
#include "../simd/avx2.h"
#include "../kernels/template.h"
TABLE(avx2, bfloat16)
TARGET_END
#endif
