/* The rows of the table of cells, and what follows from them. */
#include "cells/table.h"

#include <string.h>

#define CELL_ROW(number, name, ...) {#name, __VA_ARGS__},
const CellInfo cell_table[CELLS] = {CELL_TABLE(CELL_ROW)};

const char *const weight_names[WEIGHTS] = {"weight_ih", "weight_hh", "bias_ih",   "bias_hh",
                                           "weight_hr", "weight_ci", "weight_cf", "weight_co"};

int is_vector(const CellInfo *cell, int weight)
{
    for (int n = 0; n < cell->vectors; n++)
        if (cell->vector[n].weight == weight) return 1;
    return 0;
}

int find_cell(const char *layer, int option_value)
{
    for (int n = 0; n < CELLS; n++) {
        const CellInfo *cell = &cell_table[n];
        const int selected = option_value < 0 || !cell->option || cell->option_value == !!option_value;
        if (selected && !strcmp(cell->layer, layer)) return n;
    }
    return -1;
}

int weight_shape(const CellInfo *cell, int weight, ptrdiff_t inputs, ptrdiff_t H, ptrdiff_t P, ptrdiff_t shape[2])
{
    const int bias = weight == BIAS_IH || weight == BIAS_HH, axes = bias || is_vector(cell, weight) ? 1 : 2;
    shape[0] = is_vector(cell, weight) ? H : weight == WEIGHT_HR ? P : cell->X * H;
    shape[1] = axes == 1 ? 1 : weight == WEIGHT_IH ? inputs : weight == WEIGHT_HH ? P : H;
    return axes;
}
