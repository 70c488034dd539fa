/* The vanilla recurrent network (Elman 1990).
 *
 *     a = b_ih + W_ih x + b_hh + W_hh h_prev          slot 0
 *     h = f(a),    f = tanh | relu | sigmoid | identity
 *
 *     da = dh * f'(a), and f' from the value h:  1 - h^2 | h > 0 | h (1 - h) | 1
 */
static ALWAYS_INLINE void rnn_cell_forward(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, const real *a)
{
    vec h = v_load(a);
    if (p->nonlinearity == TANH) h = v_tanh(h);
    else if (p->nonlinearity == SIGMOID) h = v_sigmoid(h);
    else if (p->nonlinearity == RELU) h = v_where_less(h, v_zero(), v_zero(), h);
    v_store_n(row->h + j, h, lanes);
}

static ALWAYS_INLINE void rnn_cell_backward(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, vec dh)
{
    const vec h = v_load_n(row->h + j, lanes);
    vec da = dh;
    if (p->nonlinearity == TANH) da = v_tanh_slope(dh, h);
    else if (p->nonlinearity == SIGMOID) da = v_sigmoid_slope(dh, h);
    else if (p->nonlinearity == RELU) da = v_where_less(v_zero(), h, dh, v_zero());
    v_store_n(row->gates + j, da, lanes); /* was: nothing that is needed; now: d a */
}
