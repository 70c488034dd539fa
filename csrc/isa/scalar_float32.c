/* The kernels in float32 for plain C. */
#define REAL_BITS 32
#include "../simd/scalar.h"
#include "../kernels/template.h"
TABLE(scalar, float32)
