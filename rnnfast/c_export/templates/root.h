/* ---- The square root, correctly rounded, digit by digit ----------------------------------------------------------------- */

/* The root of a positive normal number; x itself if it is zero, infinite or NaN. */
static inline double NAME_root(double x)
{
    union { double number; uint64_t bits; } same;
    same.number = x;
    const int exponent = (int)(same.bits >> 52) - 1023, odd = exponent & 1;
    uint64_t digits = ((same.bits & 0xfffffffffffffu) | 0x10000000000000u) << (10 + odd); /* two of them at a time, from bit 63 */
    uint64_t root = 0, rest = 0;
    if (!(x > 0.0 && x <= DBL_MAX)) return x;
    for (int digit = 0; digit < 54; digit++) { /* 53 digits of the result, and one to round it by */
        const uint64_t next = root << 2 | 1;
        rest = rest << 2 | digits >> 62;
        digits <<= 2;
        root <<= 1;
        if (rest >= next) {
            rest -= next;
            root |= 1;
        }
    }
    root = (root + 1) >> 1; /* a root of more digits is never half way between two numbers */
    same.bits = (uint64_t)((exponent - odd) / 2 + 1023 - 1) * 0x10000000000000u + root;
    return same.number;
}
