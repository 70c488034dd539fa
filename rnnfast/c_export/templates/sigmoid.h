/* y = 1 / (1 + exp(-x)).  x [n] IN, y [n] OUT. */
NAME_APART void NAME_sigmoid_of(int n, const float *x, float *y)
{
    for (int k = 0; k < n; k++) y[k] = NAME_sigmoid(x[k]);
}
