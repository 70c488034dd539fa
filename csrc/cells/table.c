/* The rows of the table of cells, and what follows from them. */
#include "cells/table.h"

#include <string.h>

#define CELL_ROW(number, name, ...) {#name, __VA_ARGS__},
const CellInfo cell_table[CELLS] = {CELL_TABLE(CELL_ROW)};

const char *const weight_names[WEIGHTS] = {"weight_ih", "weight_hh", "bias_ih",   "bias_hh",
                                           "weight_hr", "weight_ci", "weight_cf", "weight_co",
                                           "ln_ih_weight", "ln_ih_bias", "ln_hh_weight", "ln_hh_bias",
                                           "ln_c_weight", "ln_c_bias"};

int is_vector(const CellInfo *cell, int weight)
{
    for (int n = 0; n < cell->vectors; n++)
        if (cell->vector[n].weight == weight) return 1;
    return 0;
}

int find_cell(const char *layer, int option_value, int layer_norm)
{
    for (int n = 0; n < CELLS; n++) {
        const CellInfo *cell = &cell_table[n];
        const int selected = option_value < 0 || !cell->option || cell->option_value == !!option_value;
        if (selected && (cell->plain != n) == layer_norm && !strcmp(cell->layer, layer)) return n;
    }
    return -1;
}

int weight_axes(const CellInfo *cell, int weight, Axis axes[2])
{
    const int vector = is_vector(cell, weight) || weight >= LN_C_WEIGHT;
    const int bias = weight == BIAS_IH || weight == BIAS_HH || weight >= LN_IH_WEIGHT;
    axes[0] = vector ? (Axis){1, PER_HIDDEN} : weight == WEIGHT_HR ? (Axis){1, PER_OUTPUT} : (Axis){cell->X, PER_HIDDEN};
    axes[1] = (Axis){1, weight == WEIGHT_IH ? PER_INPUT : weight == WEIGHT_HH ? PER_OUTPUT : PER_HIDDEN};
    return vector || bias ? 1 : 2;
}

ptrdiff_t weight_size(const CellInfo *cell, int weight, ptrdiff_t inputs, ptrdiff_t H, ptrdiff_t P)
{
    const ptrdiff_t sizes[] = {[PER_INPUT] = inputs, [PER_HIDDEN] = H, [PER_OUTPUT] = P};
    Axis axes[2];
    ptrdiff_t size = 1;
    for (int n = weight_axes(cell, weight, axes) - 1; n >= 0; n--) size *= axes[n].times * sizes[axes[n].per];
    return size;
}
