"""Builds the one compiled module. Each csrc/isa/ file names its own instruction set, so no flag has to."""

import os
import sys
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

coverage = bool(os.environ.get("RNNFAST_COVERAGE"))  # gcov figures for C and Cython
flags = (
    ["/O2"]
    if sys.platform == "win32"
    else ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden", "-pthread"]
)

loops = Extension(
    "rnnfast._core.loops",
    sources=["rnnfast/_core/loops.pyx", *sorted(glob("csrc/**/*.c", recursive=True))],
    depends=sorted(
        [
            *glob("csrc/**/*.h", recursive=True),
            *glob("rnnfast/_core/*.px[di]"),
            "rnnfast/capi.pxd",
            "rnnfast/include/rnnfast.h",
        ]
    ),
    include_dirs=["csrc", "rnnfast/include", numpy.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_1_25_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION"),
    ],
    extra_compile_args=flags + ["-O1", "--coverage", "-fprofile-update=atomic"] * coverage,
    extra_link_args=(["-pthread"] if sys.platform != "win32" else []) + ["--coverage"] * coverage,
)

setup(
    ext_modules=cythonize(
        [loops],
        force=coverage,
        emit_linenums=coverage,
        compiler_directives={"binding": False, "embedsignature": True},
    )
)
