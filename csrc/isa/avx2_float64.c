/* The kernels in float64 for AVX2 and FMA. */
#if defined(__x86_64__) || defined(_M_X64)
#define REAL_BITS 64
#include "../simd/avx2.h"
#include "../kernels/template.h"
TABLE(avx2, float64)
TARGET_END
#endif
