/* The gradients of the peepholes, summed over rows as every weight's: the last step first, b ascending. */

/* dw_ci += di * c_prev,  dw_cf += df * c_prev,  dw_co += do * c,  over the gradients in gates of steps s0..s1. */
static ALWAYS_INLINE void peephole_gradient_with(const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t j0, ptrdiff_t j1,
                                                 const int coupled)
{
    const int slots[] = {LSTM_I, LSTM_O, LSTM_F}, count = 3 - coupled;
    real *const sums[] = {p->dw_ci, p->dw_co, p->dw_cf};

    for (ptrdiff_t s = s1 - 1; s >= s0; s--)
        for (ptrdiff_t b = 0; b < rows_in_step(&p->y, s); b++) {
            const CellRow row = cell_row(p, s, b);
            for (ptrdiff_t j = j0; j < j1; j += V) {
                const int lanes = lanes_at(j, j1);
                const vec c_prev = v_load_n(row.c_prev + j, lanes), c = v_load_n(row.c + j, lanes);
                const int guard = !v_all_finite(v_add(c_prev, c));
                UNROLL for (int n = 0; n < count; n++) {
                    const vec d = v_load_n(row.gates + slots[n] * p->H + j, lanes), sum = v_load_n(sums[n] + j, lanes);
                    const vec product = v_fma(d, n == 1 ? c : c_prev, sum);
                    v_store_n(sums[n] + j, guard ? v_guarded(1, d, product, sum) : product, lanes);
                }
            }
        }
}

static void peephole_gradient(const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t j0, ptrdiff_t j1)
{
    if (p->cell == COUPLED) peephole_gradient_with(p, s0, s1, j0, j1, 1);
    else peephole_gradient_with(p, s0, s1, j0, j1, 0);
}
