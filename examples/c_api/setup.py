"""Builds both examples beside their sources: python setup.py build_ext --inplace."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import rnnfast as rf

setup(
    name="rnnfast-c-api-examples",
    ext_modules=cythonize(
        [
            Extension(name, [source], include_dirs=[rf.get_include()])
            for name, source in (("steps", "steps.c"), ("descent", "descent.pyx"))
        ]
    ),
)
