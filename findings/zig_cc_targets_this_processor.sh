#!/usr/bin/env bash
# ziglang 0.16.0 (the compiler as a pip package): zig cc computes a * b + c by FMA, even at -O0, on a processor that has it.
#
# Behaviour: f(a, b, c) = a * b + c with a = b = 1 + 2^-12, c = -1 in float32. zig cc without options prints the fused
# value 0x1.0008p-11; with -target x86_64-linux-gnu, which names the very platform that it runs on, the rounded 0x1p-11.
# Seen: no option: __FMA__ defined, 0x1.0008p-11. With the target: not defined, 0x1p-11. gcc and clang act as the latter.
# A good engineer guesses that zig cc is clang with a bundled libc, and so builds for the baseline x86-64 unless -march
# says more; naming the host's own target then changes nothing. Wrong twice: a wheel built with it may end with an illegal
# instruction on an older machine, and its numbers depend on the machine that compiled it.
# Mechanism: without a target zig means "native", and for zig native includes every feature of the processor. Clang fuses
# within an expression by default (-ffp-contract=on), which matters only when an instruction for it exists.
set -euo pipefail
if [ "$(uname -m)" != x86_64 ] || ! grep -qw fma /proc/cpuinfo; then
    echo "SKIP: needs an x86-64 processor with FMA"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile ziglang==0.16.0
export ZIG_GLOBAL_CACHE_DIR="$tmp/cache" ZIG_LOCAL_CACHE_DIR="$tmp/cache"
cat > "$tmp/f.c" <<'C'
#include <stdio.h>
int main(void) {
    volatile float a = 1 + 0x1p-12f, c = -1;
    float f = a * a + c;
#ifdef __FMA__
    printf("FMA %a\n", f);
#else
    printf("none %a\n", f);
#endif
    return 0;
}
C
build() { # options of zig cc; prints what the program prints
    "$tmp/venv/bin/python" -m ziglang cc "$@" "$tmp/f.c" -o "$tmp/f" && "$tmp/f"
}
native=$(build -O0)
target=$(build -O0 -target x86_64-linux-gnu)
off=$(build -O2 -ffp-contract=off)
echo "no option: $native; with -target x86_64-linux-gnu: $target; with -ffp-contract=off: $off"
[ "$native" = "FMA 0x1.0008p-11" ] && [ "$target" = "none 0x1p-11" ] && [ "$off" = "FMA 0x1p-11" ] ||
    { echo "the behaviour has changed"; exit 1; }
