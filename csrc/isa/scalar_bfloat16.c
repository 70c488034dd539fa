/* The kernels in bfloat16 with sums in float32 for plain C. */
#define REAL_BITS 32
#define OPERANDS_BFLOAT16
#include "../simd/scalar.h"
#include "../kernels/template.h"
TABLE(scalar, bfloat16)
