/* The kernels in float64 for plain C. */
#define REAL_BITS 64
#include "../simd/scalar.h"
#include "../kernels/template.h"
TABLE(scalar, float64)
