"""A sequence has the same bits however it is computed.

Alone or in a batch, whole or in pieces, in training or in evaluation, with any kernels and threads.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.arrays import D_PARTS, PARTS
from helpers.cases import Case, all_options, backward, evaluate, forward, make, pass_forward, run
from helpers.tolerances import OUTPUTS, assert_same_bits

from rnnfast import _core, functional

pytestmark = [all_options, pytest.mark.parametrize("dtype", ["float32", "float64"])]
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def rows(case: Case, chosen: slice) -> Case:
    """The case with some of its sequences."""
    return case._replace(
        x=case.x[:, chosen],
        state=tuple(part[chosen] for part in case.state),
        dy=case.dy[:, chosen],
        dstate=tuple(part[chosen] for part in case.dstate),
    )


def of_sequences(results: dict[str, np.ndarray], chosen: slice = slice(None)) -> dict[str, np.ndarray]:
    """The results that belong to single sequences (not the weights' gradients), of some of them."""
    got = {name: results[name][:, chosen] for name in ("y", "dx")}
    return got | {name: results[name][chosen] for name in (*PARTS, *D_PARTS) if name in results}


@both_directions
@pytest.mark.parametrize("sizes", [(3, 7), (5, 33)], ids=str)
def test_alone_or_in_any_batch(name, dtype, sizes, reverse, isa):
    whole = make(name, 5, 13, *sizes, dtype=dtype, reverse=reverse)
    want = run(functional, whole)
    for B in range(1, 13):
        for chosen in (slice(0, B), slice(13 - B, 13)):
            assert_same_bits(of_sequences(run(functional, rows(whole, chosen))), of_sequences(want, chosen))


def test_alone_or_in_a_batch_of_several_panels(name, dtype):
    whole = make(name, 3, 100, 5, 40, dtype=dtype)
    want = run(functional, whole)
    for B in (1, 2, 48, 49, 50, 96, 97, 98):
        assert_same_bits(
            of_sequences(run(functional, rows(whole, slice(0, B)))), of_sequences(want, slice(0, B))
        )


def test_a_neighbour_that_is_not_finite(name, dtype, isa):
    whole = make(name, 5, 7, 3, 18, dtype=dtype)
    want = run(functional, whole)
    x = whole.x.copy()
    x[:, 3], x[:, 5, 0] = np.nan, np.inf
    with np.errstate(all="ignore"):
        got = run(functional, whole._replace(x=x))
    for chosen in (slice(0, 3), slice(4, 5), slice(6, 7)):
        assert_same_bits(of_sequences(got, chosen), of_sequences(want, chosen))
    assert np.isnan(got["y"][:, 3]).all()


@both_directions
@pytest.mark.parametrize("cuts", [[0, 2, 9], [0, 1, 4, 4, 8, 9], range(10)], ids=["two", "uneven", "steps"])
def test_whole_or_in_chunks(name, dtype, cuts, reverse, isa):
    case = make(name, 9, 5, 4, 19, dtype=dtype, reverse=reverse)
    want = run(functional, case)
    chunks = [slice(first, last) for first, last in itertools.pairwise(cuts)]
    if reverse:
        chunks.reverse()
    state, tapes, parts = case.state, [], []
    for chunk in chunks:
        outputs, tape = forward(functional, case._replace(x=case.x[chunk], state=state))
        state = tuple(outputs[name] for name in PARTS if name in outputs)
        tapes.append(tape)
        parts.append(outputs)
    dstate, dparts = case.dstate, []
    for chunk, tape in zip(chunks[::-1], tapes[::-1], strict=True):
        gradients = backward(functional, case._replace(dy=case.dy[chunk], dstate=dstate), tape)
        dstate = tuple(gradients[name] for name in D_PARTS if name in gradients)
        dparts.append(gradients)
    in_time = slice(None, None, -1 if reverse else 1)
    got = parts[-1] | dparts[-1]
    got["y"] = np.concatenate([part["y"] for part in parts[in_time]])
    got["dx"] = np.concatenate([part["dx"] for part in dparts[::-1][in_time]])
    assert_same_bits(of_sequences(got), of_sequences(want))


@both_directions
@pytest.mark.parametrize("shape", [(200, 13, 3, 65), (300, 1, 3, 18)], ids=str)
def test_training_or_evaluation(name, dtype, shape, reverse, isa):
    case = make(name, *shape, dtype=dtype, reverse=reverse)
    training, _ = pass_forward(case)
    assert_same_bits(evaluate(case), training)


@pytest.mark.parametrize("shape", [(5, 1, 3, 7), (4, 13, 5, 33), (3, 6, 40, 64)], ids=str)
def test_any_kernels(name, dtype, shape, restored):
    case = make(name, *shape, dtype=dtype)
    first, *others = _core.available_isas()
    _core.force_isa(first)
    want = run(functional, case)
    for other in others:
        _core.force_isa(other)
        assert_same_bits(run(functional, case), want)


@both_directions
@pytest.mark.parametrize("split", [None, "rows", "units"])
@pytest.mark.parametrize("shape", [(7, 1, 5, 70), (6, 13, 5, 33), (30, 8, 40, 128)], ids=str)
def test_any_number_of_threads(name, dtype, shape, reverse, split, restored):
    case = make(name, *shape, dtype=dtype, reverse=reverse)
    _core.set_num_threads(1)
    want = run(functional, case)
    _core.force_split(split)
    for threads in (1, 2, 3, 4):
        _core.set_num_threads(threads)
        got = run(functional, case)
        assert_same_bits(got, want)
        outputs = {name: got[name] for name in OUTPUTS if name in got}
        assert_same_bits(evaluate(case), outputs)


@both_directions
def test_batch_first_or_time_first(name, dtype, reverse, isa):
    case = make(name, 6, 5, 4, 19, dtype=dtype, reverse=reverse)

    def batch_first(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(1, 0, 2)).transpose(1, 0, 2)

    other = case._replace(x=batch_first(case.x), dy=batch_first(case.dy))
    assert not other.x.flags.c_contiguous
    assert_same_bits(run(functional, other), run(functional, case))
