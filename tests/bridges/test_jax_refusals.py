"""`rnnfast.jax` refuses bad arguments while a function is traced, by name; the rest is an error of XLA."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from bridges.jax_programs import jax
from helpers.arrays import normal

import rnnfast as rf
import rnnfast.jax

T, B, I, H = 5, 2, 3, 4
X = normal(T, B, I)
LSTM = rf.LSTM(I, H, 2, rng=1).state_dict()
HC = (normal(2, B, H), normal(2, B, H))


def params_with(**arrays):
    """The LSTM's parameters with other arrays; without those that are "left out"."""
    return {"params": {name: a for name, a in (LSTM | arrays).items() if not isinstance(a, str)}}


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


ARGUMENTS = [  # the keyword in place of a good one, the error, what it says
    ({"x": X.astype(np.int32)}, TypeError, r"x: expected float32 .*, got int32"),
    ({"x": X[0, 0]}, ValueError, r"x: expected shape \[T, B, I\] or \[T, I\] .*, got \(3,\)"),
    ({"x": X[0, 0], "batch_first": True}, ValueError, r"x: expected shape \[B, T, I\] or"),
    ({"x": X[:, :, :0]}, ValueError, r"x: expected .* I at least 1, got \(5, 2, 0\)"),
    ({"x": "x"}, TypeError, "x: expected an array, got str"),
    ({"x": np.ma.masked_array(X, X > 1)}, TypeError, "x: expected a plain array, got a masked one"),
    ({"x": X[:, :, :2]}, ValueError, r"weight_ih_l0'\]: expected shape \(16, 2\), got \(16, 3\)"),
    ({"state": HC[0]}, TypeError, r"state: expected a pair \(h, c\) or None, got an array"),
    ({"state": (HC[0],)}, TypeError, r"state: expected a pair"),
    ({"state": (HC[0], HC[1][:1])}, ValueError, r"state\[1\]: expected shape \(2, 2, 4\), got \(1, 2, 4\)"),
    ({"state": (HC[0], HC[1] > 0)}, TypeError, r"state\[1\]: expected float32 .*, got bool"),
    ({"lengths": np.array([1.0, 2.0])}, TypeError, "lengths: expected an integer dtype, got float64"),
    ({"lengths": np.array([1, 2, 3])}, ValueError, r"lengths: expected shape \(2,\), got \(3,\)"),
    ({"lengths": np.array([1, 6])}, ValueError, "lengths: expected 0 to T = 5, got 6"),
    ({"lengths": np.array([-1, 5])}, ValueError, "lengths: expected 0 to T = 5, got -1"),
    ({"reset": zeros(T, B)}, TypeError, "reset: expected dtype bool, got float32"),
    ({"reset": zeros(B, T, dtype=bool)}, ValueError, r"reset: expected shape \(5, 2\), got \(2, 5\)"),
    ({"batch_first": 1.5}, TypeError, "batch_first: expected"),
    ({"reverse": None}, TypeError, "reverse: expected"),
    ({"cell_clip": -1.0}, ValueError, "cell_clip: expected"),
    ({"coupled_gates": "yes"}, TypeError, "coupled_gates: expected"),
    ({"matmul_precision": "float16"}, ValueError, "matmul_precision: expected one of"),
]
PARAMS = [
    ({"params": [*LSTM.values()]}, TypeError, "params: expected a dict of arrays by name, got list"),
    ({"params": {}}, ValueError, "params: expected 'weight_ih_l0'"),
    (
        params_with(weight_ih_l3=X),
        ValueError,
        r"in 2 layer\(s\) and 1 direction\(s\), got 'weight_ih_l3'",
    ),
    (params_with(weight_xx_l0=X), ValueError, "got 'weight_xx_l0' too"),
    (params_with(weight_hh_l1="left out"), ValueError, "params: expected 'weight_hh_l1' too"),
    (params_with(weight_hh_l0=zeros(15, 4)), ValueError, r"l0'\]: expected shape \[4\*H, P\].*got \(15, 4\)"),
    (params_with(bias_hh_l1=zeros(15)), ValueError, r"bias_hh_l1'\]: expected shape \(16,\), got \(15,\)"),
    (params_with(weight_ci_l0=zeros(4)), ValueError, r"weight_cf_l0.*, all of them or none"),
    (params_with(weight_hr_l1=zeros(2, 4)), ValueError, "weight_hr in every layer and direction or in none"),
    (
        params_with(bias_hh_l1=zeros(16, dtype=int)),
        TypeError,
        r"bias_hh_l1'\]: expected float32 .*int32",
    ),
    (params_with(weight_ih_l0=zeros(16, 3, dtype="f2")), TypeError, "float32 or float64, got float16"),
    (params_with(bias_hh_l1=None), ValueError, r"bias_hh_l1'\]: expected an array, got NoneType"),
]


@pytest.mark.parametrize(("wrong", "kind", "match"), ARGUMENTS + PARAMS)
def test_a_bad_argument_is_named(wrong, kind, match):
    with pytest.raises(kind, match=match):
        rf.jax.lstm(**{"x": X, "params": LSTM, **wrong})


def test_options_of_the_other_cells():
    params = rf.RNN(I, H, rng=1).state_dict()
    with pytest.raises(ValueError, match="nonlinearity: expected one of"):
        rf.jax.rnn(X, params, nonlinearity="gelu")
    params = rf.GRU(I, H, rng=1).state_dict()
    with pytest.raises(TypeError, match="reset_after: expected"):
        rf.jax.gru(X, params, reset_after=None)
    with pytest.raises(ValueError, match=r"params\['weight_hh_l0'\]: expected shape \[3\*H, P\]"):
        rf.jax.gru(X, LSTM)
    with pytest.raises(ValueError, match=r"reverse: expected False with parameters of both directions"):
        rf.jax.gru(X, rf.GRU(I, H, bidirectional=True, rng=1).state_dict(), reverse=True)


def test_shapes_are_checked_while_jit_traces():
    with pytest.raises(ValueError, match=r"state\[0\]: expected shape \(2, 2, 4\), got \(2, 3, 4\)"):
        jax.jit(rf.jax.lstm)(X, LSTM, (np.zeros((2, 3, 4)), np.zeros((2, 2, 4))))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_precision_for_float32_alone(precision):
    params = rf.GRU(I, H, rng=1, dtype="float64").state_dict()
    with jax.enable_x64(True), pytest.raises(ValueError, match=r"matmul_precision: .*float64"):
        rf.jax.gru(X, params, matmul_precision=precision)


def test_lengths_that_are_known_in_the_call_alone_are_checked_there():
    call = jax.jit(lambda lengths: rf.jax.lstm(X, LSTM, lengths=lengths)[0])
    assert call(np.array([5, 0])).shape == (T, B, H)
    for bad in (6, -1):
        # XLA's error comes as one or the other, by how JAX runs the program.
        with pytest.raises((ValueError, RuntimeError), match=rf"lengths\[1\]: expected 0 to 5 .*, got {bad}"):
            jax.block_until_ready(call(np.array([5, bad])))


@pytest.mark.parametrize(
    "wrong", [np.array([5, 2**32 + 3]), [5, 2**32 + 3], np.array([5, 2**63 + 3], np.uint64)], ids=str
)
def test_lengths_that_int32_has_no_room_for_are_refused(wrong):
    got = int(wrong[1])
    with pytest.raises(ValueError, match=rf"lengths: expected 0 to T = 5, got {got}"):
        rf.jax.lstm(X, LSTM, lengths=wrong)
    with (
        jax.enable_x64(True),
        pytest.raises((ValueError, RuntimeError), match=r"lengths\[1\]: .* got 2147483647"),
    ):
        jax.block_until_ready(
            jax.jit(lambda lengths: rf.jax.lstm(X, LSTM, lengths=lengths)[0])(np.array(wrong))
        )


def test_int8_has_no_gradient():
    call = partial(rf.jax.lstm, matmul_precision="int8")
    with pytest.raises(ValueError, match="matmul_precision: got 'int8', which has no gradient"):
        jax.grad(lambda params: call(X, params)[0].sum())(LSTM)


def test_there_are_no_second_and_no_forward_derivatives():
    def loss(x):
        return rf.jax.lstm(x, LSTM)[0].sum()

    with pytest.raises(ValueError, match=r"rnnfast\.jax: expected first derivatives only"):
        jax.grad(lambda x: jax.grad(loss)(x).sum())(X)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(loss, (X,), (X,))


@pytest.mark.parametrize(
    ("wrong", "kind", "match"),
    [
        ({"cell": "slstm"}, ValueError, "cell: expected one of rnn, lstm, gru, got 'slstm'"),
        ({"input_size": 0}, ValueError, "input_size: expected at least 1, got 0"),
        ({"hidden_size": 2.5}, TypeError, "hidden_size: expected an integer, got 2.5"),
        ({"num_layers": 0}, ValueError, "num_layers: expected at least 1, got 0"),
        (
            {"proj_size": 4},
            ValueError,
            "proj_size: expected 0, or for 'lstm' a size below hidden_size = 4",
        ),
        ({"cell": "gru", "proj_size": 2}, ValueError, "proj_size: expected 0, or for 'lstm'"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64"),
        ({"bias": "no"}, TypeError, "bias: expected"),
    ],
)
def test_init_params_names_a_bad_argument(wrong, kind, match):
    given = {"key": jax.random.key(0), "cell": "lstm", "input_size": I, "hidden_size": H, **wrong}
    with pytest.raises(kind, match=match):
        rf.jax.init_params(**given)
