"""The C API refuses wrong options, weights, arguments, calls out of order and other versions."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from bridges.plans import Pair, load_module

from rnnfast import _core

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
    "a part of a field": ({"struct_size": 92}, "options.struct_size: expected"),
    "too large": ({"max_steps": 2**31 - 1, "batch": 2**31 - 1, "training": 1}, "create: no memory"),
    "precision": (
        {"matmul_precision": 4},
        "options.matmul_precision: expected RNNFAST_FLOAT32, RNNFAST_BFLOAT16 or RNNFAST_INT8, got 4",
    ),
    "a dtype as precision": ({"matmul_precision": 1}, "options.matmul_precision: expected"),
    "a precision as dtype": (
        {"dtype": 2},
        "options.dtype: expected RNNFAST_FLOAT32 or RNNFAST_FLOAT64, got 2",
    ),
    "bfloat16 of float64": (
        {"dtype": 1, "matmul_precision": 2},
        "options.matmul_precision: expected RNNFAST_FLOAT32 (the default) with dtype RNNFAST_FLOAT64, got 2",
    ),
    "int8 of float64": ({"dtype": 1, "matmul_precision": 3}, "with dtype RNNFAST_FLOAT64, got 3"),
    "training in int8": (
        {"training": 1, "matmul_precision": 3},
        "options.training: expected 0 with RNNFAST_INT8, which has no gradient",
    ),
    "missing": ({"proj_size": 5}, "weights[0].weight_hr: expected a pointer if there is a proj_size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_options_of_a_plan_are_refused(bridge, case):
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
        "weight_ci": "weights[1].weight_ci: expected all peepholes in all passes, or none, got a pointer",
        "weight_cf": "weights[1].weight_cf: expected",
        "weight_co": "weights[1].weight_co: expected all peepholes in all passes, or none, got a pointer",
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


def test_wrong_arguments_are_refused_before_anything_is_written(bridge):
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


def test_backward_needs_the_latest_forward(bridge):
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


def test_another_version_of_the_table_is_refused_with_both_named(bridge, built, monkeypatch):
    probe = load_module(built, "probe")
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
