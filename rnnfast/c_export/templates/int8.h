/* ---- Products in int8: sums are integers ----------------------------------------------------------------------------------
 *
 *     scale = most / 127,  q[k] = x[k] * (127 / most), rounded to nearest even        most = max |x[k]|
 *     out[n] += (sum over k of q[k] * w[n][k]) * (scale * scales[n])                  a fused multiply-add
 *
 * A row x below 2^-100 counts as zero. A row with NaN or infinity has the scale NaN. A sum has at most 4096 numbers, so it
 * cannot overflow; a longer row adds one sum after the other. */

/* x [K] IN, q [K] OUT; the result is the scale. bounded: numbers of at most 1 have the scale 1/127. */
static inline float NAME_quantize(int K, int bounded, const float *x, int8_t *q)
{
    float most = 0.0f, scale, multiplier;
    int finite = 1;
    for (int k = 0; k < K; k++) {
        const float x_k = NAME_flushed(x[k]), size = x_k < 0.0f ? -x_k : x_k;
        most = size > most ? size : most;
        finite &= size <= FLT_MAX;
    }
    if (bounded && finite && most <= 1.0f) {
        scale = NAME_div(1.0f, 127.0f);
        multiplier = 127.0f;
    } else if (!finite) {
        scale = NAME_of_bits(0x7fc00000u);
        multiplier = 0.0f;
    } else {
        const int is_zero = most < 7.88860905e-31f; /* 2^-100 */
        scale = is_zero ? 0.0f : NAME_div(most, 127.0f);
        multiplier = is_zero ? 0.0f : NAME_div(127.0f, most);
    }
    for (int k = 0; k < K; k++) { /* the sum with 1.5 * 2^23 has the integer in its lowest bits */
        const float shifted = NAME_add(NAME_mul(finite ? NAME_flushed(x[k]) : 0.0f, multiplier), 12582912.0f);
        q[k] = (int8_t)(int32_t)(NAME_bits(shifted) - 0x4b400000u);
    }
    return scale;
}

/* x [K] IN, q [K] scratch memory, w [N][K] IN with scales [N], out [N] INOUT. */
static inline void NAME_product_int8(int K, int N, int bounded, const float *x, int8_t *NAME_RESTRICT q,
                                     const int8_t *NAME_RESTRICT w, const float *NAME_RESTRICT scales, float *NAME_RESTRICT out)
{
    const float scale = NAME_quantize(K, bounded, x, q);
    for (int n = 0; n < N; n++) {
        const float both = NAME_mul(scale, scales[n]);
        float total = out[n];
        for (int first = 0; first < K; first += 4096) {
            const int count = K - first < 4096 ? K - first : 4096;
            const int8_t *a = q + first, *b = w + (ptrdiff_t)n * K + first;
            int32_t sum = 0;
            for (int k = 0; k < count; k++) sum += a[k] * b[k];
            total = NAME_fma((float)sum, both, total);
        }
        out[n] = total;
    }
}
