#!/usr/bin/env bash
# ziglang 0.16.0 (the compiler as a pip package, clang 21): with -target x86_64-linux-gnu, a function with
# __attribute__((target("avx512f"))) cannot use 512-bit vectors.
#
# Behaviour: a function whose target is "avx512f" adds two __m512. zig cc -target x86_64-linux-gnu refuses it: "requires
# target feature 'evex512'". With the target "avx512f,evex512" it compiles.
# Seen: avx512f refused, avx512f,evex512 compiled.
# A good engineer guesses that a function's target attribute decides alone, as in gcc, and in clang 14, 16 and 19 with the same
# command line. A library that chooses its kernels at run time then compiles with all of these, and not with zig cc.
# Mechanism: clang 18 to 21 have a feature evex512 for 512-bit vectors, which "avx512f" implies unless it was disabled. zig
# names every feature of its baseline processor to clang, the missing ones as disabled, evex512 among them.
set -euo pipefail
if [ "$(uname -m)" != x86_64 ]; then
    echo "SKIP: needs x86-64"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile ziglang==0.16.0
export ZIG_GLOBAL_CACHE_DIR="$tmp/cache" ZIG_LOCAL_CACHE_DIR="$tmp/cache"
cat > "$tmp/f.c" <<'C'
#include <immintrin.h>
__attribute__((target(FEATURES))) void add(float *x) { _mm512_storeu_ps(x, _mm512_add_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(x))); }
C
build() { # features; prints whether zig cc compiles the function, and for which feature it asks
    if "$tmp/venv/bin/python" -m ziglang cc -target x86_64-linux-gnu -O2 "-DFEATURES=\"$1\"" -c "$tmp/f.c" -o "$tmp/f.o" 2> "$tmp/log"; then
        echo compiled
    else
        echo "refused $(grep -o "requires target feature '[a-z0-9]*'" "$tmp/log" | head -n 1)"
    fi
}
plain=$(build avx512f)
named=$(build avx512f,evex512)
echo "avx512f: $plain; avx512f,evex512: $named"
[ "$plain" = "refused requires target feature 'evex512'" ] && [ "$named" = compiled ] ||
    { echo "the behaviour has changed"; exit 1; }
