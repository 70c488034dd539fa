/* ---- Layer normalization inside a cell: (a - mean) * scale,  scale = 1 / sqrt(variance + 1e-5) --------------------------- */

/* The mean of n numbers.  sums [NAME_partials] INOUT: their partial sums; then scratch memory. */
static inline float NAME_mean_of_sums(float *sums, int n)
{
    for (int half = NAME_partials / 2; half; half /= 2)
        for (int k = 0; k < half; k++) sums[k] = NAME_add(sums[k], sums[k + half]);
    return NAME_div(sums[0], (float)n);
}

/* out[k] += (a[k] - mean) * scale * gain[k].  a, gain [n] IN, out [n] INOUT. */
static inline void NAME_normalize(int n, const float *a, const float *gain, float *out)
{
    float sums[NAME_partials] = {0}, squares[NAME_partials] = {0};
    for (int k = 0; k < n; k++) sums[k % NAME_partials] = NAME_add(sums[k % NAME_partials], a[k]);
    const float mean = NAME_mean_of_sums(sums, n);
    for (int k = 0; k < n; k++) {
        const float centered = NAME_sub(a[k], mean);
        squares[k % NAME_partials] = NAME_fma(centered, centered, squares[k % NAME_partials]);
    }
    const float variance = NAME_mean_of_sums(squares, n);
    const float scale = NAME_div(1.0f, (float)NAME_root(NAME_add(variance, 9.99999975e-06f)));
    for (int k = 0; k < n; k++) out[k] = NAME_fma(NAME_mul(NAME_sub(a[k], mean), scale), gain[k], out[k]);
}
