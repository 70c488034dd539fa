/* y = tanh(x). */
NAME_APART void NAME_tanh_of(int n, const float *x, float *y)
{
    for (int i = 0; i < n; i++) y[i] = NAME_tanh(x[i]);
}
