/* y = a + b.  a, b [n] IN, y [n] OUT. */
NAME_APART void NAME_sum(int n, const float *a, const float *b, float *y)
{
    for (int k = 0; k < n; k++) y[k] = a[k] + b[k];
}
