"""Builds the one compiled module. Each csrc/isa/ file names its own instruction set, so no flag has to."""

import os
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

BUILDING = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}


def compiler_is_there() -> bool:
    """Whether the C compiler that setuptools would call can be found."""
    from distutils.ccompiler import new_compiler  # setuptools' own: it must be imported first
    from distutils.sysconfig import customize_compiler

    compiler = new_compiler()
    try:
        customize_compiler(compiler)
        if compiler.compiler_type == "msvc":
            compiler.initialize()
            return True
        return shutil.which(compiler.compiler_so[0]) is not None
    except (IndexError, PlatformError):  # CC is empty; there is no Visual Studio
        return False


def missing() -> str | None:
    """What to install before anything can be compiled."""
    if not compiler_is_there():
        return (
            "error: rnnfast is compiled when it is installed: install a C compiler first "
            "(Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc; "
            "macOS: xcode-select --install; Windows: Visual Studio Build Tools, C++), "
            "or let CC name one that is there"
        )
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        return (
            "error: rnnfast is compiled when it is installed: install the headers of this Python first "
            "(Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)"
        )
    return None


if BUILDING & set(sys.argv) and (reason := missing()):  # before the first line of the build
    raise SystemExit(reason)


class ParallelBuild(build_ext):
    """Compiles several files of an extension at a time."""

    JOBS = min(4, os.cpu_count() or 1)  # a compiler needs up to 700 MB

    def build_extensions(self) -> None:
        compile_files = self.compiler.compile

        def compile_in_parallel(sources, *arguments, **keywords):
            with ThreadPoolExecutor(self.JOBS) as pool:
                objects = pool.map(lambda source: compile_files([source], *arguments, **keywords), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_in_parallel
        super().build_extensions()


coverage = bool(os.environ.get("RNNFAST_COVERAGE"))  # gcov figures for C and Cython
# One wheel for Python 3.11 and all later ones but the free-threaded, which have no stable ABI.
abi3 = (
    bool(os.environ.get("RNNFAST_ABI3"))
    and sys.version_info >= (3, 11)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
sanitizers = os.environ.get("RNNFAST_SANITIZE")  # as -fsanitize= takes them, such as "address,undefined"
linked = []  # what is said to the compiler and to the linker
compiled = []  # to the compiler alone
if coverage:
    linked, compiled = ["--coverage"], ["-O1", "-fprofile-update=atomic"]
elif sanitizers:  # unoptimized, with calls for ASan's checks: kernels would take ten times as long to compile
    linked = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    compiled = ["-O0", "-g1", "--param", "asan-instrumentation-with-call-threshold=0"]
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
        *[("Py_LIMITED_API", "0x030b0000")] * abi3,
    ],
    py_limited_api=abi3,
    extra_compile_args=flags + linked + compiled,
    extra_link_args=(["-pthread"] if sys.platform != "win32" else []) + linked,
)

setup(
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
    cmdclass={"build_ext": ParallelBuild},
    ext_modules=cythonize(
        [loops],
        force=coverage,
        emit_linenums=coverage,
        compiler_directives={"binding": False, "embedsignature": True},
    ),
)
