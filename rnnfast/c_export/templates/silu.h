/* y = x / (1 + exp(-x)).  x [n] IN, y [n] OUT. */
NAME_APART void NAME_silu_of(int n, const float *x, float *y)
{
    for (int k = 0; k < n; k++) y[k] = NAME_mul(x[k], NAME_sigmoid(x[k]));
}
