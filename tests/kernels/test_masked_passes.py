"""Zoneout and recurrent dropout in the kernels: the reference's numbers, and the same bits in any split."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import Case, largest_scale, make, make_ragged, masked_options, run, with_masks
from helpers.tolerances import BFLOAT16, INT8, assert_close, assert_same_bits, error

from rnnfast import _core, functional, reference

both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_mask = pytest.mark.parametrize("which", ["zoneout", "dropout", "both"])
SHAPES = [(0, 3, 2, 4), (1, 1, 1, 1), (5, 7, 3, 17), (9, 13, 5, 33), (40, 5, 2, 3)]  # T, B, I, H


@masked_options
@both_dtypes
@both_directions
@each_mask
def test_the_reference_agrees(name, dtype, reverse, which):
    for shape in SHAPES:
        for maker in (make, make_ragged):
            case = with_masks(maker(name, *shape, dtype=dtype, reverse=reverse), which)
            assert_close(
                run(functional, case), run(reference, case.astype(np.float64)), case.K, largest_scale(case)
            )


@masked_options
def test_the_reference_agrees_on_the_expectation(name):
    case = with_masks(make_ragged(name, 9, 5, 3, 18), "zoneout", p=0.3)
    assert_close(run(functional, case), run(reference, case), case.K, largest_scale(case))


@masked_options
def test_the_reference_agrees_in_bfloat16(name):
    case = with_masks(make(name, 7, 5, 9, 17, dtype="float32", matmul_precision="bfloat16"))
    want = run(reference, case.astype(np.float64))
    for result, array in run(functional, case).items():
        assert error(array, want[result]) <= BFLOAT16 * max(1.0, largest_scale(case)), result


@masked_options
def test_the_expectation_in_int8(name):
    case = with_masks(make(name, 7, 5, 9, 17, dtype="float32", matmul_precision="int8"), "zoneout", p=0.3)
    function, state = f"{case.cell}_forward", case.state if len(case.state) > 1 else case.state[0]
    y, *_ = getattr(functional, function)(case.x, **case.weights, state=state, **case.options)
    want, *_ = getattr(reference, function)(case.x, **case.weights, state=state, **case.options)
    assert error(y, want) <= INT8 * max(1.0, largest_scale(case))


@masked_options
@both_directions
def test_any_kernels_threads_and_splits(name, reverse, restored):
    case = with_masks(make_ragged(name, 6, 13, 5, 33, dtype="float32", reverse=reverse))
    _core.set_num_threads(1)
    want = run(functional, case)
    for isa in _core.available_isas():
        _core.force_isa(isa)
        assert_same_bits(run(functional, case), want)
    _core.force_isa(None)
    _core.set_num_threads(3)
    for split in ("rows", "units"):
        _core.force_split(split)
        assert_same_bits(run(functional, case), want)


def rows(case: Case, chosen: slice) -> Case:
    """The case with some of its sequences, and their masks."""
    options = dict(case.options)
    zoneout = options.get("zoneout", ())
    parts = tuple(z[:, chosen] for z in (zoneout if isinstance(zoneout, tuple) else (zoneout,)))
    if parts:
        options["zoneout"] = parts if isinstance(zoneout, tuple) else parts[0]
    if "recurrent_mask" in options:
        options["recurrent_mask"] = options["recurrent_mask"][chosen]
    return case._replace(
        options=options,
        x=case.x[:, chosen],
        state=tuple(part[chosen] for part in case.state),
        dy=case.dy[:, chosen],
        dstate=tuple(part[chosen] for part in case.dstate),
    )


@masked_options
def test_alone_or_in_a_batch(name):
    case = with_masks(make(name, 5, 13, 3, 18, dtype="float32"))
    want = run(functional, case)
    for chosen in (slice(0, 1), slice(4, 9), slice(12, 13)):
        got = run(functional, rows(case, chosen))
        for result in ("y", "dx"):
            assert_same_bits({result: got[result]}, {result: want[result][:, chosen]})
        for result in ("h", "c", "dh", "dc"):
            if result in want:
                assert_same_bits({result: got[result]}, {result: want[result][chosen]})


@masked_options
def test_a_mask_of_zeros_or_ones_is_no_mask(name):
    plain = make_ragged(name, 7, 5, 3, 18, dtype="float32")
    case = with_masks(plain)
    none = {"zoneout": np.zeros_like, "recurrent_mask": np.ones_like}
    options = {key: value for key, value in case.options.items() if key not in none}
    for key, like in none.items():
        given = case.options.get(key)
        if given is not None:
            options[key] = tuple(map(like, given)) if isinstance(given, tuple) else like(given)
    assert_close(
        run(functional, case._replace(options=options)), run(functional, plain), plain.K, largest_scale(plain)
    )


@masked_options
def test_a_unit_that_is_always_kept_keeps_its_state_and_its_gradient(name):
    case = make(name, 6, 4, 3, 10)
    ones = tuple(np.ones((6, 4, part.shape[1])) for part in case.state)
    case = case._replace(options={**case.options, "zoneout": ones if len(ones) > 1 else ones[0]})
    got = run(functional, case)
    np.testing.assert_array_equal(got["y"], np.broadcast_to(case.state[0], got["y"].shape))
    np.testing.assert_allclose(got["dh"], case.dy.sum(axis=0) + case.dstate[0])
    assert not got["dx"].any()


@pytest.mark.parametrize("module", [functional, reference], ids=["functional", "reference"])
@pytest.mark.parametrize(
    ("cell", "keywords", "message"),
    [
        ("gru", {"zoneout": np.zeros((5, 2, 3))}, r"^zoneout: .*shape"),
        ("gru", {"zoneout": np.full((5, 2, 4), 1.5)}, r"^zoneout: expected numbers from 0 to 1"),
        ("gru", {"zoneout": -0.1}, r"^zoneout: "),
        ("gru", {"recurrent_mask": np.ones((5, 2, 4))}, r"^recurrent_mask: .*shape"),
        ("rnn", {"recurrent_mask": np.ones((2, 4), int)}, r"^recurrent_mask: .*dtype"),
        ("lstm", {"zoneout": np.zeros((5, 2, 4))}, r"^zoneout: expected a pair"),
        ("lstm", {"zoneout": (None, np.zeros((5, 3, 4)))}, r"^zoneout.*shape"),
    ],
)
def test_wrong_masks_are_named(module, cell, keywords, message):
    case = make(cell if cell != "rnn" else "rnn-tanh", 5, 2, 3, 4)
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(module, f"{cell}_forward")(case.x, **case.weights, **keywords)
