"""Plans of the C API and layers with the same weights; the modules of c_api/, compiled and loaded."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.arrays import parts

import rnnfast as rf
from rnnfast import _core

pytest.importorskip("Cython")
pytest.importorskip("setuptools")

headers = Path(sysconfig.get_path("include")) / "Python.h"
compilers = [any(map(shutil.which, names)) for names in (("cc", "gcc", "clang"), ("c++", "g++", "clang++"))]
if sys.platform == "win32" or not all(compilers) or not headers.exists():
    pytest.skip("needs a C and a C++ compiler, Python.h and POSIX threads", allow_module_level=True)

SOURCES = Path(__file__).parent / "c_api"
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "c_api"
PACKAGE = str(Path(rf.__file__).parents[1])
LAYERS = {  # a layer's class and keywords, and the same of a plan
    "rnn": (rf.RNN, {}, {"cell": "rnn"}),
    "rnn-relu": (rf.RNN, {"nonlinearity": "relu"}, {"cell": "rnn"}),
    "rnn-sigmoid": (rf.RNN, {"nonlinearity": "sigmoid"}, {"cell": "rnn"}),
    "rnn-identity": (rf.RNN, {"nonlinearity": "identity"}, {"cell": "rnn"}),
    "lstm": (rf.LSTM, {}, {"cell": "lstm"}),
    "lstm-peephole": (rf.LSTM, {"peephole": True}, {"cell": "lstm"}),
    "lstm-coupled": (rf.LSTM, {"coupled_gates": True}, {"cell": "lstm", "coupled_gates": 1}),
    "lstm-clip": (rf.LSTM, {"cell_clip": 0.3}, {"cell": "lstm", "cell_clip": 0.3}),
    "lstm-projection": (rf.LSTM, {"proj_size": 5}, {"cell": "lstm", "proj_size": 5}),
    "lstm-all": (
        rf.LSTM,
        {"peephole": True, "coupled_gates": True, "cell_clip": 0.3, "proj_size": 5},
        {"cell": "lstm", "coupled_gates": 1, "cell_clip": 0.3, "proj_size": 5},
    ),
    "gru": (rf.GRU, {}, {"cell": "gru"}),
    "gru-reset-before": (rf.GRU, {"reset_after": False}, {"cell": "gru", "reset_before": 1}),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
TRAINED = {  # dtype and matmul_precision
    "float32": ("float32", "float32"),
    "float64": ("float64", "float32"),
    "bfloat16": ("float32", "bfloat16"),
}
EVALUATED = {**TRAINED, **{name: ("float32", name) for name in _core.PRECISIONS}}  # int8: no gradient
every_arithmetic, every_trained_arithmetic = (
    pytest.mark.parametrize(("dtype", "precision"), table.values(), ids=table)
    for table in (EVALUATED, TRAINED)
)


def compile_modules(folder: Path) -> None:
    """Compile the modules of c_api/, the examples and the documented module in a folder."""
    for source in (*SOURCES.iterdir(), *EXAMPLES.glob("*.[cp]*")):
        if source.name != "setup.py" or source.parent == SOURCES:
            shutil.copy(source, folder)
    (page,) = re.findall(
        r"```cython\n(# gradient\.pyx\n.*?)```", (ROOT / "docs/bridges/c.md").read_text(), re.DOTALL
    )
    (folder / "gradient.pyx").write_text(f"# cython: language_level=3\n{page}")
    environment = os.environ | {"PYTHONPATH": PACKAGE, "CFLAGS": "-O0"}  # quick to compile
    done = subprocess.run(
        [sys.executable, "setup.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def load_module(folder: Path, name: str) -> ModuleType:
    """A module that is compiled in the folder."""
    (path,) = folder.glob(f"{name}.*.so")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pair:
    """A layer, and plans with its weights."""

    def __init__(
        self,
        bridge,
        name,
        dtype="float32",
        precision="float32",
        *,
        B=3,
        I=4,
        H=17,
        L=2,
        D=1,
        T=6,
        bias=True,
        seed=0,
    ):
        layer, options, plan = LAYERS[name]
        options = {**options, "matmul_precision": precision}
        self.layer = layer(I, H, L, bias=bias, bidirectional=D == 2, dtype=dtype, rng=seed, **options)
        self.bridge, self.T, self.B, self.I, self.L, self.D = bridge, T, B, I, L, D
        self.options = {
            "dtype": bridge.DTYPES[dtype],
            "nonlinearity": bridge.NONLINEARITIES[options.get("nonlinearity", "tanh")],
            "bidirectional": D == 2,
            "input_size": I,
            "hidden_size": H,
            "num_layers": L,
            "batch": B,
            "max_steps": T,
            "matmul_precision": bridge.PRECISIONS[precision],
            **plan,
            "cell": bridge.CELLS[plan["cell"]],
        }
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=(T, B, I)).astype(dtype)
        _, zero = self.layer(self.x[:0])
        self.state = tuple(rng.normal(size=part.shape).astype(dtype) for part in parts(zero))
        self.y = np.full((T, B, D * self.state[0].shape[-1]), np.nan, dtype)
        self.rng = rng

    def per_pass(self, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Arrays under a layer's names, for each pass under the plan's."""
        suffixes = [f"_l{n}{side}" for n in range(self.L) for side in ("", "_reverse")[: self.D]]
        return [
            {name.removesuffix(suffix): array for name, array in arrays.items() if name.endswith(suffix)}
            for suffix in suffixes
        ]

    def weights(self) -> list[dict[str, np.ndarray]]:
        return self.per_pass({name: p.data for name, p in self.layer.named_parameters()})

    def plan(self, **options):
        return self.bridge.Plan(self.weights(), self.options | options)

    def state_of(self, plan) -> tuple[np.ndarray, ...]:
        found = tuple(np.full_like(part, np.nan) for part in self.state)
        plan.get_state(*found)
        return found
