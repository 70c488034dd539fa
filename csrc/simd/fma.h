/* A fused multiply-add in software, a * b + c rounded once, to nearest even. simd/scalar.h says where it is used.
 *
 * Of floats, a product is exact in double. Its sum with c is rounded to odd (Boldo and Melquiond 2008): an inexact sum ends in a
 * bit of 1, so that rounding it to float gives what rounding the exact sum would. Of doubles, product and sum are integers of
 * 128 bits, and what is shifted out of them leaves a 1 in the lowest bit. */
#ifndef RNNFAST_SIMD_FMA_H
#define RNNFAST_SIMD_FMA_H

#include <stdint.h>
#include <string.h>

static inline float fma_of_floats(float a, float b, float c)
{
    const double product = (double)a * b, sum = product + c;
    const double added = sum - product, error = (product - (sum - added)) + (c - added);
    uint64_t bits;
    double odd;

    memcpy(&bits, &sum, sizeof bits);
    if (sum - sum == 0 && error != 0 && !(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : (uint64_t)-1;
    memcpy(&odd, &bits, sizeof odd);
    return (float)odd;
}

/* high * 2^64 + low. */
typedef struct {
    uint64_t high, low;
} Wide;

static inline Wide wide_product(uint64_t x, uint64_t y)
{
    const uint64_t half = 0xFFFFFFFFu, x1 = x >> 32, x0 = x & half, y1 = y >> 32, y0 = y & half;
    const uint64_t low = x0 * y0, middle = x1 * y0 + (low >> 32), other = x0 * y1 + (middle & half);
    return (Wide){x1 * y1 + (middle >> 32) + (other >> 32), other << 32 | (low & half)};
}

static inline Wide wide_sum(Wide x, Wide y)
{
    const uint64_t low = x.low + y.low;
    return (Wide){x.high + y.high + (low < x.low), low};
}

static inline Wide wide_difference(Wide x, Wide y)
{
    return (Wide){x.high - y.high - (x.low < y.low), x.low - y.low};
}

static inline Wide wide_up(Wide x, int n) /* 0 <= n < 128 */
{
    if (n >= 64) return (Wide){x.low << (n - 64), 0};
    return n ? (Wide){x.high << n | x.low >> (64 - n), x.low << n} : x;
}

/* The lowest bit becomes 1 if any bit of 1 is shifted out. */
static inline Wide wide_down(Wide x, int n) /* 0 <= n */
{
    if (n >= 128) return (Wide){0, (x.high | x.low) != 0};
    if (n >= 64) return (Wide){0, (n == 64 ? x.high : x.high >> (n - 64)) | (x.low || (n > 64 && x.high << (128 - n)))};
    return n ? (Wide){x.high >> n, x.high << (64 - n) | x.low >> n | (x.low << (64 - n) != 0)} : x;
}

/* x = mantissa * 2^exponent for a finite x that is not zero; bit 52 is the mantissa's highest. */
static inline uint64_t mantissa_of(uint64_t x, int *exponent)
{
    const int biased = (int)(x >> 52 & 0x7FF);
    uint64_t mantissa = x & 0xFFFFFFFFFFFFFu;

    *exponent = (biased ? biased : 1) - 1075;
    if (biased) return mantissa | (uint64_t)1 << 52;
    for (; !(mantissa >> 52); mantissa <<= 1) --*exponent;
    return mantissa;
}

/* The double next to x * 2^exponent, without its sign; x is not zero. */
static inline uint64_t rounded_to_double(Wide x, int exponent)
{
    int shift = 0;
    while (!(wide_up(x, shift).high >> 63)) shift++;
    x = wide_up(x, shift);
    int biased = exponent - shift + 128 + 1022; /* the highest bit is bit 127 now */
    if (biased >= 0x7FF) return (uint64_t)0x7FF << 52;
    if (biased < 1) {
        x = wide_down(x, 1 - biased);
        biased = 1;
    }
    const uint64_t mantissa = x.high >> 11, rest = x.high & 0x7FF, half = 0x400;
    const int up = rest > half || (rest == half && (x.low || mantissa & 1));
    return ((uint64_t)(biased - 1) << 52) + mantissa + (uint64_t)up; /* bit 52 of the mantissa, or a carry, adds to the exponent */
}

static inline double fma_of_doubles(double a, double b, double c)
{
    const uint64_t sign_bit = (uint64_t)1 << 63, infinite = (uint64_t)0x7FF << 52;
    uint64_t x, y, z, bits;
    int e_x, e_y, e_z;

    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    memcpy(&z, &c, sizeof z);
    const uint64_t sign = (x ^ y) & sign_bit, size_x = x & ~sign_bit, size_y = y & ~sign_bit, size_z = z & ~sign_bit;
    if (!size_x || !size_y || size_x >= infinite || size_y >= infinite) return a * b + c;
    if (size_z >= infinite) return c + c;
    Wide product = wide_up(wide_product(mantissa_of(x, &e_x), mantissa_of(y, &e_y)), 20), sum;
    int exponent = e_x + e_y - 20; /* of bit 0; the highest bit is 124 or 125 */
    bits = sign;
    if (size_z) {
        Wide addend = wide_up((Wide){0, mantissa_of(z, &e_z)}, 73); /* its highest bit is 125 */
        e_z -= 73;
        if (exponent < e_z) {
            product = wide_down(product, e_z - exponent);
            exponent = e_z;
        } else {
            addend = wide_down(addend, exponent - e_z);
        }
        const int larger = product.high != addend.high ? product.high > addend.high : product.low >= addend.low;
        if (sign == (z & sign_bit)) sum = wide_sum(product, addend);
        else sum = larger ? wide_difference(product, addend) : wide_difference(addend, product);
        if (!sum.high && !sum.low) return 0;
        if (!larger) bits = z & sign_bit;
    } else {
        sum = product;
    }
    bits |= rounded_to_double(sum, exponent);
    memcpy(&a, &bits, sizeof a);
    return a;
}

#endif
