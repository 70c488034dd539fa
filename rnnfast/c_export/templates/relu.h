/* y = max(x, 0), NaN for NaN.  x [n] IN, y [n] OUT. */
NAME_APART void NAME_relu_of(int n, const float *x, float *y)
{
    for (int k = 0; k < n; k++) y[k] = x[k] <= 0.0f ? 0.0f : x[k];
}
