"""Builds the one compiled module. Each csrc/isa/ file names its own instruction set, so that no machine flag is needed."""

import os
import sys
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

coverage = bool(os.environ.get("RNNFAST_COVERAGE"))  # gcov figures for C and Cython
flags = ["/O2"] if sys.platform == "win32" else ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-pthread"]

loops = Extension(
    "rnnfast._core.loops",
    sources=["rnnfast/_core/loops.pyx", *sorted(glob("csrc/*.c")), *sorted(glob("csrc/isa/*.c"))],
    depends=sorted(glob("csrc/**/*.h", recursive=True)),
    include_dirs=["csrc", numpy.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]
    + [("CYTHON_TRACE_NOGIL", "1")] * coverage,
    extra_compile_args=flags + ["-O1", "--coverage"] * coverage,
    extra_link_args=(["-pthread"] if sys.platform != "win32" else []) + ["--coverage"] * coverage,
)

setup(ext_modules=cythonize([loops], compiler_directives={"linetrace": coverage, "binding": False, "embedsignature": True}))
