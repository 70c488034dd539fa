/* Compares the steps of an exported model with expected outputs. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Whether a number is the expected one: the same bits, or NaN for NaN; with a tolerance, near it. */
static int is_expected(float y, uint32_t expected, float tolerance)
{
    float wanted;
    memcpy(&wanted, &expected, sizeof wanted);
    if (y != y || wanted != wanted) return y != y && wanted != wanted;
    if (tolerance > 0) return y - wanted <= tolerance && wanted - y <= tolerance;
    return bits_of(y) == expected;
}

/* check_name(): how many numbers are wrong. `step` runs step t of `state` into y. The arrays name_resets [T] and name_y [T, outputs]
 * say where the state is reset, and what is expected. */
#define CHECK(name, steps, tolerance, step) \
    static int check_##name(void) \
    { \
        static name##_state state; \
        float y[name##_outputs]; \
        int wrong = 0; \
        memset(&state, 0x55, sizeof state); \
        name##_init(&state); \
        for (int t = 0; t < steps; t++) { \
            if (name##_resets[t]) name##_reset(&state); \
            step; \
            for (int k = 0; k < name##_outputs; k++) { \
                const uint32_t expected = name##_y[t * name##_outputs + k]; \
                if (is_expected(y[k], expected, tolerance)) continue; \
                if (!wrong++) printf(#name ": step %d, y[%d]: %08lx, expected %08lx\n", t, k, (unsigned long)bits_of(y[k]), \
                                     (unsigned long)expected); \
            } \
        } \
        return wrong; \
    }

#define READS_NUMBERS(name) \
    do { \
        float x[name##_inputs]; \
        memcpy(x, name##_x + t * name##_inputs, sizeof x); \
        name##_step(&state, x, y); \
    } while (0)

/* A number that is no token is refused, and changes nothing. */
#define READS_TOKENS(name) \
    do { \
        if (name##_step(&state, -1, y) != -1 || name##_step(&state, name##_tokens, y) != -1) wrong++; \
        if (name##_step(&state, name##_x[t], y) != 0) wrong++; \
    } while (0)
