/* exp, tanh, sigmoid and its logarithm on vectors, in the words of the vocabulary: the same operations, so the same bits, on every ISA.
 *
 * All rest on  x = n ln 2 + r,  |r| <= ln 2 / 2,  e^x = 2^n (1 + p),  p = e^r - 1 = r + r^2 Q(r),
 * with Q the polynomial of least relative error of p on that interval (float32: 1.4e-8, float64: 2.9e-19).
 *
 *     exp(x)     = 2^n + 2^n p
 *     tanh(x)    = sign(x) * -(u - 2u q),  u = (z - 1) / 2,  q = u / (1 + z),  z = e^(-2|x|);  u = 2^(n-1) p + (2^(n-1) - 1/2),
 *                  which is exact near 0, where n = 0
 *     sigmoid(x) = 1 - q for x >= 0,  z - z q for x < 0,     q = z / (1 + z),  z = e^(-|x|)
 *
 *     log sigmoid(x) = min(x, 0) - log(1 + z),  log(1 + z) = z - (z^2/2 - s (z^2/2 + w R(w))),  s = z / (2 + z),  w = s^2,
 *                  z = e^(-|x|);  R: the polynomial of least error relative to log(1 + z) (float32: 4.6e-9, float64: 1.4e-18)
 *
 * The quotient q or s enters as a correction to a larger term, so that its rounding counts for less than it would by itself.
 * Errors: at most 2 ulp in float32, 4 ulp in float64. NaN gives NaN. Beyond the ends of its range a function has its limit.
 * Subnormal results are 0.
 */
#ifndef RNNFAST_SIMD_VMATH_H
#define RNNFAST_SIMD_VMATH_H

#include "compiler.h"

#define ABREAST 4 /* vectors that these functions and the cells work on side by side, at most */

#if REAL_BITS == 32
#define LN2_HIGH 0x1.62e43p-1f
#define LN2_LOW -0x1.05c610ca86c39p-29f
#define LOG2_E 0x1.715476p+0f
#define ROUNDER (0x1.8p23f + 127) /* adding it leaves round(n) + 127 in the lowest bits, which v_exponent shifts into place */
#define TANH_END 10
#define SIGMOID_END 88
#define EXP_LOW -88
#define EXP_HIGH 89
#define EXPM1_DEGREE 4
static const real expm1_Q[] = {0.499999967463f, 0.166665419407f, 0.0416675967994f, 0.00836668012961f, 0.00138581540653f};
#define LOG1P_DEGREE 3
static const real log1p_R[] = {0.666664131335f, 0.400216989835f, 0.27999142349f, 0.28024453096f};
#else
#define LN2_HIGH 0x1.62e42fefa39efp-1
#define LN2_LOW 0x1.abc9e3b39803fp-56
#define LOG2_E 0x1.71547652b82fep+0
#define ROUNDER (0x1.8p52 + 1023)
#define TANH_END 20
#define SIGMOID_END 709.2
#define EXP_LOW -709.2
#define EXP_HIGH 710
#define EXPM1_DEGREE 10
static const real expm1_Q[] = {
    0.50000000000000000141, 0.16666666666666676768, 0.041666666666666438744, 0.0083333333333215185703,
    0.0013888888888990200369, 0.00019841269886348927626, 0.000024801587124768083942, 2.7557244027164146039e-6,
    2.7557439632521377296e-7, 2.5109089767758677331e-8, 2.0864719633834466351e-9};
#define LOG1P_DEGREE 9
static const real log1p_R[] = {
    0.66666666666666303779, 0.40000000000157247603, 0.28571428547853423082, 0.22222223969758854726, 0.18181743923883551939,
    0.15386559947040293098, 0.13300973251349827996, 0.12106089018919692104, 0.083400890923270575731, 0.17018598677071611049};
#endif

/* Each function works on M vectors in place, stage by stage, so that M chains of dependent operations run side by side. */
#define EACH(m) UNROLL for (int m = 0; m < M; m++)

/* Splits e^x: p[m], and 2^(n + shift) in scale[m]. x must be within the range of the type's exponents. */
static ALWAYS_INLINE void v_expm1_split(const int M, const vec *x, const vec *shift, vec *p, vec *scale)
{
    const vec rounder = v_set1(ROUNDER);
    vec n[ABREAST], r[ABREAST], q[ABREAST];
    EACH(m) scale[m] = v_fma(x[m], v_set1(LOG2_E), rounder);
    EACH(m) n[m] = v_sub(scale[m], rounder);
    EACH(m) scale[m] = v_exponent(shift ? v_add(scale[m], shift[m]) : scale[m]);
    EACH(m) r[m] = v_fnma(n[m], v_set1(LN2_HIGH), x[m]);
    EACH(m) r[m] = v_fnma(n[m], v_set1(LN2_LOW), r[m]);
    EACH(m) q[m] = v_fma(v_set1(expm1_Q[EXPM1_DEGREE]), r[m], v_set1(expm1_Q[EXPM1_DEGREE - 1]));
    UNROLL for (int d = EXPM1_DEGREE - 2; d >= 0; d--) EACH(m) q[m] = v_fma(q[m], r[m], v_set1(expm1_Q[d]));
    EACH(m) n[m] = v_mul(r[m], r[m]);
    EACH(m) p[m] = v_fma(n[m], q[m], r[m]);
}

static ALWAYS_INLINE void v_exp(const int M, vec *x)
{
    /* 2^n overflows one binade before e^x does, so above 0 half the scale is used and the result is doubled. */
    vec shift[ABREAST], p[ABREAST], scale[ABREAST];
    EACH(m) shift[m] = v_where_less(x[m], v_zero(), v_zero(), v_set1(-1));
    EACH(m) x[m] = v_max(v_set1(EXP_LOW), v_min(v_set1(EXP_HIGH), x[m]));
    v_expm1_split(M, x, shift, p, scale);
    EACH(m) x[m] = v_mul(v_fma(scale[m], p[m], scale[m]), v_where_less(shift[m], v_zero(), v_set1(2), v_set1(1)));
}

/* e^x for x of at most 0, in fewer operations. */
static ALWAYS_INLINE void v_exp_below(const int M, vec *x)
{
    vec p[ABREAST], scale[ABREAST];
    EACH(m) x[m] = v_max(v_set1(-SIGMOID_END), x[m]);
    v_expm1_split(M, x, NULL, p, scale);
    EACH(m) x[m] = v_fma(scale[m], p[m], scale[m]);
}

static ALWAYS_INLINE void v_tanh(const int M, vec *x)
{
    const vec half = v_set1((real)0.5);
    vec a[ABREAST], p[ABREAST], scale[ABREAST], u[ABREAST], q[ABREAST];
    EACH(m) a[m] = v_max(v_set1(-2 * TANH_END), v_negative(v_add(x[m], x[m])));
    v_expm1_split(M, a, NULL, p, scale);
    EACH(m) a[m] = v_mul(scale[m], half);
    EACH(m) u[m] = v_fma(a[m], p[m], v_sub(a[m], half));
    EACH(m) q[m] = v_div(u[m], v_add(v_set1(1), v_fma(scale[m], p[m], scale[m])));
    EACH(m) x[m] = v_copysign(v_fnma(v_add(u[m], u[m]), q[m], u[m]), x[m]);
}

static ALWAYS_INLINE void v_sigmoid(const int M, vec *x)
{
    vec z[ABREAST], q[ABREAST];
    EACH(m) z[m] = v_negative(x[m]);
    v_exp_below(M, z);
    EACH(m) q[m] = v_div(z[m], v_add(v_set1(1), z[m]));
    EACH(m) z[m] = v_where_less(x[m], v_zero(), z[m], v_set1(1));
    EACH(m) x[m] = v_fnma(z[m], q[m], z[m]);
}

static ALWAYS_INLINE void v_log_sigmoid(const int M, vec *x)
{
    vec a[ABREAST], p[ABREAST], z[ABREAST], s[ABREAST], w[ABREAST], r[ABREAST];
    EACH(m) a[m] = v_max(v_set1(-SIGMOID_END), v_negative(x[m]));
    v_expm1_split(M, a, NULL, p, z);
    EACH(m) z[m] = v_fma(z[m], p[m], z[m]);
    EACH(m) s[m] = v_div(z[m], v_add(v_set1(2), z[m]));
    EACH(m) w[m] = v_mul(s[m], s[m]);
    EACH(m) a[m] = v_mul(z[m], v_mul(z[m], v_set1((real)0.5)));
    EACH(m) r[m] = v_fma(v_set1(log1p_R[LOG1P_DEGREE]), w[m], v_set1(log1p_R[LOG1P_DEGREE - 1]));
    UNROLL for (int d = LOG1P_DEGREE - 2; d >= 0; d--) EACH(m) r[m] = v_fma(r[m], w[m], v_set1(log1p_R[d]));
    EACH(m) r[m] = v_fnma(s[m], v_fma(r[m], w[m], a[m]), a[m]);
    EACH(m) x[m] = v_sub(v_min(v_zero(), x[m]), v_sub(z[m], r[m]));
}

#endif
