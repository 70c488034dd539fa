/* ---- Products in bfloat16: operands are the upper 16 bits of a float, sums are floats ----------------------------------
 *
 * The numbers 2k and 2k+1 are a pair, and a sum takes the second of a pair first. A zero makes an odd K even. */

/* x rounded to bfloat16, to nearest even; subnormal numbers are zero. */
static inline float NAME_rounded(float x)
{
    const uint32_t bits = NAME_bits(x), magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return x; /* NaN */
    return NAME_of_bits(magnitude < 0x00800000u ? bits & 0x80000000u : (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u);
}
static inline float NAME_widened(uint16_t x) { return NAME_of_bits((uint32_t)x << 16); }

/* x [K] IN, w [K][N] IN, out [N] INOUT. */
static inline void NAME_product_bfloat16(int K, int N, const float *x, const uint16_t *NAME_RESTRICT w,
                                         float *NAME_RESTRICT out)
{
    const int whole = K - K % 2;
    for (int k = 0; k < whole; k += 2, w += 2 * N) {
        const float first = NAME_rounded(x[k]), second = NAME_rounded(x[k + 1]);
        for (int n = 0; n < N; n++)
            out[n] = NAME_fma(first, NAME_widened(w[n]), NAME_fma(second, NAME_widened(w[N + n]), out[n]));
    }
    if (whole < K) {
        const float last = NAME_rounded(x[whole]);
        for (int n = 0; n < N; n++) out[n] = NAME_fma(last, NAME_widened(w[n]), NAME_add(out[n], 0.0f));
    }
}
