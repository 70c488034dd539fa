/* Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000). In
 * brackets what is there on request: peepholes (Gers and Schmidhuber 2000), a bound on c, and a projection (Sak, Senior and
 * Beaufays 2014). Coupled, f = 1 - i has no slot.
 *
 *     i, f = sigmoid(b + W x + W h_prev [+ w_c c_prev]),   g = tanh(b + W x + W h_prev)          slots i f g o
 *     c = [clip] f * c_prev + i * g
 *     o = sigmoid(b + W x + W h_prev [+ w_co c])
 *     m = o * tanh(c),   h = [W_hr] m
 *
 *     dm = dh [W_hr]
 *     do = dm * tanh(c) * o (1 - o)
 *     dc += dm * o * (1 - tanh(c)^2) [+ do w_co],   [0 where c was clipped]
 *     di = dc * g * i (1 - i)               coupled: dc * (g - c_prev) * i (1 - i), as two products
 *     df = dc * c_prev * f (1 - f)          dg = dc * i * (1 - g^2)
 *     dc_prev = dc * f [+ di w_ci + df w_cf]
 */
#define LSTM_I 0
#define LSTM_F 1 /* not if coupled */
#define LSTM_G (2 - coupled)
#define LSTM_O (3 - coupled)

/* What a peephole adds to a pre-activation, or to a gradient of c. */
static ALWAYS_INLINE vec v_peep(const void *w, const CellVector *at, vec seen, vec x)
{
    return v_fma(v_load_at((const real *)w, at), seen, x);
}

/* x where c lies within the bound, else what stands for `below` and `above` it. */
static ALWAYS_INLINE vec v_within(real bound, vec c, vec below, vec above, vec x)
{
    x = v_where_less(v_set1(bound), c, above, x);
    return v_where_less(c, v_set1(-bound), below, x);
}

static ALWAYS_INLINE void lstm_forward_with(const Pass *p, const int M, const CellVector *at, const int coupled)
{
    const ptrdiff_t H = p->H;
    const real bound = (real)p->cell_clip;
    vec i[ABREAST], f[ABREAST], g[ABREAST], o[ABREAST], c[ABREAST];

    EACH(m) i[m] = v_load(at[m].a + LSTM_I * V);
    if (p->w_ci) EACH(m) i[m] = v_peep(p->w_ci, &at[m], v_load_at(at[m].row->c_prev, &at[m]), i[m]);
    v_sigmoid(M, i);
    EACH(m) g[m] = v_load(at[m].a + LSTM_G * V);
    v_tanh(M, g);
    EACH(m) c[m] = v_mul(i[m], g[m]);
    if (p->save) EACH(m) { /* was: pre-activations; now: activations */
        v_store_at(at[m].row->gates + LSTM_I * H, &at[m], i[m]);
        v_store_at(at[m].row->gates + LSTM_G * H, &at[m], g[m]);
    }
    if (coupled) EACH(m) f[m] = v_sub(v_set1(1), i[m]);
    else {
        EACH(m) f[m] = v_load(at[m].a + LSTM_F * V);
        if (p->w_cf) EACH(m) f[m] = v_peep(p->w_cf, &at[m], v_load_at(at[m].row->c_prev, &at[m]), f[m]);
        v_sigmoid(M, f);
    }
    EACH(m) c[m] = v_fma(f[m], v_load_at(at[m].row->c_prev, &at[m]), c[m]);
    if (bound < INFINITY) EACH(m) c[m] = v_within(bound, c[m], v_set1(-bound), v_set1(bound), c[m]);
    EACH(m) v_store_at(at[m].row->c, &at[m], c[m]);
    EACH(m) o[m] = v_load(at[m].a + LSTM_O * V);
    if (p->w_co) EACH(m) o[m] = v_peep(p->w_co, &at[m], c[m], o[m]);
    v_sigmoid(M, o);
    if (p->save) EACH(m) { /* likewise */
        if (!coupled) v_store_at(at[m].row->gates + LSTM_F * H, &at[m], f[m]);
        v_store_at(at[m].row->gates + LSTM_O * H, &at[m], o[m]);
    }
    v_tanh(M, c);
    EACH(m) v_store_at(at[m].row->m ? at[m].row->m : at[m].row->h, &at[m], v_mul(o[m], c[m]));
}

static ALWAYS_INLINE void lstm_gradient(const Pass *p, const CellVector *at, vec dm, vec tanh_c, const int coupled,
                                        const int guard)
{
    const ptrdiff_t H = p->H;
    const real bound = (real)p->cell_clip;
    const CellRow *row = at->row;
    const vec i = v_load_at(row->gates + LSTM_I * H, at), g = v_load_at(row->gates + LSTM_G * H, at);
    const vec f = coupled ? v_sub(v_set1(1), i) : v_load_at(row->gates + LSTM_F * H, at);
    const vec o = v_load_at(row->gates + LSTM_O * H, at), c_prev = v_load_at(row->c_prev, at), zero = v_zero();
    const vec later = row->dc_step ? v_add(v_load_at(row->dc, at), v_load_at(row->dc_step, at)) : v_load_at(row->dc, at);
    const vec d_o = v_guarded(guard, dm, v_sigmoid_slope(v_mul(dm, tanh_c), o), zero);
    vec dc = v_add(later, v_guarded(guard, dm, v_tanh_slope(v_mul(dm, o), tanh_c), zero)), d_i, d_f, dc_prev;

    if (p->w_co) dc = v_peep(p->w_co, at, d_o, dc);
    if (bound < INFINITY) dc = v_within(bound, v_fma(f, c_prev, v_mul(i, g)), zero, zero, dc);
    d_i = v_mul(dc, g);
    d_f = v_mul(dc, c_prev);
    d_i = v_guarded(guard, dc, v_sigmoid_slope(coupled ? v_sub(d_i, d_f) : d_i, i), zero);
    d_f = v_guarded(guard, dc, v_sigmoid_slope(d_f, f), zero);
    dc_prev = v_guarded(guard, dc, v_mul(dc, f), zero);
    if (p->w_ci) dc_prev = v_peep(p->w_ci, at, d_i, dc_prev);
    if (p->w_cf && !coupled) dc_prev = v_peep(p->w_cf, at, d_f, dc_prev);
    v_store_at(row->dc, at, dc_prev);
    if (row->m) v_store_at(row->m, at, v_mul(o, tanh_c));
    /* was: activations; now: gradients of the pre-activations */
    v_store_at(row->gates + LSTM_I * H, at, d_i);
    if (!coupled) v_store_at(row->gates + LSTM_F * H, at, d_f);
    v_store_at(row->gates + LSTM_G * H, at, v_guarded(guard, dc, v_tanh_slope(v_mul(dc, i), g), zero));
    v_store_at(row->gates + LSTM_O * H, at, d_o);
}

static ALWAYS_INLINE void lstm_backward_with(const Pass *p, const int M, const CellVector *at, const vec *dm,
                                             const int coupled)
{
    vec tanh_c[ABREAST], read = v_zero(); /* not finite if any of what is read is not: c is NaN where i, f or g is,
        and unless it was clipped not finite where c_prev is not */

    EACH(m) tanh_c[m] = v_load_at(at[m].row->c, &at[m]);
    EACH(m) read = v_add(read, v_add(tanh_c[m], v_load_at(at[m].row->gates + LSTM_O * p->H, &at[m])));
    if (p->cell_clip < INFINITY) EACH(m) read = v_add(read, v_load_at(at[m].row->c_prev, &at[m]));
    v_tanh(M, tanh_c);
    if (v_all_finite(read)) EACH(m) lstm_gradient(p, &at[m], dm[m], tanh_c[m], coupled, 0);
    else EACH(m) lstm_gradient(p, &at[m], dm[m], tanh_c[m], coupled, 1);
}

static ALWAYS_INLINE void lstm_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    lstm_forward_with(p, M, at, 0);
}
static ALWAYS_INLINE void coupled_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    lstm_forward_with(p, M, at, 1);
}
static ALWAYS_INLINE void lstm_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dm)
{
    lstm_backward_with(p, M, at, dm, 0);
}
static ALWAYS_INLINE void coupled_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dm)
{
    lstm_backward_with(p, M, at, dm, 1);
}

/* Before a projection, on the way back: dh, for the product with W_hr and its gradient. */
static ALWAYS_INLINE void projected_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    (void)p;
    EACH(m) v_store_at(at[m].row->d_m, &at[m], dh[m]);
}
