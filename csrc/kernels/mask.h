/* Random masks from a counter: the number for (seed, call, layer, t, row, unit) is the same in any order and on any thread. */
#ifndef RNNFAST_KERNELS_MASK_H
#define RNNFAST_KERNELS_MASK_H

#include <stdint.h>
#include <string.h>
#include "rows.h"

#define COUNTERS 16 /* computed at once, in loops that the compiler turns into vector code */

/* Threefry 4x32 with 20 rounds (Salmon, Moraes, Dror and Shaw 2011): four random words of a key and a counter. */
#define MIX(a, b, left) (a += b, b = (b << (left) | b >> (32 - (left))) ^ a)
#define TWO_ROUNDS(r0, r1, r2, r3) (MIX(x0, x1, r0), MIX(x2, x3, r1), MIX(x0, x3, r2), MIX(x2, x1, r3))
#define ADD_KEY(n) \
    (x0 += key[(n) % 5], x1 += key[((n) + 1) % 5], x2 += key[((n) + 2) % 5], x3 += key[((n) + 3) % 5] + (n))
#define EVEN_FOUR_ROUNDS (TWO_ROUNDS(10, 26, 11, 21), TWO_ROUNDS(13, 27, 23, 5))
#define ODD_FOUR_ROUNDS (TWO_ROUNDS(6, 20, 17, 11), TWO_ROUNDS(25, 10, 18, 20))
static inline void threefry(const uint32_t key[5], uint32_t first, uint32_t row, uint32_t t, uint32_t out[4 * COUNTERS])
{
    for (int l = 0; l < COUNTERS; l++) {
        uint32_t x0 = first + (uint32_t)l, x1 = row, x2 = t, x3 = 0;
        ADD_KEY(0), EVEN_FOUR_ROUNDS;
        ADD_KEY(1), ODD_FOUR_ROUNDS;
        ADD_KEY(2), EVEN_FOUR_ROUNDS;
        ADD_KEY(3), ODD_FOUR_ROUNDS;
        ADD_KEY(4), EVEN_FOUR_ROUNDS;
        ADD_KEY(5);
        out[l] = x0;
        out[1 * COUNTERS + l] = x1;
        out[2 * COUNTERS + l] = x2;
        out[3 * COUNTERS + l] = x3;
    }
}

/* `chosen` with probability p, else `other`, for every unit of the rows of steps t0..t1. From unit `split` on, the probability
 * is q. mask [T, B, N] OUT. */
static void random_mask(uint64_t seed, uint32_t call, uint32_t layer, ptrdiff_t t0, ptrdiff_t t1, ptrdiff_t B, ptrdiff_t N,
                        double p, ptrdiff_t split, double q, double chosen, double other, void *mask)
{
    const uint32_t low = (uint32_t)seed, high = (uint32_t)(seed >> 32);
    const uint32_t key[5] = {low, high, call, layer, 0x1BD11BDAu ^ low ^ high ^ call ^ layer};
    const uint32_t below_p = (uint32_t)(p * 4294967296.0), below_q = (uint32_t)(q * 4294967296.0);
    const real if_below = (real)chosen, if_not = (real)other;
    uint32_t words[4 * COUNTERS];
    real block[4 * COUNTERS];

    for (ptrdiff_t t = t0; t < t1; t++)
        for (ptrdiff_t row = 0; row < B; row++)
            for (ptrdiff_t n = 0; n < N; n += 4 * COUNTERS) {
                const ptrdiff_t units = N - n < 4 * COUNTERS ? N - n : 4 * COUNTERS;
                const int of_p = split < n ? 0 : at_most(split - n, 4 * COUNTERS);
                threefry(key, (uint32_t)(n / 4), (uint32_t)row, (uint32_t)t, words);
                for (int w = 0; w < 4 * COUNTERS; w++) block[w] = words[w] < (w < of_p ? below_p : below_q) ? if_below : if_not;
                memcpy((real *)mask + (t * B + row) * N + n, block, sizeof(real) * (size_t)units);
            }
}

#endif
