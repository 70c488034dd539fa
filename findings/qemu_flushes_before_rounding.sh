#!/usr/bin/env bash
# qemu-user 7.2 (Debian 12, qemu-x86_64) on x86-64: with flush-to-zero, the emulator and the processor give other bits.
#
# Behaviour: MXCSR has flush-to-zero set, and a float product is 2^-126 (1 - 2^-46), just below the least normal number 2^-126.
# The processor returns 2^-126, the emulator of the same instruction set 0.
# Seen: here 0x1p-126, in double 0x1p-1022; under qemu-x86_64 0x0p+0 for both.
# A good engineer guesses that arithmetic under qemu-user is the processor's to the bit, because it runs in software that
# follows IEEE 754, and flushing only replaces subnormal results. Wrong: what counts as subnormal is not settled by that.
# Mechanism: x86 rounds to 24 bits first and finds the result large enough. AArch64 tests before it rounds, and flushes. This
# version of the emulator does the latter for both. So a result within half a unit of the least normal number shows the difference.
set -euo pipefail
if [ "$(uname -m)" != x86_64 ] || ! command -v gcc > /dev/null || ! command -v qemu-x86_64 > /dev/null; then
    echo "SKIP: needs gcc and qemu-user on an x86-64 processor"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
qemu-x86_64 --version | head -1
cat > "$tmp/f.c" <<'C'
#include <stdio.h>
#include <xmmintrin.h>
int main(void) {
    volatile float a = 0x1.000002p-63f, b = 0x1.fffffcp-64f;
    volatile double c = 0x1.0000000000001p-511, d = 0x1.ffffffffffffep-512;
    _mm_setcsr(_mm_getcsr() | 0x8000);
    volatile float product = a * b;
    volatile double wide = c * d;
    printf("%a %a\n", product, wide);
    return 0;
}
C
gcc -O1 -static "$tmp/f.c" -o "$tmp/f"
here=$("$tmp/f")
emulated=$(qemu-x86_64 "$tmp/f")
echo "here $here; under qemu-x86_64 $emulated"
[ "$here" = "0x1p-126 0x1p-1022" ] && [ "$emulated" = "0x0p+0 0x0p+0" ] || { echo "the behaviour has changed"; exit 1; }
