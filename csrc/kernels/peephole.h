/* The gradients of the peepholes, summed over rows as every weight's: the last step first, b ascending. */

/* sum += d * c for units j0..j1. */
static ALWAYS_INLINE void add_products(const real *d, const real *c, real *sum, ptrdiff_t j0, ptrdiff_t j1)
{
    for (ptrdiff_t j = j0; j < j1; j += V) {
        const int lanes = lanes_at(j, j1);
        const vec di = v_load_n(d + j, lanes), before = v_load_n(sum + j, lanes);
        const vec after = v_fma(di, v_load_n(c + j, lanes), before);
        v_store_n(sum + j, v_all_finite(after) ? after : v_guarded(1, di, after, before), lanes);
    }
}

/* dw_ci += di * c_prev,  dw_cf += df * c_prev,  dw_co += do * c,  over the gradients in gates of steps s0..s1. */
static void peephole_gradient(const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t j0, ptrdiff_t j1)
{
    const int coupled = p->cell == COUPLED;

    for (ptrdiff_t s = s1 - 1; s >= s0; s--)
        for (ptrdiff_t b = 0; b < rows_in_step(&p->y, s); b++) {
            const CellRow row = cell_row(p, s, b);
            add_products(row.gates + LSTM_I * p->H, row.c_prev, p->dw_ci, j0, j1);
            if (!coupled) add_products(row.gates + LSTM_F * p->H, row.c_prev, p->dw_cf, j0, j1);
            add_products(row.gates + LSTM_O * p->H, row.c, p->dw_co, j0, j1);
        }
}
