/* The kernels in int8 with states in float32 for AVX2 with the instruction VPDPBUSD, where the compiler knows it. */
#include "../simd/target.h"
#if (defined(__x86_64__) || defined(_M_X64)) && defined(HAS_AVX_VNNI)
#define REAL_BITS 32
#define OPERANDS_INT8
#define INT8_INSTRUCTION
#include "../simd/avx2.h"
#include "../kernels/template.h"
TABLE(avx2, vnni)
TARGET_END
#endif
