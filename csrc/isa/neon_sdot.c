/* The kernels in int8 with states in float32 for NEON with the instruction SDOT, where the compiler knows it. */
#include "../simd/target.h"
#if defined(__aarch64__) && defined(HAS_SDOT)
#define REAL_BITS 32
#define OPERANDS_INT8
#define INT8_INSTRUCTION
#include "../simd/neon.h"
#include "../kernels/template.h"
TABLE(neon, sdot)
TARGET_END
#endif
