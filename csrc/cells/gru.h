/* The gated recurrent unit (Cho et al. 2014) in the form of cuDNN, where the reset gate follows the state's product.
 *
 *     r, z = sigmoid(b + W x + W h_prev)
 *     p = b_in + W_in x,   q = b_hn + W_hn h_prev          slots n r z q; p stands in slot n until n does
 *     n = tanh(p + r * q)
 *     h = (1 - z) * n + z * h_prev
 *
 *     dn = dh (1 - z) (1 - n^2)      dq = dn * r       dr = dn * q * r (1 - r)
 *     dz = dh (h_prev - n) z (1 - z)                   dh_prev = dh * z + what r, z and q carry back
 */
enum { GRU_N, GRU_R, GRU_Z, GRU_Q }; /* in gates; the tile has the last three */

static ALWAYS_INLINE void gru_cell_forward(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, const real *a)
{
    const ptrdiff_t H = p->H;
    const vec r = v_sigmoid(v_load(a + (GRU_R - 1) * V));
    const vec z = v_sigmoid(v_load(a + (GRU_Z - 1) * V));
    const vec q = v_load(a + (GRU_Q - 1) * V);
    const vec n = v_tanh(v_fma(r, q, v_load_n(row->gates + GRU_N * H + j, lanes)));
    const vec h_prev = v_load_n(row->h_prev + j, lanes);

    v_store_n(row->h + j, v_fma(z, h_prev, v_fnma(z, n, n)), lanes);
    if (p->save) { /* was: pre-activations; now: activations, and q as it is */
        v_store_n(row->gates + GRU_N * H + j, n, lanes);
        v_store_n(row->gates + GRU_R * H + j, r, lanes);
        v_store_n(row->gates + GRU_Z * H + j, z, lanes);
        v_store_n(row->gates + GRU_Q * H + j, q, lanes);
    }
}

static ALWAYS_INLINE void gru_cell_backward(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, vec dh)
{
    const ptrdiff_t H = p->H;
    const vec n = v_load_n(row->gates + GRU_N * H + j, lanes);
    const vec r = v_load_n(row->gates + GRU_R * H + j, lanes);
    const vec z = v_load_n(row->gates + GRU_Z * H + j, lanes);
    const vec q = v_load_n(row->gates + GRU_Q * H + j, lanes);
    const vec dn = v_tanh_slope(v_fnma(dh, z, dh), n);
    const vec dz = v_mul(dh, v_sub(v_load_n(row->h_prev + j, lanes), n));

    v_store_n(row->dh + j, v_mul(dh, z), lanes);
    /* was: activations; now: gradients of the pre-activations */
    v_store_n(row->gates + GRU_N * H + j, dn, lanes);
    v_store_n(row->gates + GRU_R * H + j, v_sigmoid_slope(v_mul(dn, q), r), lanes);
    v_store_n(row->gates + GRU_Z * H + j, v_sigmoid_slope(dz, z), lanes);
    v_store_n(row->gates + GRU_Q * H + j, v_mul(dn, r), lanes);
}
