"""Keras layers on the kernels give what Keras's own do: outputs, states, and the gradients of all inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bridges.keras_models import (
    KINDS,
    B,
    H,
    I,
    T,
    a_call,
    a_mask,
    arrays_in,
    assert_same,
    keras,
    results,
    some,
    twins,
)
from helpers.kernel_runs import kernels_run
from helpers.tolerances import BFLOAT16, error
from keras.src.backend.common import dtypes

import rnnfast.keras

LOWER = {"bfloat16": BFLOAT16, "float16": 2.0**-10}
MASKS = ("none", "right", "left", "gaps")


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """keras.ops multiplies float64 in float32, unless it is told not to."""
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")


def both(kind: str, call: dict[str, Any], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of our layer, which must run a kernel forward and backward, and of Keras's."""
    plain, fast = twins(kind, **options)
    with kernels_run(2):
        got = results(fast, **call)
    return got, results(plain, **call)


@pytest.mark.parametrize(("kind", "mask", "dtype"), some(KINDS, MASKS, ["float64", "float32"]))
def test_all_results_are_those_of_keras(kind: str, mask: str, dtype: str) -> None:
    call = a_call(kind, dtype, a_mask(mask))
    got, want = both(kind, call, return_state=True, return_sequences=True, dtype=dtype)
    assert {name: array.dtype for name, array in got.items()} == {
        name: array.dtype for name, array in want.items()
    }
    assert_same(got, want)


OPTIONS: dict[str, dict[str, Any]] = {
    "last output": {},
    "backwards": {"go_backwards": True},
    "all outputs backwards": {"go_backwards": True, "return_sequences": True},
    "zeros where masked": {"return_sequences": True, "zero_output_for_mask": True},
    "zeros where masked, last output": {"zero_output_for_mask": True, "return_state": True},
    "without biases": {"use_bias": False, "return_sequences": True},
    "unrolled": {"unroll": True, "return_sequences": True, "return_state": True},
}


@pytest.mark.parametrize(("options", "kind", "mask"), some(OPTIONS, KINDS, ["none", "gaps"]))
def test_each_option_is_that_of_keras(options: str, kind: str, mask: str) -> None:
    assert_same(*both(kind, a_call(kind, mask=a_mask(mask)), **OPTIONS[options], dtype="float64"))


@pytest.mark.parametrize(("mask", "use_bias"), some(MASKS, [True, False]))
def test_the_reset_gate_acts_before_the_product_too(mask: str, use_bias: bool) -> None:
    options = {"reset_after": False, "use_bias": use_bias, "return_sequences": True}
    assert_same(*both("GRU", a_call("GRU", mask=a_mask(mask)), **options, dtype="float64"))


@pytest.mark.parametrize("activation", some(["relu", "sigmoid", "linear", None, "tanh"]))
def test_a_simple_rnn_has_four_activations(activation: str | None) -> None:
    call = a_call("SimpleRNN")
    call["x"] *= 0.1
    assert_same(*both("SimpleRNN", call, activation=activation, return_sequences=True, dtype="float64"), 10)


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_an_initial_state_that_is_not_given_is_zero(kind: str) -> None:
    call = a_call(kind) | {"state": None}
    assert_same(*both(kind, call, return_sequences=True, dtype="float64"))


@pytest.mark.parametrize("seed", some(range(12)))
def test_random_layers_are_those_of_keras(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS))
    flags = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask", "use_bias")
    options = {name: bool(rng.integers(2)) for name in flags}
    if kind == "GRU":
        options["reset_after"] = bool(rng.integers(2))
    call = a_call(kind, mask=a_mask(str(rng.choice(MASKS))), seed=seed)
    if rng.integers(2):
        call["state"] = None
    assert_same(*both(kind, call, **options, dtype="float64"))


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_masks_of_integers_count_as_bools(kind: str) -> None:
    mask = a_mask("gaps")
    assert mask is not None
    _, fast = twins(kind, dtype="float64")
    call = a_call(kind)
    assert_same(
        results(fast, **call | {"mask": mask.astype("int32")}), results(fast, **call | {"mask": mask})
    )


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_what_is_masked_is_not_read(kind: str) -> None:
    _, fast = twins(kind, return_sequences=True, dtype="float64")
    call = a_call(kind, mask=a_mask("gaps"))
    want = results(fast, **call)
    call["x"][~call["mask"]] = np.nan
    got = results(fast, **call)
    assert_same(got, want)
    assert not got["gradient of x"][~call["mask"]].any()


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_float64_is_not_rounded_where_keras_rounds_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = twins(kind, return_sequences=True, dtype="float64", dropout=0.3, seed=1)
    call = a_call(kind, mask=a_mask("gaps")) | {"training": True}
    want = results(fast, **call)
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float32")
    _, again = twins(kind, return_sequences=True, dtype="float64", dropout=0.3, seed=1)
    assert_same(results(again, **call), want)


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_dropout_has_the_masks_of_keras(kind: str) -> None:
    options = {"dropout": 0.4, "seed": 3, "return_sequences": True, "dtype": "float64"}
    call = a_call(kind, mask=a_mask("right"))
    got, want = both(kind, call | {"training": True}, **options)
    assert_same(got, want)
    evaluated = results(twins(kind, **options)[1], **call)
    assert abs(evaluated["output 0"] - got["output 0"]).max() > 0.01


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_a_layer_with_recurrent_dropout_evaluates_on_the_kernels(kind: str) -> None:
    options = {"recurrent_dropout": 0.4, "dropout": 0.4, "dtype": "float64"}
    assert_same(*both(kind, a_call(kind), **options))


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_a_stateful_layer_goes_on_where_it_was(kind: str) -> None:
    plain, fast = twins(kind, stateful=True, return_sequences=True, dtype="float64")
    for seed in range(3):
        x = a_call(kind, seed=seed)["x"]
        with kernels_run(1):
            (got,) = arrays_in(fast(x))
        (want,) = arrays_in(plain(x))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    first = arrays_in(fast.states)
    assert abs(first[0]).max() > 0
    fast.reset_state()
    assert not any(array.any() for array in arrays_in(fast.states))


@pytest.mark.parametrize(("kind", "dtype"), some(KINDS, LOWER))
def test_lower_dtypes_round_operands_and_results_alone(kind: str, dtype: str) -> None:
    """float16 is computed in float32 from rounded weights and inputs; bfloat16 rounds h in products too."""

    def rounded(array: np.ndarray) -> np.ndarray:
        return arrays_in(keras.ops.cast(keras.ops.cast(array, dtype), "float32"))[0]

    options = {"return_sequences": True, "return_state": True}
    plain, fast = twins(kind, **options)[0], twins(kind, **options, dtype=f"mixed_{dtype}")[1]
    fast.set_weights([0.2 * weight for weight in fast.get_weights()])
    plain.set_weights([rounded(weight) for weight in fast.get_weights()])
    x, mask = rounded(a_call(kind, "float32")["x"]), keras.ops.convert_to_tensor(a_mask("gaps"))
    with kernels_run(1):
        found = fast(x, mask=mask)
    assert {keras.backend.standardize_dtype(one.dtype) for one in found} == {dtype}
    got = arrays_in([keras.ops.cast(one, "float32") for one in found])
    for array, want in zip(got, arrays_in(plain(x, mask=mask)), strict=True):
        assert error(array, want) <= LOWER[dtype]


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_integers_are_read_as_keras_reads_them(kind: str) -> None:
    plain, fast = twins(kind)
    x = np.random.default_rng(0).integers(-1, 2, (B, T, I))
    with kernels_run(1):
        (got,) = arrays_in(fast(x))
    np.testing.assert_allclose(got, arrays_in(plain(x))[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"unroll": True}, {"unroll": True, "go_backwards": True}])
def test_masked_outputs_are_zero_on_request_unrolled_too(options: dict[str, Any]) -> None:
    """Keras's own unrolled code in its JAX backend does not make them so."""
    mask = a_mask("gaps")
    layer = twins("GRU", return_sequences=True, zero_output_for_mask=True, **options)[1]
    (y,) = arrays_in(layer(a_call("GRU", "float32")["x"], mask=keras.ops.convert_to_tensor(mask)))
    kept = mask[:, ::-1] if layer.go_backwards else mask
    assert not y[~kept].any()
    assert y[kept].all()


def test_the_shapes_are_known_before_a_call() -> None:
    layer = rnnfast.keras.LSTM(H, return_sequences=True, return_state=True)
    shapes = [one.shape for one in layer(keras.Input((None, I)))]
    assert shapes == [(None, None, H), (None, H), (None, H)]
