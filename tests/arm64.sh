#!/usr/bin/env bash
# The Python tests on AArch64 under qemu-user: Debian's Python for arm64, NumPy's wheel, the module compiled by setup.py
# or that of a wheel.
#
#   tests/arm64.sh [ARGUMENT…]     arguments of pytest; without any, all tests but those of `excluded`
#
# Runs on Debian 12 or newer, as any user. Needs the packages gcc-aarch64-linux-gnu, g++-aarch64-linux-gnu and qemu-user,
# and a Python with pip. Variables:
#   PYTHON        that Python (python)
#   ARM64_ROOT    a folder for the root, which the next run then reuses (a temporary folder)
#   ARM64_WHEEL   a wheel of rnnfast for AArch64, which is then tested; nothing is compiled
#   ARM64_CPU     a processor of `qemu-aarch64 -cpu help` (max); cortex-a72 has no SDOT
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python}
export ARM64_CPU=${ARM64_CPU:-max}
root=${ARM64_ROOT:-$(mktemp -d)}
[[ -n ${ARM64_ROOT:-} ]] || trap 'rm -rf "$root"' EXIT
mkdir -p "$root"
root=$(realpath "$root")
bin=$root/usr/bin

excluded=(
    # Both compile a program, which would have to start without qemu. `make neon` runs that of the first.
    tests/kernels/test_portable_bits.py
    "tests/test_examples.py::test_it_learns[c_header]"
    # A limit of memory holds for qemu too.
    tests/reliability/test_memory_limits.py::test_a_pass_without_memory_writes_nothing_and_the_next_is_right
)

# The packages and all that they depend on, with package lists of its own: the machine's dpkg sees none of it.
unpack_debian() {
    local apt=$root/apt
    local private=(
        -o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt"
        -o APT::Architecture=arm64 -o APT::Architectures=arm64
        -o APT::Install-Recommends=false -o "APT::Sandbox::User=$(id -un)"
    )
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    : >"$apt/status"
    apt-get "${private[@]}" -qq update
    apt-get "${private[@]}" -qq -y --download-only install python3-minimal libpython3-dev libpython3-stdlib libstdc++6
    for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$apt"
}

# `python` starts Debian's Python under qemu. Python takes its argument 0, this script, for sys.executable, so that
# subprocesses of the tests come here too, without binfmt_misc. `cc` and `c++` are found first on the PATH of the tests.
write_commands() {
    cat >"$bin/python" <<END
#!/bin/sh
exec $(command -v qemu-aarch64) -cpu "\${ARM64_CPU:-max}" -L "$root" -0 "\$0" "$(realpath "$bin/python3")" "\$@"
END
    chmod +x "$bin/python"
    ln -sf "$(command -v aarch64-linux-gnu-gcc)" "$bin/cc"
    ln -sf "$(command -v aarch64-linux-gnu-g++)" "$bin/c++"
}

# What building needs, and the tests' extras, as pyproject.toml names them: wheels for the root's C library or an older one.
extras=(test cli forecast examples onnx safetensors)
install_wheels() {
    local version=$1 site=$2 glibc platforms requirements
    glibc=$("$bin/python" -c "import os; print(os.confstr('CS_GNU_LIBC_VERSION').split('.')[1])")
    mapfile -t platforms < <(seq -f "--platform=manylinux_2_%g_aarch64" "$glibc" -1 17)
    mapfile -t requirements < <("$bin/python" -c "
import sys, tomllib
project = tomllib.load(open('pyproject.toml', 'rb'))
extras = project['project']['optional-dependencies']
print(*project['build-system']['requires'], *(line for name in sys.argv[1:] for line in extras[name]), sep='\n')
" "${extras[@]}")
    "$PYTHON" -m pip install --quiet --no-warn-conflicts --no-compile --target "$site" --only-binary=:all: \
        --python-version "$version" --platform=manylinux2014_aarch64 "${platforms[@]}" "${requirements[@]}"
}

for tool in apt-get dpkg-deb aarch64-linux-gnu-gcc aarch64-linux-gnu-g++ qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: see the top of $0" >&2; exit 1; }
done
[[ -e $bin/python ]] || { unpack_debian; write_commands; }
python=$(basename "$(realpath "$bin/python3")")  # python3.11
site=$root/usr/local/lib/$python/dist-packages
[[ -d $site ]] || install_wheels "${python#python}" "$site"
export PATH=$bin:$PATH
rm -rf "$site"/rnnfast*
if [[ -n ${ARM64_WHEEL:-} ]]; then
    "$PYTHON" -m zipfile -e "$ARM64_WHEEL" "$site"
    rm -rf "$root/tree"
    mkdir "$root/tree"
    cp -r tests conftest.py pyproject.toml "$root/tree"
    cd "$root/tree"
else
    pwd >"$site/rnnfast.pth"  # any process imports rnnfast from here, as after an editable installation
    # For the compiler, which runs outside qemu and would read the machine's own /usr/include/python3.*.
    export CPPFLAGS="-I$root/usr/include/$python -idirafter $root/usr/include"
    python setup.py --quiet build_ext --inplace
fi
python -c "import rnnfast; rnnfast.show_config()"
python -m pytest "${@:-tests}" "${excluded[@]/#/--deselect=}"
