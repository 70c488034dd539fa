/* What a Cortex-M needs before main, on the boards mps2-an385 (M3) and mps2-an386 (M4) of qemu: a vector table and the
 * floating-point unit. Newlib's _start does the rest, and prints by semihosting. */
#include <stdint.h>

void _start(void);
static void reset(void);
static void fault(void) { for (;;) {} }

__attribute__((section(".vectors"), used)) static const struct {
    uintptr_t stack;
    void (*handlers[15])(void);
} vectors = {0x20400000u, {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault}};

static void reset(void)
{
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* the coprocessors 10 and 11, which are the floating-point unit */
    __asm__ volatile("dsb\n\tisb" : : : "memory");
#endif
    _start();
}
