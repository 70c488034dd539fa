/* ---- The module LayerNorm: y = (x - mean) / sqrt(variance + eps) * weight + bias ----------------------------------------
 *
 * In double. */

/* The sum.  sums [NAME_partials] INOUT: partial sums; then scratch memory. */
static inline double NAME_sum_of_partial(double *sums)
{
    for (int half = NAME_partials / 2; half; half /= 2)
        for (int k = 0; k < half; k++) sums[k] += sums[k + half];
    return sums[0];
}

/* x, weight [n] IN; bias [n] IN, or NULL; y [n] OUT. */
NAME_APART void NAME_layer_norm(int n, const float *x, const float *weight, const float *bias, double eps, float *y)
{
    double sums[NAME_partials] = {0}, squares[NAME_partials] = {0};
    for (int k = 0; k < n; k++) sums[k % NAME_partials] += (double)NAME_flushed(x[k]);
    const double mean = NAME_sum_of_partial(sums) / n;
    for (int k = 0; k < n; k++) {
        const double centered = (double)NAME_flushed(x[k]) - mean;
        squares[k % NAME_partials] += centered * centered;
    }
    const double per_root = 1 / NAME_root(NAME_sum_of_partial(squares) / n + eps);
    for (int k = 0; k < n; k++) {
        const double normal = ((double)NAME_flushed(x[k]) - mean) * per_root * (double)weight[k];
        const float rounded = (float)(bias ? normal + (double)bias[k] : normal);
        y[k] = rounded < FLT_MIN && rounded > -FLT_MIN ? rounded * 0.0f : rounded; /* double may have no mode of its own */
    }
}
