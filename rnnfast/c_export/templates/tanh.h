/* y = tanh(x).  x [n] IN, y [n] OUT. */
NAME_APART void NAME_tanh_of(int n, const float *x, float *y)
{
    for (int k = 0; k < n; k++) y[k] = NAME_tanh(x[k]);
}
