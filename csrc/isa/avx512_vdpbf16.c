/* The kernels in bfloat16 with sums in float32 for AVX-512 with the instruction VDPBF16PS, where the compiler knows it. */
#include "../simd/target.h"
#if (defined(__x86_64__) || defined(_M_X64)) && defined(HAS_VDPBF16)
#define REAL_BITS 32
#define OPERANDS_BFLOAT16
#define BFLOAT16_INSTRUCTION
#include "../simd/avx512.h"
#include "../kernels/template.h"
TABLE(avx512, vdpbf16)
TARGET_END
#endif
