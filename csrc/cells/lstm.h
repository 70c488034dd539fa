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

static ALWAYS_INLINE void lstm_cell_forward(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, const real *a)
{
    const ptrdiff_t H = p->H;
    const vec i = v_sigmoid(v_load(a + LSTM_I * V));
    const vec f = v_sigmoid(v_load(a + LSTM_F * V));
    const vec g = v_tanh(v_load(a + LSTM_G * V));
    const vec o = v_sigmoid(v_load(a + LSTM_O * V));
    const vec c = v_fma(f, v_load_n(row->c_prev + j, lanes), v_mul(i, g));

    v_store_n(row->c + j, c, lanes);
    v_store_n(row->h + j, v_mul(o, v_tanh(c)), lanes);
    if (p->save) { /* was: pre-activations; now: activations */
        v_store_n(row->gates + LSTM_I * H + j, i, lanes);
        v_store_n(row->gates + LSTM_F * H + j, f, lanes);
        v_store_n(row->gates + LSTM_G * H + j, g, lanes);
        v_store_n(row->gates + LSTM_O * H + j, o, lanes);
    }
}

static ALWAYS_INLINE void lstm_cell_backward(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, vec dh)
{
    const ptrdiff_t H = p->H;
    const vec i = v_load_n(row->gates + LSTM_I * H + j, lanes);
    const vec f = v_load_n(row->gates + LSTM_F * H + j, lanes);
    const vec g = v_load_n(row->gates + LSTM_G * H + j, lanes);
    const vec o = v_load_n(row->gates + LSTM_O * H + j, lanes);
    const vec tanh_c = v_tanh(v_load_n(row->c + j, lanes));
    const vec dc = v_add(v_load_n(row->dc + j, lanes), v_tanh_slope(v_mul(dh, o), tanh_c));

    v_store_n(row->dc + j, v_mul(dc, f), lanes);
    /* was: activations; now: gradients of the pre-activations */
    v_store_n(row->gates + LSTM_I * H + j, v_sigmoid_slope(v_mul(dc, g), i), lanes);
    v_store_n(row->gates + LSTM_F * H + j, v_sigmoid_slope(v_mul(dc, v_load_n(row->c_prev + j, lanes)), f), lanes);
    v_store_n(row->gates + LSTM_G * H + j, v_tanh_slope(v_mul(dc, i), g), lanes);
    v_store_n(row->gates + LSTM_O * H + j, v_sigmoid_slope(v_mul(dh, tanh_c), o), lanes);
}
