/* The body of every isa/NAME.c: a vocabulary is already included; cells in, one table out. Everything is static. */
#include "kernels.h"

#include <math.h>
#include <string.h>

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))
#define PREFETCH(p) __builtin_prefetch(p, 0, 2)
#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define UNROLL PRAGMA(clang loop unroll(full))
#else
#define UNROLL PRAGMA(GCC unroll 32)
#endif
#else
#define ALWAYS_INLINE __forceinline
#define ALIGNED __declspec(align(64))
#define PREFETCH(p) ((void)(p))
#define UNROLL
#endif

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+v"(x)) /* or GCC may read it from memory at each use */
#else
#define IN_REGISTER(x) ((void)0)
#endif

#define ABREAST 4 /* vectors that the functions of vmath.h and the cells work on side by side, at most */

#include "simd/vmath.h"
#include "tile.h"
#include "panel.h"
#include "pack.h"
#include "product.h"
#include "gradient.h"
#include "cells/cell.h"
#include "cells/rnn.h"
#include "cells/lstm.h"
#include "cells/gru.h"
#include "step.h"
#include "lookup.h"
#include "peephole.h"
#include "mask.h"

#define VMATH(function) \
    static void map_##function(ptrdiff_t n, const void *x, void *y) \
    { \
        for (ptrdiff_t l = 0; l < n; l += V) { \
            vec v = v_load_n((const real *)x + l, lanes_at(l, n)); \
            v_##function(1, &v); \
            v_store_n((real *)y + l, v, lanes_at(l, n)); \
        } \
    }
VMATH(exp)
VMATH(tanh)
VMATH(sigmoid)

static void fma_chains(ptrdiff_t turns)
{
    const vec x = v_set1((real)0.999), y = v_set1((real)0.001);
    vec a[CHAINS];
    volatile real kept;
    real lanes[V];

    UNROLL for (int l = 0; l < CHAINS; l++) a[l] = v_set1((real)l);
    for (ptrdiff_t turn = 0; turn < turns; turn++) UNROLL for (int l = 0; l < CHAINS; l++) a[l] = v_fma(a[l], x, y);
    for (int l = 1; l < CHAINS; l++) a[0] = v_add(a[0], a[l]);
    v_store(lanes, a[0]);
    kept = lanes[0]; /* so that the loop is not dead */
    (void)kept;
}

#define TABLE(isa, bits) \
    const Kernels kernels_##isa##_float##bits = { \
        V, TILE_WIDTH *V, sizeof(real), \
        pack_by_rows, pack_by_gates, pack_by_columns, add_bias, unpack_bias, \
        product, groups_of, operand_stride, pack_gradient, pack_operand, drop_operand, gradient_product, unpack_gradient, \
        gather, scatter, \
        {{rnn_step_forward, NULL}, {lstm_step_forward, project_forward}, {gru_step_forward, NULL}, \
         {coupled_step_forward, project_forward}, {gru_before_step_forward, gru_before_second_forward}}, \
        {{rnn_step_backward, NULL}, {lstm_step_backward, lstm_second_backward}, {gru_step_backward, NULL}, \
         {coupled_step_backward, coupled_second_backward}, {gru_before_step_backward, gru_before_second_backward}}, \
        peephole_gradient, \
        dropout, \
        {map_exp, map_tanh, map_sigmoid}, \
        fma_chains, \
    };
