/* The body of every isa/NAME.c, which includes a vocabulary first: all cells and kernels, one table. Everything is static, so
 * that no function compiled for one instruction set can be linked into another. */
#ifndef RNNFAST_KERNELS_TEMPLATE_H
#define RNNFAST_KERNELS_TEMPLATE_H

#include "kernels.h"

#include "compiler.h"
#include "simd/operand.h"
#include "simd/vmath.h"
#include "kernels/lookup.h"
#include "kernels/mask.h"
#include "kernels/rownorm.h"
#include "kernels/pack.h"
#include "kernels/vectors.h"
#if TRAINS
#include "kernels/gradient.h"
#endif

#include "cells/gru.h"
#include "cells/gru_before.h"
#include "cells/indrnn.h"
#include "cells/lstm.h"
#include "cells/mingru.h"
#include "cells/minlstm.h"
#include "cells/norm.h"
#include "cells/rnn.h"
#include "cells/slstm.h"

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
VMATH(log_sigmoid)

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
    kept = lanes[0]; /* so that the compiler keeps the loop */
    (void)kept;
}

#define FORWARD_OF(number, name, ...) [number] = name##_forward,
#define BACKWARD_OF(number, name, ...) [number] = name##_backward,
#define SCANS_OF(way) {[INDRNN] = indrnn_scan_##way, [MINGRU] = mingru_scan_##way, [MINLSTM] = minlstm_scan_##way}
#if TRAINS
#define BACKWARD_KERNELS \
    .pack_by_columns = pack_by_columns, .unpack_bias = unpack_bias, .operand_stride = operand_stride, \
    .pack_gradient = pack_gradient, .pack_operand = pack_operand, .clear_operand = clear_operand, \
    .drop_operand = drop_operand, .gradient_product = gradient_product, .scatter = scatter, \
    .step_backward = {CELL_TABLE(BACKWARD_OF)}, .scan_backward = SCANS_OF(backward), .vector_gradients = vector_gradients,
#else
#define BACKWARD_KERNELS
#endif
#define TABLE(isa, kind) \
    const Kernels kernels_##isa##_##kind = { \
        .lanes = V, .columns = TILE_WIDTH * V, .real_size = sizeof(real), .operand_size = sizeof(operand), \
        .together = TOGETHER, .speed = SPEED, .trains = TRAINS, \
        .depth_of = depth_of, .packed_depth = packed_depth, .copy_size = copy_size, .norm_scratch = norm_scratch, \
        .pack_by_rows = pack_by_rows, .pack_by_gates = pack_by_gates, .add_bias = add_bias, \
        .product = product, .groups_of = groups_of, .gather = gather, \
        .step_forward = {CELL_TABLE(FORWARD_OF)}, .scan_forward = SCANS_OF(forward), BACKWARD_KERNELS \
        .random_mask = random_mask, .add = add, \
        .rownorm_forward = rownorm_forward, .rownorm_backward = rownorm_backward, .rownorm_gradients = rownorm_gradients, \
        .vmath = {map_exp, map_tanh, map_sigmoid, map_log_sigmoid}, .fma_chains = fma_chains, \
    };

#endif
