/* The vanilla recurrent network (Elman 1990).
 *
 *     a = b_ih + W_ih x + b_hh + W_hh h_prev          slot 0
 *     h = f(a),    f = tanh | relu | sigmoid | identity
 *
 *     da = dh * f'(a), and f' from the value h:  1 - h^2 | h > 0 | h (1 - h) | 1
 */
static ALWAYS_INLINE void rnn_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    vec h[ABREAST];
    EACH(m) h[m] = v_load(at[m].a);
    if (p->nonlinearity == TANH) v_tanh(M, h);
    else if (p->nonlinearity == SIGMOID) v_sigmoid(M, h);
    else if (p->nonlinearity == RELU) EACH(m) h[m] = v_where_less(h[m], v_zero(), v_zero(), h[m]);
    EACH(m) v_store_at(at[m].row->h, &at[m], h[m]);
}

static ALWAYS_INLINE void rnn_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    EACH(m) {
        const vec h = v_load_at(at[m].row->h, &at[m]);
        vec da = dh[m];
        if (p->nonlinearity == TANH) da = v_tanh_slope(da, h);
        else if (p->nonlinearity == SIGMOID) da = v_sigmoid_slope(da, h);
        else if (p->nonlinearity == RELU) da = v_where_less(v_zero(), h, da, v_zero());
        v_store_at(at[m].row->gates, &at[m], da); /* was: the pre-activation, no longer needed; now: da */
    }
}
