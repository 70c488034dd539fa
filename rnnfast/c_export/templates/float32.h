/* ---- Products: out[n] += sum over k of x[k] * w[k][n]; k ascending, each term one fused multiply-add ------------------- */

/* x [K] IN, w [K][N] IN, out [N] INOUT. Four terms at a time, so that a sum is loaded and stored once for four. */
static inline void NAME_product(int K, int N, const float *x, const float *NAME_RESTRICT w, float *NAME_RESTRICT out)
{
    const int whole = K - K % 4;
    for (int k = 0; k < whole; k += 4, w += 4 * N) {
        const float x0 = NAME_flushed(x[k]), x1 = NAME_flushed(x[k + 1]);
        const float x2 = NAME_flushed(x[k + 2]), x3 = NAME_flushed(x[k + 3]);
        for (int n = 0; n < N; n++) {
            float sum = out[n];
            sum = NAME_fma(x0, w[n], sum);
            sum = NAME_fma(x1, w[N + n], sum);
            sum = NAME_fma(x2, w[2 * N + n], sum);
            out[n] = NAME_fma(x3, w[3 * N + n], sum);
        }
    }
    for (int k = whole; k < K; k++, w += N) {
        const float x0 = NAME_flushed(x[k]);
        for (int n = 0; n < N; n++) out[n] = NAME_fma(x0, w[n], out[n]);
    }
}
