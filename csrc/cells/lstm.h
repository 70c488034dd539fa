/* Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000).
 *
 *     i, f, o = sigmoid(b + W x + W h_prev),   g = tanh(b + W x + W h_prev)          slots i f g o
 *     c = f * c_prev + i * g
 *     h = o * tanh(c)
 *
 *     dc += dh * o * (1 - tanh(c)^2)
 *     do = dh * tanh(c) * o (1 - o)        di = dc * g * i (1 - i)
 *     df = dc * c_prev * f (1 - f)         dg = dc * i * (1 - g^2)          dc_prev = dc * f
 */
enum { LSTM_I, LSTM_F, LSTM_G, LSTM_O };

static ALWAYS_INLINE void lstm_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    const ptrdiff_t H = p->H;
    vec i[ABREAST], f[ABREAST], g[ABREAST], o[ABREAST], c[ABREAST];

    EACH(m) i[m] = v_load(at[m].a + LSTM_I * V);
    v_sigmoid(M, i);
    EACH(m) g[m] = v_load(at[m].a + LSTM_G * V);
    v_tanh(M, g);
    EACH(m) c[m] = v_mul(i[m], g[m]);
    if (p->save) EACH(m) { /* was: pre-activations; now: activations */
        v_store_at(at[m].row->gates + LSTM_I * H, &at[m], i[m]);
        v_store_at(at[m].row->gates + LSTM_G * H, &at[m], g[m]);
    }
    EACH(m) f[m] = v_load(at[m].a + LSTM_F * V);
    v_sigmoid(M, f);
    EACH(m) c[m] = v_fma(f[m], v_load_at(at[m].row->c_prev, &at[m]), c[m]);
    EACH(m) v_store_at(at[m].row->c, &at[m], c[m]);
    EACH(m) o[m] = v_load(at[m].a + LSTM_O * V);
    v_sigmoid(M, o);
    if (p->save) EACH(m) { /* likewise */
        v_store_at(at[m].row->gates + LSTM_F * H, &at[m], f[m]);
        v_store_at(at[m].row->gates + LSTM_O * H, &at[m], o[m]);
    }
    v_tanh(M, c);
    EACH(m) v_store_at(at[m].row->h, &at[m], v_mul(o[m], c[m]));
}

static ALWAYS_INLINE void lstm_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    const ptrdiff_t H = p->H;
    vec tanh_c[ABREAST];

    EACH(m) tanh_c[m] = v_load_at(at[m].row->c, &at[m]);
    v_tanh(M, tanh_c);
    EACH(m) {
        const CellRow *row = at[m].row;
        const vec i = v_load_at(row->gates + LSTM_I * H, &at[m]), f = v_load_at(row->gates + LSTM_F * H, &at[m]);
        const vec g = v_load_at(row->gates + LSTM_G * H, &at[m]), o = v_load_at(row->gates + LSTM_O * H, &at[m]);
        const vec c_prev = v_load_at(row->c_prev, &at[m]);
        const vec later = row->dc_step ? v_add(v_load_at(row->dc, &at[m]), v_load_at(row->dc_step, &at[m]))
                                       : v_load_at(row->dc, &at[m]);
        const vec dc = v_add(later, v_tanh_slope(v_mul(dh[m], o), tanh_c[m]));

        v_store_at(row->dc, &at[m], v_mul(dc, f));
        /* was: activations; now: gradients of the pre-activations */
        v_store_at(row->gates + LSTM_I * H, &at[m], v_sigmoid_slope(v_mul(dc, g), i));
        v_store_at(row->gates + LSTM_F * H, &at[m], v_sigmoid_slope(v_mul(dc, c_prev), f));
        v_store_at(row->gates + LSTM_G * H, &at[m], v_tanh_slope(v_mul(dc, i), g));
        v_store_at(row->gates + LSTM_O * H, &at[m], v_sigmoid_slope(v_mul(dh[m], tanh_c[m]), o));
    }
}
