/* The vanilla recurrent network (Elman 1990).
 *
 *     a = b_ih + W_ih x + b_hh + W_hh h_prev          slot 0
 *     h = f(a),    f = tanh | relu | sigmoid | identity
 *
 *     da = dh * f'(a), and f' from the value h:  1 - h^2 | h > 0 (NaN for NaN) | h (1 - h) | 1
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

static ALWAYS_INLINE void rnn_gradient(const Pass *p, const CellVector *at, vec dh, const int guard)
{
    const vec h = v_load_at(at->row->h, at);
    vec da = dh;
    if (p->nonlinearity == TANH) da = v_tanh_slope(da, h);
    else if (p->nonlinearity == SIGMOID) da = v_sigmoid_slope(da, h);
    else if (p->nonlinearity == RELU) da = v_where_less(v_zero(), h, da, guard ? v_where_less(h, v_set1(1), v_zero(), h) : v_zero());
    da = v_guarded(guard, dh, da, v_zero());
    v_store_at(at->row->gates, at, da); /* was: the pre-activation, no longer needed; now: da */
}

static ALWAYS_INLINE void rnn_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    vec read = v_zero(); /* not finite if any of what is read is not */
    EACH(m) read = v_add(read, v_load_at(at[m].row->h, &at[m]));
    if (v_all_finite(read)) EACH(m) rnn_gradient(p, &at[m], dh[m], 0);
    else EACH(m) rnn_gradient(p, &at[m], dh[m], 1);
}
