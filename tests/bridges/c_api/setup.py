"""Builds the modules of the tests of the C API, the examples and that of the documentation, in place.

Against the rnnfast that is installed.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup

import rnnfast as rf

how = {"include_dirs": [rf.get_include()]}
setup(
    name="c_api",
    ext_modules=[
        *cythonize([Extension(name, [f"{name}.pyx"], **how) for name in ("bridge", "gradient", "descent")]),
        Extension("steps", ["steps.c"], **how),
        Extension("probe", ["probe.c"], libraries=["dl"], **how),
        Extension("probe_cpp", ["probe_cpp.cpp"], libraries=["dl"], **how),
        Extension("allocations", ["allocations.c"], extra_link_args=["-Wl,-Bsymbolic"]),
    ],
    script_args=["-q", "build_ext", "--inplace"],
)
