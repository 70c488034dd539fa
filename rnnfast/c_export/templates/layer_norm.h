/* ---- The module LayerNorm: y = (x - mean) / sqrt(variance + eps) * weight + bias ----------------------------------------
 *
 * In double. A sum has 16 partial sums, number i in partial sum i mod 16, which are then added in pairs. */

static inline double NAME_sum_of_partial(double *sums)
{
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) sums[l] += sums[l + half];
    return sums[0];
}

/* x, weight [n] IN; bias [n] IN, or NULL; y [n] OUT. */
NAME_APART void NAME_layer_norm(int n, const float *x, const float *weight, const float *bias, double eps, float *y)
{
    double sums[16] = {0}, squares[16] = {0};
    for (int i = 0; i < n; i++) sums[i % 16] += (double)NAME_flushed(x[i]);
    const double mean = NAME_sum_of_partial(sums) / n;
    for (int i = 0; i < n; i++) {
        const double centered = (double)NAME_flushed(x[i]) - mean;
        squares[i % 16] += centered * centered;
    }
    const double per_root = 1 / NAME_root(NAME_sum_of_partial(squares) / n + eps);
    for (int i = 0; i < n; i++) {
        const double normal = ((double)NAME_flushed(x[i]) - mean) * per_root * (double)weight[i];
        const float rounded = (float)(bias ? normal + (double)bias[i] : normal);
        y[i] = rounded < FLT_MIN && rounded > -FLT_MIN ? rounded * 0.0f : rounded; /* double may have no mode of its own */
    }
}
