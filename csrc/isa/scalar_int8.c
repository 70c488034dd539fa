/* The kernels in int8 with states in float32 for plain C. */
#define REAL_BITS 32
#define OPERANDS_INT8
#include "../simd/scalar.h"
#include "../kernels/template.h"
TABLE(scalar, int8)
