"""`functional` and `reference` share names and signatures, and name what is wrong with an argument."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from cases import GATES, VARIANTS, backward, forward, make

from rnnfast import functional, reference

all_variants = pytest.mark.parametrize("variant", VARIANTS)
both_modules = pytest.mark.parametrize("module", [reference, functional], ids=["reference", "functional"])


# What the reference can do and the kernels cannot yet.
AHEAD = {
    "lstm_forward": {"weight_hr", "weight_ci", "weight_cf", "weight_co", "coupled_gates", "cell_clip"},
    "gru_forward": {"reset_after"},
}


def test_same_names_and_signatures():
    assert sorted(functional.__all__) == sorted(reference.__all__)
    for cell in GATES:
        for direction in ("forward", "backward"):
            fast, plain = (getattr(module, f"{cell}_{direction}") for module in (functional, reference))
            parameters, expected = (inspect.signature(function).parameters for function in (fast, plain))
            ahead = AHEAD.get(plain.__name__, set())
            assert list(parameters) == [name for name in expected if name not in ahead]
            for name, parameter in parameters.items():
                assert (parameter.kind, parameter.default) == (expected[name].kind, expected[name].default)


@both_modules
@all_variants
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x", (4, 3)),
        ("weight_ih", (3, 3)),
        ("weight_hh", (7, 5)),
        ("weight_hh", (5,)),
        ("bias_ih", (1,)),
        ("bias_hh", (2, 2)),
    ],
    ids=str,
)
def test_a_wrong_shape_is_named(module, variant, name, shape):
    case = make(variant, 4, 2, 3, 5)
    arguments = {"x": case.x, **case.weights, name: np.zeros(shape)}
    with pytest.raises(ValueError, match=rf"^{name}: expected shape \[.*got \("):
        getattr(module, f"{case.cell}_forward")(**arguments)


@both_modules
@all_variants
def test_a_wrong_dtype_is_named(module, variant):
    case = make(variant, 4, 2, 3, 5)
    for name in ("x", *case.weights):
        arguments = {"x": case.x, **case.weights}
        arguments[name] = arguments[name].astype(np.int64)
        with pytest.raises(TypeError, match=rf"^{name}: expected dtype float32 or float64, got int64"):
            getattr(module, f"{case.cell}_forward")(**arguments)


@both_modules
@all_variants
def test_a_wrong_state_or_gradient_is_named(module, variant):
    case = make(variant, 4, 2, 3, 5)
    _, tape = forward(module, case)
    wrong = tuple(np.zeros((2, 4)) for _ in case.state)
    with pytest.raises(ValueError, match=r"^state(\[0\])?: expected shape \[2, 5\], got \(2, 4\)"):
        forward(module, case._replace(state=wrong))
    with pytest.raises(ValueError, match=r"^dstate(\[0\])?: expected shape \[2, 5\], got \(2, 4\)"):
        backward(module, case._replace(dstate=wrong), tape)
    with pytest.raises(ValueError, match=r"^dy: expected shape \[4, 2, 5\], got \(4, 2, 3\)"):
        backward(module, case._replace(dy=case.x), tape)


@both_modules
def test_other_wrong_arguments_are_named(module):
    case = make("lstm", 4, 2, 3, 5)
    with pytest.raises(TypeError, match=r"^state: expected a pair \(h, c\), got ndarray"):
        module.lstm_forward(case.x, **case.weights, state=np.zeros((2, 5)))
    _, tape = forward(module, case)
    with pytest.raises(TypeError, match=r"^dstate: expected a pair \(h, c\), got ndarray"):
        module.lstm_backward(tape, None, np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"^tape: expected one from gru_forward, got lstm"):
        module.gru_backward(tape, None, None)
    with pytest.raises(ValueError, match=r"^tape: expected one from gru_forward, got ndarray"):
        module.gru_backward(case.x, None, None)
    plain = make("rnn-tanh", 4, 2, 3, 5)
    with pytest.raises(ValueError, match=r"^nonlinearity: expected .*softplus"):
        module.rnn_forward(plain.x, **plain.weights, nonlinearity="softplus")


def test_a_used_tape_is_refused():
    case = make("gru", 4, 2, 3, 5)
    _, tape = forward(functional, case)
    backward(functional, case, tape)
    with pytest.raises(ValueError, match=r"^tape: a backward pass has used it up"):
        backward(functional, case, tape)


@all_variants
def test_other_dtypes_are_cast_to_that_of_x(variant):
    case = make(variant, 4, 2, 3, 5)
    mixed = case._replace(x=case.x.astype(np.float32))
    for module in (reference, functional):
        outputs, tape = forward(module, mixed)
        results = outputs | backward(module, mixed, tape)
        assert all(array.dtype == np.float32 for array in results.values())
        want, _ = forward(module, case.astype(np.float32))
        assert all(np.array_equal(outputs[name], want[name]) for name in want)
