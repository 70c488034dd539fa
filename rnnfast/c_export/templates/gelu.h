/* ---- The standard normal distribution function (W. J. Cody, Mathematics of Computation 23, 1969) ------------------------ */

/* A polynomial of z.  coefficients [count] IN, that of the highest power first. */
static inline float NAME_polynomial(int count, const float *coefficients, float z)
{
    float value = coefficients[0];
    for (int k = 1; k < count; k++) value = NAME_fma(value, z, coefficients[k]);
    return value;
}

/* P(X <= x) = erfc(-x / sqrt(2)) / 2, from a rational function of z = |x| / sqrt(2) in each of three intervals. */
static inline float NAME_normal_cdf(float x)
{
    const float size = x < 0.0f ? -x : x, whole = NAME_mul(size, 0.707106769f), z = 40.0f < whole ? 40.0f : whole;
    const float square = NAME_mul(z, z);
    float tail; /* P(X > |x|) */
    if (z <= 0.46875f) {
        const float r = NAME_div(NAME_polynomial(5, NAME_small_above, square), NAME_polynomial(5, NAME_small_below, square));
        tail = NAME_sub(0.5f, NAME_mul(0.5f, NAME_mul(z, r)));
    } else {
        if (z <= 4.0f) {
            tail = NAME_div(NAME_polynomial(9, NAME_middle_above, z), NAME_polynomial(9, NAME_middle_below, z));
        } else {
            const float w = NAME_div(1.0f, square);
            const float r = NAME_div(NAME_polynomial(6, NAME_large_above, w), NAME_polynomial(6, NAME_large_below, w));
            tail = NAME_div(NAME_sub(0.564189584f, NAME_mul(r, w)), z);
        }
        tail = NAME_mul(NAME_mul(0.5f, NAME_exp_below(-square)), tail);
    }
    return x > 0.0f ? NAME_sub(1.0f, tail) : tail;
}

/* y = x P(X <= x).  x [n] IN, y [n] OUT. */
NAME_APART void NAME_gelu_of(int n, const float *x, float *y)
{
    for (int k = 0; k < n; k++) y[k] = NAME_mul(x[k], NAME_normal_cdf(x[k]));
}
