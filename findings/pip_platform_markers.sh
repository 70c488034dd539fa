#!/usr/bin/env bash
# pip 26.3: --platform chooses wheels for another machine, but markers such as platform_machine keep asking this one, and
# a newer manylinux tag does not accept an older one.
#
# Behaviour: app needs "arm_part; platform_machine == 'aarch64'" and "x86_part; platform_machine == 'x86_64'". On x86-64,
# pip download app --platform manylinux_2_28_aarch64 takes the AArch64 wheel of app, drops arm_part and takes x86_part.
# A wheel tagged manylinux_2_17_aarch64 is "no matching distribution" for that platform, and any pip that runs on an
# AArch64 machine with glibc 2.28 installs it.
# Seen: app for AArch64 with x86_part; old: not found with 2_28 alone, found with 2_17 as well.
# A good engineer guesses that --platform names a machine: what pip downloads is what pip would install there. Wrong: a
# folder of wheels for an AArch64 container can lack a dependency, or hold one that is meant for x86-64, without an error.
# Mechanism: --platform replaces the list of accepted tags by exactly those given (manylinux2014 alone expands to its
# elders). Markers are evaluated by the running interpreter, which no option replaces.
set -euo pipefail
if [ "$(uname -m)" != x86_64 ]; then
    echo "SKIP: asks for AArch64 on x86-64"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile pip==26.3
mkdir "$tmp/index"
python3.11 - "$tmp/index" <<'PY'
import sys
from zipfile import ZipFile


def wheel(name, tag, *needs):
    """A wheel that holds nothing."""
    info = f"{name}-1.0.dist-info"
    with ZipFile(f"{sys.argv[1]}/{name}-1.0-py3-none-{tag}.whl", "w") as file:
        needed = "".join(f"Requires-Dist: {line}\n" for line in needs)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}")
        file.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-{tag}\n")
        file.writestr(f"{info}/RECORD", "")


needs = ("arm_part; platform_machine == 'aarch64'", "x86_part; platform_machine == 'x86_64'")
wheel("app", "manylinux_2_28_aarch64", *needs)
wheel("arm_part", "any")
wheel("x86_part", "any")
wheel("old", "manylinux_2_17_aarch64")
PY
download() { # package, folder, options
    "$tmp/venv/bin/pip" download -qq --no-index --find-links "$tmp/index" --only-binary=:all: -d "$tmp/$2" "${@:3}" "$1"
}
mkdir "$tmp/app" "$tmp/old"
download app app --platform manylinux_2_28_aarch64
printf "with app came: %s\n" "$(ls "$tmp/app")"
if download old old --platform manylinux_2_28_aarch64 2> /dev/null; then alone=found; else alone="not found"; fi
if download old old --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64; then both=found; else both="not found"; fi
echo "old: with 2_28 alone $alone, with 2_17 as well $both"
[ -e "$tmp/app/x86_part-1.0-py3-none-any.whl" ] && [ ! -e "$tmp/app/arm_part-1.0-py3-none-any.whl" ] &&
    [ "$alone/$both" = "not found/found" ] || { echo "the behaviour has changed"; exit 1; }
