#!/usr/bin/env bash
# mingw-w64 10.0.0 with gcc 12.2 (Debian 12: gcc-mingw-w64-x86-64, wine64): fma() and fmaf() round twice, as a * b + c does.
#
# Behaviour: fmaf(a, a, c) and fma(d, e, c), where the product is halfway between two numbers and a small positive c decides.
# The program built for Windows prints the lower neighbours, which are the values of a * a + c and d * e + c.
# Seen: glibc 0x1.002002p+0 0x1.0000006000001p+0, Windows 0x1.002p+0 0x1.0000006p+0.
# A good engineer guesses that a fused multiply-add of <math.h> is one rounding, because C defines it so, and that a library
# emulates it slowly but exactly on a processor without the instruction. Wrong: of random triples about a quarter differ.
# Mechanism: the function multiplies, then adds, by SSE. It looks further only where that sum is not finite. The option -mfma
# puts the instruction in place of the call.
set -euo pipefail
wine=$(command -v wine64 || command -v wine || ls /usr/lib/wine/wine64 2> /dev/null || true)
if ! command -v gcc > /dev/null || ! command -v x86_64-w64-mingw32-gcc > /dev/null || [ -z "$wine" ]; then
    echo "SKIP: needs gcc, gcc-mingw-w64-x86-64 and wine64"
    exit 77
fi
tmp=$(mktemp -d)
export WINEPREFIX="$tmp/wine" WINEDEBUG=-all
trap '"$wine" wineboot -k > /dev/null 2>&1 || true; sleep 3; rm -rf "$tmp" || true' EXIT # the server writes a little longer
cat > "$tmp/f.c" <<'C'
#include <math.h>
#include <stdio.h>
int main(void) {
    volatile float a = 1 + 0x1p-12f;                 /* a * a = 1 + 2^-11 + 2^-24 */
    volatile double d = 1 + 0x1p-26, e = 1 + 0x1p-27; /* d * e = 1 + 3 * 2^-27 + 2^-53 */
    volatile double c = 0x1p-60;
    printf("%a %a\n", fmaf(a, a, (float)c), fma(d, e, c));
    return 0;
}
C
gcc -O1 "$tmp/f.c" -o "$tmp/f" -lm
x86_64-w64-mingw32-gcc -O1 "$tmp/f.c" -o "$tmp/f.exe"
x86_64-w64-mingw32-gcc -O1 -mfma "$tmp/f.c" -o "$tmp/g.exe"
here=$("$tmp/f")
windows=$("$wine" "$tmp/f.exe" 2> /dev/null | tr -d '\r')
echo "glibc $here, Windows $windows"
if grep -qw fma /proc/cpuinfo; then echo "Windows with -mfma $("$wine" "$tmp/g.exe" 2> /dev/null | tr -d '\r')"; fi
[ "$here" = "0x1.002002p+0 0x1.0000006000001p+0" ] && [ "$windows" != "$here" ] || { echo "the behaviour has changed"; exit 1; }
