/* y = max(x, 0), NaN for NaN. */
NAME_APART void NAME_relu_of(int n, const float *x, float *y)
{
    for (int i = 0; i < n; i++) y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}
