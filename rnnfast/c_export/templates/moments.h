/* ---- Layer normalization inside a cell: (a - mean) * scale,  scale = 1 / sqrt(variance + 1e-5) ---------------------------
 *
 * A sum has 16 partial sums, number i in partial sum i mod 16, which are then added in pairs. */

static inline float NAME_mean_of_sums(float *sums, int n)
{
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) sums[l] = NAME_add(sums[l], sums[l + half]);
    return NAME_div(sums[0], (float)n);
}

/* out[i] += (a[i] - mean) * scale * gain[i].  a, gain [n] IN, out [n] INOUT. */
static inline void NAME_normalize(int n, const float *a, const float *gain, float *out)
{
    float sums[16] = {0}, squares[16] = {0};
    for (int i = 0; i < n; i++) sums[i % 16] = NAME_add(sums[i % 16], a[i]);
    const float mean = NAME_mean_of_sums(sums, n);
    for (int i = 0; i < n; i++) {
        const float centered = NAME_sub(a[i], mean);
        squares[i % 16] = NAME_fma(centered, centered, squares[i % 16]);
    }
    const float variance = NAME_mean_of_sums(squares, n);
    const float scale = NAME_div(1.0f, (float)NAME_root(NAME_add(variance, 9.99999975e-06f)));
    for (int i = 0; i < n; i++) out[i] = NAME_fma(NAME_mul(NAME_sub(a[i], mean), scale), gain[i], out[i]);
}
