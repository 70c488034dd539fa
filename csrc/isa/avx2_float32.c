/* The kernels in float32 for AVX2 and FMA. */
#if defined(__x86_64__) || defined(_M_X64)
#define REAL_BITS 32
#include "../simd/avx2.h"
#include "../kernels/template.h"
TABLE(avx2, float32)
TARGET_END
#endif
