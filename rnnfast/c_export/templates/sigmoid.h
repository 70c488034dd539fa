/* y = 1 / (1 + exp(-x)). */
NAME_APART void NAME_sigmoid_of(int n, const float *x, float *y)
{
    for (int i = 0; i < n; i++) y[i] = NAME_sigmoid(x[i]);
}
