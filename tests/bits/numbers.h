/* Memory, inputs and checksums of bits.c. Numbers are float or double, after `size`. */
#ifndef RNNFAST_TESTS_NUMBERS_H
#define RNNFAST_TESTS_NUMBERS_H

#include "kernels.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BUFFERS = 64 };

static const char *kind_name;         /* of the kernels in this run */
static int size;                      /* bytes of a number in this run */
static void *buffers[MOST_BUFFERS];   /* what the present case allocated */
static int buffer_count;
static uint64_t random_state;

static void *at(const void *data, ptrdiff_t n) { return (char *)data + n * size; }

static void *zeros(ptrdiff_t n)
{
    void *buffer = n ? calloc((size_t)n, (size_t)size) : malloc(1);
    if (!buffer || buffer_count == MOST_BUFFERS) abort();
    buffers[buffer_count++] = buffer;
    return buffer;
}

static Rows rows(void *data, ptrdiff_t B, ptrdiff_t s_stride, ptrdiff_t b_stride)
{
    return (Rows){data, B, s_stride, b_stride, NULL, NULL};
}

static void free_buffers(void)
{
    while (buffer_count) free(buffers[--buffer_count]);
}

static uint64_t random_bits(void) /* xorshift64* (Vigna 2016) */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1Du;
}

/* n numbers from -scale to scale, multiples of scale / 2^20: exact in both types if scale is a power of two. */
static void *numbers(ptrdiff_t n, double scale)
{
    void *out = zeros(n);
    for (ptrdiff_t k = 0; k < n; k++) {
        const double x = ((double)(random_bits() >> 43) / 1048576 - 1) * scale;
        if (size == 4) ((float *)out)[k] = (float)x;
        else ((double *)out)[k] = x;
    }
    return out;
}

/* FNV-1a over the bytes of n numbers, the lowest first. All NaNs count as one. */
static uint64_t checksum(uint64_t hash, const void *data, ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k < n; k++) {
        uint64_t bits = 0;
        if (size == 4) {
            uint32_t word;
            memcpy(&word, at(data, k), sizeof word);
            bits = (word & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC00000u : word;
        } else {
            memcpy(&bits, at(data, k), sizeof bits);
            if ((bits & 0x7FFFFFFFFFFFFFFFu) > 0x7FF0000000000000u) bits = 0x7FF8000000000000u;
        }
        for (int byte = 0; byte < size; byte++, bits >>= 8) hash = (hash ^ (bits & 0xFF)) * 0x100000001B3u;
    }
    return hash;
}

static const uint64_t EMPTY = 0xCBF29CE484222325u; /* the checksum of nothing */

/* `hash` has two checksums: of the results made in one go, and made in pieces. */
static void report(const char *name, const uint64_t hash[2])
{
    printf("%s %s %016llx\n", name, kind_name, (unsigned long long)hash[0]);
    if (hash[0] != hash[1]) printf("%s %s DIFFERS IN PIECES\n", name, kind_name);
}

static ptrdiff_t padded(const Kernels *k, ptrdiff_t n) { return padded_to(n, k->lanes); }

/* Memory for the copies of so many rows of K numbers as operands. */
static void *copies(const Kernels *k, ptrdiff_t count, ptrdiff_t K)
{
    return zeros(count * k->copy_size(K));
}

/* Where the pieces of n things start: one piece, or one of each size in turn, 1, 2, 3 ... */
static ptrdiff_t piece_end(ptrdiff_t start, ptrdiff_t n, int in_pieces, int turn)
{
    return in_pieces && start + turn < n ? start + turn : n;
}

/* n numbers from 0.5 to 1.5. */
static void *positive(ptrdiff_t n)
{
    void *out = numbers(n, 0.5);
    for (ptrdiff_t k = 0; k < n; k++)
        if (size == 4) ((float *)out)[k] += 1;
        else ((double *)out)[k] += 1;
    return out;
}

#endif
