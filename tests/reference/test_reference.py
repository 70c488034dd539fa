"""The reference against central finite differences in float64, and its conventions."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from helpers.arrays import PARTS, named_parts
from helpers.cases import (
    OPTIONS,
    VARIANTS,
    Case,
    all_options,
    all_variants,
    backward,
    forward,
    lengths_and_reset,
    make,
    make_ragged,
    masked_options,
    replaced,
    run,
    with_masks,
)
from helpers.combinations import any_case
from helpers.differences import central_differences
from helpers.tolerances import FINITE_DIFFERENCES, assert_same_bits, error, tolerance
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast import reference

# Without a kink, which a finite difference may cross.
SMOOTH = [name for name, (_, options) in VARIANTS.items() if options.get("nonlinearity") != "relu"]


def objective(case: Case) -> float:
    """A number whose gradient in every argument is what backward gives for the case's gradients."""
    outputs, _ = forward(reference, case)  # y, the parts of the state, and those of the states
    gradients = (case.dy, *case.dstate, *(case.dstates or ()))
    pairs = zip(outputs.values(), gradients, strict=True)
    return float(sum((got * gradient).sum() for got, gradient in pairs if gradient is not None))


def assert_gradients_of(case: Case) -> None:
    """Every gradient of the reference agrees with finite differences."""
    got = backward(reference, case, forward(reference, case)[1])
    arguments = {"dx": case.x, **named_parts("d", case.state), **case.weights}
    assert sorted(got) == sorted(arguments)
    for name, array in arguments.items():
        measured = error(got[name], central_differences(array, lambda: objective(case)))
        assert measured <= FINITE_DIFFERENCES, f"{name}: error {measured:.2e}"


@all_variants
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(5, 2, 3, 4), (1, 3, 2, 1), (0, 2, 3, 2)], ids=str)
def test_gradients_are_finite_differences(variant, reverse, shape):
    assert_gradients_of(make(variant, *shape, reverse=reverse))


@all_options
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [(), ("lengths",), ("reset",), ("lengths", "reset")], ids=str)
def test_gradients_of_every_option(name, reverse, ragged):
    variant, asked = OPTIONS[name]
    keywords = {kind: array for kind, array in lengths_and_reset(4, 3).items() if kind in ragged}
    assert_gradients_of(make(variant, 4, 3, 2, 3, reverse=reverse, return_states=True, **asked, **keywords))


@masked_options
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("p", [None, 0.3], ids=["masks", "expectation"])
def test_gradients_of_zoneout_and_recurrent_dropout(name, reverse, p):
    assert_gradients_of(with_masks(make_ragged(name, 4, 3, 2, 3, reverse=reverse), p=p))


@given(data=st.data())
@settings(max_examples=400, deadline=None, derandomize=True)
def test_gradients_of_any_combination(data):
    sizes = {"T": (0, 4), "B": (0, 4), "I": (1, 4), "H": (1, 4)}
    assert_gradients_of(any_case(data, sizes, variants=SMOOTH))


@all_variants
@pytest.mark.parametrize("names", [[], ["bias_ih"], ["bias_hh"]], ids=str)
def test_gradients_with_fewer_biases(variant, names):
    case = make(variant, 3, 2, 3, 2)
    weights = {name: w for name, w in case.weights.items() if not name.startswith("bias") or name in names}
    assert_gradients_of(case._replace(weights=weights))


@all_variants
def test_gradients_with_parts_left_out(variant):
    case = make(variant, 3, 2, 2, 3, return_states=True)
    nothing = (None,) * len(case.state)
    silent = case._replace(dy=None, dstate=nothing, dstates=nothing)
    assert_gradients_of(case._replace(dy=None))
    assert_gradients_of(case._replace(dstate=nothing))
    assert_gradients_of(case._replace(dstates=nothing))
    for k in range(len(case.state)):
        assert_gradients_of(silent._replace(dstate=replaced(nothing, k, case.dstate[k])))
        assert_gradients_of(silent._replace(dstates=replaced(nothing, k, case.dstates[k])))
    got = backward(reference, silent, forward(reference, case)[1])
    assert not any(gradient.any() for gradient in got.values())


@all_variants
def test_none_is_zero(variant):
    case = make(variant, 3, 2, 2, 3)
    forward_function = getattr(reference, f"{case.cell}_forward")
    backward_function = getattr(reference, f"{case.cell}_backward")
    zeros = tuple(np.zeros_like(part) for part in case.state)
    want, want_tape = forward(reference, case._replace(state=zeros))
    y, _state, tape = forward_function(case.x, **case.weights, **case.options)
    assert np.array_equal(y, want["y"])
    want = backward(reference, case._replace(dstate=zeros), want_tape)
    dx, _dstate, grads = backward_function(tape, case.dy, None)
    assert np.array_equal(dx, want["dx"])
    assert all(np.array_equal(grads[name], want[name]) for name in case.weights)
    if case.cell == "lstm":
        h, c = case.state
        assert_same_bits(
            forward(reference, case._replace(state=(h, None)))[0],
            forward(reference, case._replace(state=(h, np.zeros_like(c))))[0],
        )
        assert_same_bits(
            forward(reference, case._replace(state=(None, c)))[0],
            forward(reference, case._replace(state=(np.zeros_like(h), c)))[0],
        )


@all_variants
def test_reverse_is_forward_on_the_reversed_sequence(variant):
    case = make(variant, 5, 2, 3, 4, reverse=True)
    got = run(reference, case)
    flipped = case._replace(x=case.x[::-1], dy=case.dy[::-1], options={**case.options, "reverse": False})
    want = run(reference, flipped)
    want["y"], want["dx"] = want["y"][::-1], want["dx"][::-1]
    for name in got:
        assert error(got[name], want[name]) <= 1e-14, name


@all_variants
def test_y_ends_with_the_final_state(variant):
    for reverse, last in ((False, -1), (True, 0)):
        outputs, _ = forward(reference, make(variant, 4, 3, 2, 5, reverse=reverse))
        assert np.array_equal(outputs["y"][last], outputs["h"])


@all_variants
def test_zero_steps_return_the_initial_state(variant):
    case = make(variant, 0, 2, 3, 4)
    outputs, tape = forward(reference, case)
    gradients = backward(reference, case, tape)
    assert outputs["y"].shape == (0, 2, 4)
    assert gradients["dx"].shape == (0, 2, 3)
    for name, initial, dfinal in zip(PARTS, case.state, case.dstate, strict=False):
        for got, want in ((outputs[name], initial), (gradients["d" + name], dfinal)):
            assert np.array_equal(got, want)
            assert not np.shares_memory(got, want)
    assert not any(gradients[name].any() for name in case.weights)


@all_variants
def test_empty_batch(variant):
    results = run(reference, make(variant, 3, 0, 2, 4))
    assert results["y"].shape == (3, 0, 4)
    assert results["dx"].shape == (3, 0, 2)
    assert not results["weight_ih"].any()
    assert "weight_hh" not in results or not results["weight_hh"].any()


@all_variants
def test_float32_stays_float32(variant):
    case = make(variant, 4, 3, 2, 5)
    want = run(reference, case.astype(np.float32).astype(np.float64))
    for narrow in (case.astype(np.float32), case._replace(x=case.x.astype(np.float32))):
        got = run(reference, narrow)
        for name, array in got.items():
            assert array.dtype == np.float32, name
            assert error(array, want[name]) <= tolerance(name, "float32", narrow.K), name


@all_variants
def test_results_belong_to_the_caller_and_the_tape_lasts(variant):
    case = make(variant, 4, 2, 3, 5)
    kept = case.astype(np.float64)
    outputs, tape = forward(reference, case)
    want = backward(reference, case, tape)
    for array in outputs.values():
        array[:] = np.nan
    assert_same_bits(backward(reference, case, tape), want)
    assert np.array_equal(case.x, kept.x)
    assert np.array_equal(case.dy, kept.dy)
    assert_same_bits(case.weights, kept.weights)
    for got, wanted in zip(case.state + case.dstate, kept.state + kept.dstate, strict=True):
        assert np.array_equal(got, wanted)


def test_far_pre_activations_saturate_without_a_warning():
    case = make("lstm", 2, 2, 2, 3)
    case = case._replace(x=1e4 * case.x)
    with np.errstate(all="raise", under="ignore"):
        results = run(reference, case)
    assert all(np.isfinite(array).all() for array in results.values())


def test_it_imports_numpy_alone():
    modules = set()
    for path in Path(reference.__file__).parent.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        modules |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    outside = {module for module in modules if not module.startswith("rnnfast.reference.")}
    assert outside == {"__future__", "collections.abc", "typing", "numpy"}
