/* Random masks from a counter: the number for (seed, call, layer, t, row, unit) is the same in any order, on any thread. */
#ifndef RNNFAST_MASK_H
#define RNNFAST_MASK_H

#include <stddef.h>
#include <stdint.h>

/* Philox 4x32 with 10 rounds (Salmon, Moraes, Dror and Shaw 2011): four random words for one counter. */
static inline void philox(const uint32_t key_[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t key[2] = {key_[0], key_[1]};
    for (int n = 0; n < 4; n++) out[n] = counter[n];
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)out[0] * 0xD2511F53u, b = (uint64_t)out[2] * 0xCD9E8D57u;
        const uint32_t mixed[4] = {(uint32_t)(b >> 32) ^ out[1] ^ key[0], (uint32_t)b, (uint32_t)(a >> 32) ^ out[3] ^ key[1],
                                   (uint32_t)a};
        for (int n = 0; n < 4; n++) out[n] = mixed[n];
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
}

/* mask[unit] = 0 with probability p, else 1 / (1 - p), for the units of one (t, row). mask [N] OUT. */
static inline void dropout_row(uint64_t seed, uint32_t call, uint32_t layer, uint32_t t, uint32_t row, ptrdiff_t N, double p,
                               double *mask)
{
    const uint32_t key[2] = {(uint32_t)seed ^ call * 0x85EBCA6Bu, (uint32_t)(seed >> 32) ^ layer * 0xC2B2AE35u};
    const double kept = 1 / (1 - p);
    uint32_t words[4];
    for (ptrdiff_t n = 0; n < N; n++) {
        if (n % 4 == 0) {
            const uint32_t counter[4] = {(uint32_t)(n / 4), row, t, call};
            philox(key, counter, words);
        }
        mask[n] = words[n % 4] < p * 4294967296.0 ? 0 : kept;
    }
}

#endif
