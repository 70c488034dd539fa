"""`functional` and `reference` share names and signatures, and name what is wrong with an argument."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from helpers.cases import VARIANTS, backward, forward, largest_scale, make, run
from helpers.tolerances import assert_close

from rnnfast import _core, functional, reference

all_variants = pytest.mark.parametrize("variant", VARIANTS)
both_modules = pytest.mark.parametrize("module", [reference, functional], ids=["reference", "functional"])


def test_same_names_and_signatures():
    assert {*functional.__all__, "ctc", "quantize", "round_to_bfloat16"} == set(reference.__all__)
    for cell in _core.layer_names():
        for direction in ("forward", "backward"):
            fast, plain = (getattr(module, f"{cell}_{direction}") for module in (functional, reference))
            parameters, expected = (inspect.signature(function).parameters for function in (fast, plain))
            assert list(parameters) == list(expected)
            for name, parameter in parameters.items():
                assert (parameter.kind, parameter.default) == (expected[name].kind, expected[name].default)


@both_modules
@all_variants
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x", (4, 3)),
        ("weight_ih", (7, 3)),
        ("weight_hh", (7, 5)),
        ("weight_hh", (5,)),
        ("bias_ih", (1,)),
        ("bias_hh", (2, 2)),
    ],
    ids=str,
)
def test_a_wrong_shape_is_named(module, variant, name, shape):
    case = make(variant, 4, 2, 3, 5)
    arguments = {"x": case.x, **case.weights}
    if name not in arguments or arguments[name].shape == shape:
        pytest.skip("this cell has no such weight, or it has this shape")
    arguments[name] = np.zeros(shape)
    with pytest.raises(ValueError, match=rf"^{name}: expected shape \[.*got \("):
        getattr(module, f"{case.cell}_forward")(**arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize(
    "bound",
    [5e-324, 1e-310, 1e-46, 1e-40, 1e-38, 1e-30, 1e-5, 3.4028236e38, 1e39, 10**400, np.inf],
    ids=lambda bound: str(bound)[:9],
)
def test_a_clip_of_any_size_is_the_reference_s(bound, coupled, dtype, isa):
    case = make("lstm", 4, 3, 2, 18, dtype=dtype, cell_clip=bound, coupled_gates=coupled)
    got, want = run(functional, case), run(reference, case)
    assert_close(got, want, case.K, largest_scale(case))
    if bound < float(np.finfo(dtype).tiny):
        assert not got["y"].any()


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


@both_modules
@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"cell_clip": 0}, ValueError, r"^cell_clip: expected a positive number, got 0$"),
        ({"cell_clip": -1.0}, ValueError, r"^cell_clip: expected a positive number, got -1\.0$"),
        ({"cell_clip": np.nan}, ValueError, r"^cell_clip: expected a positive number, got nan$"),
        ({"cell_clip": True}, TypeError, r"^cell_clip: expected a positive number, got True$"),
        ({"cell_clip": "1"}, TypeError, r"^cell_clip: expected a positive number, got '1'$"),
        ({"weight_ci": np.zeros(5)}, ValueError, r"^weight_cf: expected an array, as the other peepholes"),
        ({"weight_cf": np.zeros(5)}, ValueError, r"^weight_ci: expected an array, as the other peepholes"),
        ({"weight_hr": np.zeros((4, 5))}, ValueError, r"^weight_hr: expected shape \[5, 5\], got \(4, 5\)$"),
        ({"weight_hr": np.zeros((5, 4))}, ValueError, r"^weight_hr: expected shape \[5, 5\], got \(5, 4\)$"),
        ({"weight_hr": np.zeros((5, 5), int)}, TypeError, r"^weight_hr: expected dtype .* got int64$"),
    ],
    ids=str,
)
def test_wrong_options_of_the_lstm_are_named(module, wrong, kind, message):
    case = make("lstm", 4, 2, 3, 5)
    with pytest.raises(kind, match=message):
        module.lstm_forward(case.x, **case.weights, **wrong)


@both_modules
@pytest.mark.parametrize("coupled_gates", [False, True])
def test_wrong_peepholes_are_named(module, coupled_gates):
    case = make("lstm", 4, 2, 3, 5, peephole=True, coupled_gates=coupled_gates)
    for name in [name for name in case.weights if name.startswith("weight_c")]:
        others = {key: weight for key, weight in case.weights.items() if key != name}
        with pytest.raises(ValueError, match=rf"^{name}: expected an array, as the other peepholes"):
            module.lstm_forward(case.x, **others, coupled_gates=coupled_gates)
        with pytest.raises(ValueError, match=rf"^{name}: expected shape \[5\], got \(5, 5\)"):
            module.lstm_forward(case.x, **others, **{name: np.eye(5)}, coupled_gates=coupled_gates)
        with pytest.raises(TypeError, match=rf"^{name}: expected dtype float32 or float64, got int64"):
            module.lstm_forward(case.x, **others, **{name: np.ones(5, int)}, coupled_gates=coupled_gates)
    if coupled_gates:
        with pytest.raises(ValueError, match=r"^weight_cf: expected None with coupled_gates, got an array"):
            module.lstm_forward(case.x, **case.weights, weight_cf=np.zeros(5), coupled_gates=True)


@both_modules
def test_coupled_weights_of_four_blocks_are_refused(module):
    case = make("lstm", 4, 2, 3, 5)
    with pytest.raises(ValueError, match=r"^weight_hh: expected shape \[3\*H, H\].*got \(20, 5\)"):
        module.lstm_forward(case.x, **case.weights, coupled_gates=True)


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
