/* ---- exp, tanh and the sigmoid ----------------------------------------------------------------------------------------
 *
 * All rest on  x = n ln 2 + r,  |r| <= ln 2 / 2,  e^x = 2^n (1 + p),  p = e^r - 1 = r + r^2 Q(r),  Q a polynomial.
 * Their errors are at most 2 units in the last place. */

/* The result is p.  shifted [1] OUT: its lowest bits are n + 127, the bits of the exponent of 2^n. */
static inline float NAME_expm1(float x, float *shifted)
{
    const float rounder = 12583039.0f; /* 1.5 * 2^23 + 127: a number of this size has no digits behind the point */
    *shifted = NAME_fma(x, 1.44269502f, rounder);
    const float n = NAME_sub(*shifted, rounder);
    const float r = NAME_fnma(n, -1.90465421e-09f, NAME_fnma(n, 0.693147182f, x));
    float q = NAME_fma(0.00138581544f, r, 0.00836667977f);
    q = NAME_fma(q, r, 0.0416675955f);
    q = NAME_fma(q, r, 0.16666542f);
    q = NAME_fma(q, r, 0.49999997f);
    return NAME_fma(NAME_mul(r, r), q, r);
}

/* 2^n. */
static inline float NAME_power(float shifted) { return NAME_of_bits(NAME_bits(shifted) << 23); }

/* e^x for x of at most 0. */
static inline float NAME_exp_below(float x)
{
    float shifted;
    const float p = NAME_expm1(-88.0f > x ? -88.0f : x, &shifted), scale = NAME_power(shifted);
    return NAME_fma(scale, p, scale);
}

static inline float NAME_minus_abs(float x) { return NAME_of_bits(NAME_bits(x) | 0x80000000u); }

/* With z = e^(-|x|) and q = z / (1 + z): 1 - q for x >= 0, z - z q for x < 0. */
static inline float NAME_sigmoid(float x)
{
    const float z = NAME_exp_below(NAME_minus_abs(x)), q = NAME_div(z, NAME_add(1.0f, z)), first = x < 0.0f ? z : 1.0f;
    return NAME_fnma(first, q, first);
}

/* With z = e^(-2|x|) and u = (z - 1) / 2: the sign of x times -(u - 2u u / (1 + z)). */
static inline float NAME_tanh(float x)
{
    const float a = NAME_minus_abs(NAME_add(x, x));
    float shifted;
    const float p = NAME_expm1(-20.0f > a ? -20.0f : a, &shifted);
    const float scale = NAME_power(shifted), half = NAME_mul(scale, 0.5f);
    const float u = NAME_fma(half, p, NAME_sub(half, 0.5f));
    const float q = NAME_div(u, NAME_add(1.0f, NAME_fma(scale, p, scale)));
    const float t = NAME_fnma(NAME_add(u, u), q, u);
    return NAME_of_bits((NAME_bits(t) & 0x7fffffffu) | (NAME_bits(x) & 0x80000000u));
}
