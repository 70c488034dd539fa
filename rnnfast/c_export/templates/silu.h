/* y = x / (1 + exp(-x)). */
NAME_APART void NAME_silu_of(int n, const float *x, float *y)
{
    for (int i = 0; i < n; i++) y[i] = NAME_mul(x[i], NAME_sigmoid(x[i]));
}
