/* Operations that AVX2 and AVX-512 name alike: OP(name) is the intrinsic for the vectors of the file that includes this. */

#define FLUSHED(x) (x) /* a number as it is read and written, never subnormal: the processor does it */

static inline vec v_zero(void) { return OP(setzero)(); }
static inline vec v_set1(real x) { return OP(set1)(x); }
static inline vec v_load(const real *p) { return OP(loadu)(p); }
static inline void v_store(real *p, vec x) { OP(storeu)(p, x); }
static inline vec v_add(vec a, vec b) { return OP(add)(a, b); }
static inline vec v_sub(vec a, vec b) { return OP(sub)(a, b); }
static inline vec v_mul(vec a, vec b) { return OP(mul)(a, b); }
static inline vec v_div(vec a, vec b) { return OP(div)(a, b); }
static inline vec v_fma(vec a, vec b, vec c) { return OP(fmadd)(a, b, c); }
static inline vec v_fnma(vec a, vec b, vec c) { return OP(fnmadd)(a, b, c); }
static inline vec v_min(vec a, vec b) { return OP(min)(a, b); }
static inline vec v_max(vec a, vec b) { return OP(max)(a, b); }
static inline vec v_negative(vec a) { return OP(or)(v_set1((real)-0.0), a); }
static inline vec v_copysign(vec magnitude, vec sign)
{
    const vec bit = v_set1((real)-0.0);
    return OP(or)(OP(andnot)(bit, magnitude), OP(and)(bit, sign));
}
static inline vec v_or(vec a, vec b) { return OP(or)(a, b); }
