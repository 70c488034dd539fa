/* The intrinsics of x86. clang-cl hides those of the instruction sets that its command line does not name; here each function names
 * its own. */
#ifndef RNNFAST_SIMD_INTRINSICS_H
#define RNNFAST_SIMD_INTRINSICS_H

#if defined(_MSC_VER) && defined(__clang__)
#include <malloc.h>
#include <stdlib.h>
#pragma push_macro("_MSC_VER")
#undef _MSC_VER
#include <immintrin.h>
#pragma pop_macro("_MSC_VER")
#elif defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#endif
