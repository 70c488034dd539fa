"""The C API: plans give the bits of layers and streams, refuse what is wrong, and need no memory, no Python.

The modules under c_api/ are compiled in a folder of their own against the installed header and .pxd.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cases import lengths_and_reset

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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the modules are compiled."""
    folder = tmp_path_factory.mktemp("c_api")
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
    return folder


def loaded(folder: Path, name: str) -> ModuleType:
    """A module from that folder."""
    (path,) = folder.glob(f"{name}.*.so")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bridge(built: Path) -> ModuleType:
    return loaded(built, "bridge")


class Pair:
    """A layer, and plans with its weights."""

    def __init__(self, bridge, name, dtype="float32", *, B=3, I=4, H=17, L=2, D=1, T=6, bias=True, seed=0):
        layer, options, plan = LAYERS[name]
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

    def given(self):
        """The state as the layer takes it."""
        return self.state if len(self.state) > 1 else self.state[0]

    def state_of(self, plan) -> tuple[np.ndarray, ...]:
        found = tuple(np.full_like(part, np.nan) for part in self.state)
        plan.get_state(*found)
        return found


def parts(state) -> tuple[np.ndarray, ...]:
    return state if isinstance(state, tuple) else (state,)


def assert_same(got, want) -> None:
    for mine, theirs in zip(parts(got), parts(want), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "ragged"])
def test_run_gives_the_bits_of_the_layer(bridge, name, dtype, D, ragged):
    pair = Pair(bridge, name, dtype, D=D, L=3, bias=dtype == "float32")
    more = lengths_and_reset(pair.T, pair.B) if ragged else {}
    y, final = pair.layer(pair.x, pair.given(), **more)
    plan = pair.plan()
    plan.set_state(*pair.state)
    plan.run(pair.T, pair.x, pair.y, **more)
    assert_same(pair.y, y)
    assert_same(pair.state_of(plan), final)


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "ragged"])
def test_backward_gives_the_bits_of_the_layer(bridge, name, dtype, D, ragged):
    pair = Pair(bridge, name, dtype, D=D, L=3, bias=dtype == "float32")
    more = lengths_and_reset(pair.T, pair.B) if ragged else {}
    y, final, tape = pair.layer.forward(pair.x, pair.given(), **more)
    dy = pair.rng.normal(size=y.shape).astype(dtype)
    dstate = tuple(pair.rng.normal(size=part.shape).astype(dtype) for part in pair.state)
    wanted: dict[str, np.ndarray] = {}
    dx, dinitial = pair.layer.backward(tape, dy, dstate if len(dstate) > 1 else dstate[0], grads=wanted)

    plan = pair.plan(training=1)
    plan.set_state(*pair.state)
    plan.forward(pair.T, pair.x, pair.y, **more)
    assert_same(pair.y, y)
    assert_same(pair.state_of(plan), final)
    grads = {name: np.full_like(gradient, np.nan) for name, gradient in wanted.items()}
    got_dx = np.full_like(pair.x, np.nan)
    got = tuple(np.full_like(part, np.nan) for part in pair.state)
    names = ("dh", "dc")[: len(got)]
    plan.backward(
        pair.per_pass(grads),
        dy,
        dx=got_dx,
        **dict(zip(names, dstate, strict=True)),
        **{f"{name}_initial": part for name, part in zip(names, got, strict=True)},
    )
    assert_same(got_dx, dx)
    assert_same(got, dinitial)
    for key, gradient in wanted.items():
        np.testing.assert_array_equal(grads[key], gradient, err_msg=key)


@every_layer
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_lies_behind_a_reset_reaches_no_gradient(bridge, name, value):
    pair = Pair(bridge, name, D=2)
    plan = pair.plan(training=1)
    reset = np.zeros((pair.T, pair.B), bool)
    reset[[2, 4]] = True
    dy = np.ones_like(pair.y)
    dy[2:4] = 0
    found = []
    for pair.x[2:4, 1] in (1, value):
        grads = {name: np.full_like(p.data, np.nan) for name, p in pair.layer.named_parameters()}
        dx = np.full_like(pair.x, np.nan)
        plan.set_state(None, None)
        plan.forward(pair.T, pair.x, pair.y, reset=reset)
        plan.backward(pair.per_pass(grads), dy, dx=dx)
        found.append({"dx": dx, **grads})
    for key, array in found[0].items():
        np.testing.assert_array_equal(found[1][key], array, err_msg=key)


@pytest.mark.parametrize("clip", [5e-324, 1e-40, 1e39])
def test_a_clip_of_any_size_is_the_layer_s(bridge, clip):
    pair = Pair(bridge, "lstm")
    pair.layer = rf.LSTM(pair.I, 17, pair.L, cell_clip=clip, rng=0)
    plan = pair.plan(cell_clip=clip)
    plan.run(pair.T, pair.x, pair.y)
    np.testing.assert_array_equal(pair.y, pair.layer(pair.x)[0])
    assert pair.y.any() == (clip > 1)


def test_backward_leaves_out_what_is_not_wanted_and_takes_none_for_zero(bridge):
    pair = Pair(bridge, "lstm", D=2)
    plan = pair.plan(training=1)
    grads = {name: np.full_like(p.data, np.nan) for name, p in pair.layer.named_parameters()}
    plan.forward(pair.T, pair.x, pair.y)
    plan.backward(pair.per_pass(grads))
    assert not any(gradient.any() for gradient in grads.values())
    _, _, tape = pair.layer.forward(pair.x)
    pair.layer.backward(tape, pair.y, input_grad=False)
    plan.set_state(None, None)
    plan.forward(pair.T, pair.x, pair.y)
    plan.backward(pair.per_pass(grads), pair.y)
    for name, parameter in pair.layer.named_parameters():
        np.testing.assert_array_equal(grads[name], parameter.grad)


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_give_the_bits_of_the_stream(bridge, name, dtype, isa):
    pair = Pair(bridge, name, dtype)
    plan, stream = pair.plan(max_steps=0), pair.layer.stream(pair.B)
    mask = np.array([True, False, True])
    for t, x in enumerate(pair.x):
        if t == 3:
            plan.reset(mask)
            stream.reset(mask)
        plan.step(x, pair.y[t])
        np.testing.assert_array_equal(pair.y[t], stream(x))
    assert_same(pair.state_of(plan), stream.state)
    plan.reset()
    assert not any(part.any() for part in pair.state_of(plan))


@every_layer
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "ragged"])
def test_dx_and_the_state_have_their_bits_without_the_weights_gradients(
    bridge, name, threads, ragged, restored
):
    _core.force_split("units")
    pair = Pair(bridge, name, D=2, T=40)
    more = lengths_and_reset(pair.T, pair.B) if ragged else {}
    dy = pair.rng.normal(size=pair.y.shape).astype(np.float32)
    grads = pair.per_pass({name: np.empty_like(p.data) for name, p in pair.layer.named_parameters()})
    names = ("dh_initial", "dc_initial")[: len(pair.state)]
    plan, found = pair.plan(training=1, threads=threads), []
    for weights in (grads, None):
        out = [np.full_like(array, np.nan) for array in (pair.x, *pair.state)]
        plan.set_state(*pair.state)
        plan.forward(pair.T, pair.x, pair.y, **more)
        plan.backward(weights, dy, dx=out[0], **dict(zip(names, out[1:], strict=True)))
        found.append(tuple(out))
    assert_same(found[1], found[0])
    assert found[0][0].any()


def test_runs_and_steps_go_on_from_each_other(bridge):
    pair = Pair(bridge, "lstm", T=9)
    y, final = pair.layer(pair.x)
    plan = pair.plan(training=1)
    plan.run(3, pair.x, pair.y)
    plan.step(pair.x[3], pair.y[3])
    plan.forward(4, pair.x[4:], pair.y[4:])
    plan.run(0, None, None)
    plan.step(pair.x[8], pair.y[8])
    assert_same(pair.y, y)
    assert_same(pair.state_of(plan), final)


@pytest.mark.parametrize("split", ["rows", "units"])
@pytest.mark.parametrize("name", ["lstm-peephole", "lstm-projection", "gru", "gru-reset-before"])
def test_threads_do_not_change_a_bit(bridge, name, split, restored):
    rf.set_num_threads(1)
    pair = Pair(bridge, name, B=5, I=40, H=70, D=2)
    more = lengths_and_reset(pair.T, pair.B)
    y, _, tape = pair.layer.forward(pair.x, **more)
    wanted: dict[str, np.ndarray] = {}
    dx, _ = pair.layer.backward(tape, y, grads=wanted)
    stepped = Pair(bridge, name, B=5, I=40, H=70)
    expected = [*map(stepped.layer.stream(5), stepped.x)]
    _core.force_split(split)
    plan = pair.plan(training=1, threads=2)
    plan.forward(pair.T, pair.x, pair.y, **more)
    assert_same(pair.y, y)
    grads, got_dx = (
        {name: np.empty_like(gradient) for name, gradient in wanted.items()},
        np.empty_like(pair.x),
    )
    plan.backward(pair.per_pass(grads), y.copy(), dx=got_dx)
    assert_same(got_dx, dx)
    for key, gradient in wanted.items():
        np.testing.assert_array_equal(grads[key], gradient, err_msg=key)
    plan = stepped.plan(threads=2)
    for x, want in zip(stepped.x, expected, strict=True):
        plan.step(x, stepped.y[0])
        np.testing.assert_array_equal(stepped.y[0], want)


def test_plans_in_different_threads_are_independent(bridge, restored):
    _core.force_split("units")
    pairs = [Pair(bridge, "gru", T=200, H=40 + n, seed=n) for n in range(3)]
    wanted = [pair.layer(pair.x)[0] for pair in pairs]
    plans = [pair.plan(threads=2) for pair in pairs]

    def often(pair, plan):
        for _ in range(20):
            plan.reset()
            plan.run(pair.T, pair.x, pair.y)

    runners = [threading.Thread(target=often, args=both) for both in zip(pairs, plans, strict=True)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    for pair, want in zip(pairs, wanted, strict=True):
        assert_same(pair.y, want)


@pytest.mark.parametrize("name", ["lstm-peephole", "gru"])
def test_weights_are_a_copy_until_they_are_refreshed(bridge, name):
    pair = Pair(bridge, name)
    before, _ = pair.layer(pair.x)
    plan = pair.plan(training=1)
    for parameter in pair.layer.parameters():
        parameter.data *= 0.5
    after, _ = pair.layer(pair.x)
    assert not np.array_equal(before, after)
    plan.run(pair.T, pair.x, pair.y)
    assert_same(pair.y, before)
    plan.refresh(pair.weights())
    plan.reset()
    plan.forward(pair.T, pair.x, pair.y)
    assert_same(pair.y, after)


REFUSED = {  # options, and words of the message
    "no sizes": ({"input_size": 0}, "options.input_size: expected 1 to"),
    "hidden": ({"hidden_size": -1}, "options.hidden_size: expected 1 to 2147483647, got -1"),
    "cell": ({"cell": 3}, "options.cell: expected RNNFAST_RNN, RNNFAST_LSTM or RNNFAST_GRU, got 3"),
    "dtype": ({"dtype": 2}, "options.dtype: expected"),
    "nonlinearity": ({"nonlinearity": 4}, "options.nonlinearity: expected"),
    "projection": ({"proj_size": 17}, "options.proj_size: expected 0 to hidden_size - 1, got 17"),
    "other cell": ({"reset_before": 1}, "reset_before belongs to RNNFAST_GRU"),
    "clip": ({"cell_clip": float("nan")}, "options.cell_clip: expected"),
    "layers": ({"num_layers": -1}, "options.num_layers: expected"),
    "batch": ({"batch": -2}, "options.batch: expected"),
    "steps": ({"max_steps": -1}, "options.max_steps: expected"),
    "threads": ({"threads": 1000}, "options.threads: expected 0 to 256, got 1000"),
    "newer": ({"struct_size": 10_000}, "options.struct_size: expected"),
    "too large": ({"max_steps": 2**31 - 1, "batch": 2**31 - 1, "training": 1}, "create: no memory"),
    "missing": ({"proj_size": 5}, "weights[0].weight_hr: expected a pointer if there is a proj_size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_plan_that_cannot_be_is_refused(bridge, case):
    options, message = REFUSED[case]
    pair = Pair(bridge, "lstm")
    with pytest.raises(bridge.Refused) as refused:
        pair.plan(**options)
    assert message in refused.value.args[1]


def test_weights_that_are_missing_or_too_many_are_refused(bridge):
    pair = Pair(bridge, "lstm")
    spare = np.zeros(17, np.float32)
    for change, message in {
        "weight_ih": "weights[1].weight_ih: expected a pointer, got NULL",
        "weight_hh": "weights[1].weight_hh: expected a pointer, got NULL",
        "weight_hr": "weights[1].weight_hr: expected",
        "weight_ci": "weights[1].weight_ci: expected all peepholes or none, got a pointer",
        "weight_cf": "weights[1].weight_cf: expected",
        "weight_co": "weights[1].weight_co: expected peepholes in all passes or in none, got a pointer",
    }.items():
        weights = pair.weights()
        weights[1][change] = None if change in weights[1] else spare
        for call in (lambda: bridge.Plan(weights, pair.options), lambda: pair.plan().refresh(weights)):  # noqa: B023
            with pytest.raises(bridge.Refused) as refused:
                call()
            assert message in refused.value.args[1]
    with pytest.raises(bridge.Refused, match="weights: expected a pointer, got NULL"):
        bridge.Plan([], pair.options)
    weights = pair.weights()
    del weights[0]["bias_hh"]
    with pytest.raises(
        bridge.Refused, match=r"weights\[0\].bias_hh: expected as the plan was made, got NULL"
    ):
        pair.plan().refresh(weights)


def test_arguments_that_cannot_be_are_refused_before_anything_is_written(bridge):
    pair = Pair(bridge, "gru")
    plan, training, both = pair.plan(), pair.plan(training=1), Pair(bridge, "gru", D=2).plan()
    training.forward(pair.T, pair.x, pair.y)
    pair.y[:] = np.nan
    h = np.zeros_like(pair.state[0])
    long = np.array([0, 7, 1])
    grads = pair.per_pass({name: np.empty_like(p.data) for name, p in pair.layer.named_parameters()})
    less = [{**grads[0], "bias_ih": None}, grads[1]]
    step_alone = pair.plan(max_steps=0)
    calls = [
        (
            lambda: step_alone.run(6, pair.x, pair.y),
            bridge.INVALID,
            "T: expected 0, got 6: the plan was made with options.max_steps 0, for `step` alone; "
            "set options.max_steps to the largest T before `create`",
        ),
        (
            lambda: step_alone.run(-1, pair.x, pair.y),
            bridge.INVALID,
            "T: expected 0 to 0 (max_steps), got -1",
        ),
        (lambda: plan.run(7, pair.x, pair.y), bridge.INVALID, "T: expected 0 to 6 (max_steps), got 7"),
        (lambda: plan.run(-1, pair.x, pair.y), bridge.INVALID, "T: expected 0 to 6 (max_steps), got -1"),
        (lambda: plan.run(6, None, pair.y), bridge.INVALID, "x: expected a pointer, got NULL"),
        (lambda: plan.run(6, pair.x, None), bridge.INVALID, "y: expected a pointer, got NULL"),
        (lambda: plan.run(6, pair.x, pair.y, long), bridge.INVALID, "lengths[1]: expected 0 to 6 (T), got 7"),
        (lambda: plan.step(None, pair.y), bridge.INVALID, "x: expected"),
        (lambda: plan.step(pair.x, None), bridge.INVALID, "y: expected"),
        (lambda: both.step(pair.x, pair.y), bridge.INVALID, "expected a plan in one direction"),
        (lambda: plan.forward(6, pair.x, pair.y), bridge.INVALID, "made with options.training"),
        (
            lambda: plan.backward(grads),
            bridge.INVALID,
            "backward: expected a plan made with options.training",
        ),
        (
            lambda: training.backward(less),
            bridge.INVALID,
            "gradients.weights[0].bias_ih: expected as the plan",
        ),
        (lambda: training.backward(grads, dc=h), bridge.INVALID, "gradients.dc: expected NULL"),
        (
            lambda: training.backward(grads, dc_initial=h),
            bridge.INVALID,
            "gradients.dc_initial: expected NULL",
        ),
        (lambda: plan.get_state(h, h), bridge.INVALID, "c: expected NULL, as the cell has no c"),
        (lambda: plan.set_state(h, h), bridge.INVALID, "c: expected NULL, as the cell has no c"),
    ]
    for call, code, message in calls:
        with pytest.raises(bridge.Refused) as refused:
            call()
        assert refused.value.args[0] == code
        assert message in refused.value.args[1]
    assert np.isnan(pair.y).all()
    training.backward(grads)  # none of them has used the forward up
    for code, message in bridge.without_a_plan():
        assert (code, message) == (bridge.INVALID, "plan: expected a pointer, got NULL")


def test_backward_needs_a_forward_that_nothing_has_overtaken(bridge):
    pair = Pair(bridge, "lstm")
    plan = pair.plan(training=1)
    grads = pair.per_pass({name: np.empty_like(p.data) for name, p in pair.layer.named_parameters()})
    for between in (
        lambda: plan.backward(grads),
        lambda: plan.run(1, pair.x, pair.y),
        lambda: plan.refresh(pair.weights()),
    ):
        plan.forward(pair.T, pair.x, pair.y)
        between()
        with pytest.raises(bridge.Refused) as refused:
            plan.backward(grads)
        assert refused.value.args[0] == bridge.ORDER
    plan.forward(pair.T, pair.x, pair.y)
    plan.step(pair.x[0], pair.y[0].copy())  # steps and states are no part of it
    plan.reset()
    plan.backward(grads)


@pytest.mark.parametrize("probe", ["probe", "probe_cpp"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_thread_without_python_works_while_another_holds_the_gil(bridge, built, probe, threads, restored):
    layer = rf.LSTM(5, 40, rng=0)
    x = np.random.default_rng(0).normal(size=(30, 2, 5)).astype(np.float32)
    y, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, y)
    _core.force_split("units")
    weights = tuple(parameter.data for parameter in layer.parameters())
    grads = tuple(map(np.empty_like, weights))
    stepped, got, got_dx = np.empty_like(y), np.empty_like(y), np.empty_like(x)
    loaded(built, probe).run(*weights, *grads, x, stepped, got, got_dx, 2, 5, 40, threads, True)
    assert_same((stepped, got, got_dx), (y, y, dx))
    for gradient, parameter in zip(grads, layer.parameters(), strict=True):
        np.testing.assert_array_equal(gradient, parameter.grad)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts calls of glibc's allocator")
def test_steps_and_passes_allocate_nothing(built):
    program = """
import sys
import numpy as np, rnnfast as rf
from rnnfast import _core
import probe
layer = rf.LSTM(5, 40, rng=0)
x = np.zeros((300, 2, 5), np.float32)
y, dx = np.empty((300, 2, 40), np.float32), np.empty_like(x)
weights = [parameter.data for parameter in layer.parameters()]
grads = [np.empty_like(weight) for weight in weights]
_core.force_split("units")
rf.set_num_threads(2)
layer(x)  # starts the workers
for threads in (1, 2):
    for apart in (False, True):
        print(probe.run(*weights, *grads, x, y, y, dx, 2, 5, 40, threads, apart))
"""
    (counter,) = built.glob("allocations.*.so")
    environment = os.environ | {"LD_PRELOAD": str(counter), "PYTHONPATH": f"{PACKAGE}{os.pathsep}{built}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0"] * 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_plans_give_their_memory_back(bridge):
    pair = Pair(bridge, "lstm", H=128, T=50)
    grads = pair.per_pass({name: np.empty_like(p.data) for name, p in pair.layer.named_parameters()})

    def resident() -> float:
        """MB."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def once() -> None:
        plan = pair.plan(training=1)  # of some 5 MB
        plan.forward(pair.T, pair.x, pair.y)
        plan.backward(grads)
        with pytest.raises(bridge.Refused):
            pair.plan(cell=7)

    for _ in range(5):
        once()
    before = resident()
    for _ in range(40):
        once()
    assert resident() - before < 20


def test_another_version_of_the_table_is_refused_with_both_named(bridge, built, monkeypatch):
    probe = loaded(built, "probe")
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    size, name = bridge.SIZES["table"], b"rnnfast._core._C_API"

    class Start(ctypes.Structure):
        _fields_ = (("struct_size", ctypes.c_size_t), ("version", ctypes.c_int32))

    for start, words in (
        (
            Start(size, 2),
            f"version 1 of its C API .a table of {size} bytes.*has version 2 .*compile the module again",
        ),
        (Start(size, 0), "has version 0 .*install a newer rnnfast"),
        (Start(size - 8, 1), f"has version 1 .{size - 8} bytes.: install a newer rnnfast"),
    ):
        monkeypatch.setattr(_core, "_C_API", new(ctypes.addressof(start), name, None))
        with pytest.raises(ImportError, match=words):
            probe.load()
    monkeypatch.setattr(_core, "_C_API", new(ctypes.addressof(Start(size + 8, 1)), name, None))
    probe.load()  # a table that has grown serves what was compiled before


def test_the_module_of_the_page_builds_as_it_stands_and_gives_the_bits_of_the_layer(tmp_path):
    page = (ROOT / "docs/bridges/c.md").read_text()
    (source,) = re.findall(r"```c\n(/\* mine\.c.*?)```", page, re.DOTALL)
    (setup,) = re.findall(r"```py\n(# setup\.py\n.*?)```", page, re.DOTALL)
    (use,) = re.findall(r"```py\n(# try\.py\n.*?)```", page, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(python setup\.py .*?)```", page, re.DOTALL)
    for name, content in (("mine.c", source), ("setup.py", setup), ("try.py", use)):
        (tmp_path / name).write_text(content)
    environment = os.environ | {"PYTHONPATH": PACKAGE, "CFLAGS": "-Wall -Wextra -Werror"}
    environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + environment["PATH"]
    done = subprocess.run(
        commands, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the bits of the layer: True\n")


def test_the_examples_run(built):
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=built, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "us from C" in done.stdout


def test_the_documented_module_gives_the_gradients_of_the_layer(built):
    rnn = rf.RNN(3, 8, bias=False, rng=0)
    x = np.random.default_rng(0).normal(size=(7, 4, 3)).astype(np.float32)
    y, _, tape = rnn.forward(x)
    rnn.backward(tape, np.ones_like(y))
    got = loaded(built, "gradient").gradient(x, rnn.weight_ih_l0.data, rnn.weight_hh_l0.data)
    assert_same(got, (rnn.weight_ih_l0.grad, rnn.weight_hh_l0.grad))
