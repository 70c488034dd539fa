"""Each precision below float32: one step is the reference's; bits do not depend on how a pass is run."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import D_PARTS, PARTS
from helpers.cases import all_options, evaluate, forward, make, make_ragged, run
from helpers.tolerances import BFLOAT16, FORWARD, INT8, assert_same_bits, error

from rnnfast import _core, functional, reference

TOLERANCES = {"bfloat16": BFLOAT16, "int8": INT8}
all_precisions = pytest.mark.parametrize("precision", TOLERANCES)
SECOND_PRODUCT = ("projection", "before", "all")  # a second product reads what this step computed
SHAPES = [(1, 1, 1, 1), (1, 5, 3, 17), (1, 13, 33, 100), (1, 7, 2, 33), (1, 50, 5, 3)]


def everything(case):
    """All outputs by name, and all gradients if the precision has them."""
    return (
        forward(functional, case)[0] if case.options["matmul_precision"] == "int8" else run(functional, case)
    )


def allowed(name, precision):
    """The error of one step: rounded sums, but where a second product rounds what this step computed."""
    return TOLERANCES[precision] if any(part in name for part in SECOND_PRODUCT) else FORWARD["float32"]


@all_precisions
@all_options
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_step_is_the_reference_s(name, shape, precision, isa, instructions):
    case = make(name, *shape, dtype="float32", matmul_precision=precision)
    want, _ = forward(reference, case.astype(np.float64))
    got, _ = forward(functional, case)
    for result, array in got.items():
        assert error(array, want[result]) <= allowed(name, precision), result
    assert_same_bits(evaluate(case), got)


@all_precisions
@all_options
def test_a_state_beyond_its_bound_is_the_reference_s(name, precision, isa, instructions):
    case = make(name, 1, 5, 3, 17, dtype="float32", matmul_precision=precision)
    state = tuple(part * np.float32([1, 30, 0.01, 1, 4])[:, None] for part in case.state)
    case = case._replace(state=state)
    want, _ = forward(reference, case.astype(np.float64))
    for result, array in forward(functional, case)[0].items():
        assert error(array, want[result]) <= allowed(name, precision), result


@all_precisions
@all_options
@pytest.mark.parametrize(
    "shape", [(0, 5, 3, 17), (5, 7, 1, 33), (3, 13, 0, 17), (9, 49, 6, 40), (90, 7, 5, 20)], ids=str
)
def test_the_same_bits_on_every_instruction_set_and_thread(name, shape, precision, restored):
    case = make_ragged(name, *shape, dtype="float32", matmul_precision=precision)
    _core.force_isa("scalar")
    _core.set_num_threads(1)
    want = everything(case)
    for isa in _core.available_isas():
        for instructions in (False, True):
            _core.force_isa(isa, instructions)
            for threads, split in ((1, None), (2, "rows"), (3, "units")):
                _core.set_num_threads(threads)
                _core.force_split(split)
                assert_same_bits(everything(case), want)
            _core.force_split(None)


@all_precisions
@all_options
def test_a_sequence_alone_has_the_bits_of_a_batch(name, precision, instructions):
    whole = make(name, 6, 13, 5, 33, dtype="float32", matmul_precision=precision)
    want = everything(whole)
    for b in range(13):
        case = whole._replace(
            x=whole.x[:, b : b + 1],
            state=tuple(part[b : b + 1] for part in whole.state),
            dy=whole.dy[:, b : b + 1],
            dstate=tuple(part[b : b + 1] for part in whole.dstate),
        )
        got = everything(case)
        for result in {"y", "dx"} & got.keys():
            assert_same_bits({result: got[result]}, {result: want[result][:, b : b + 1]})
        for result in {*PARTS, *D_PARTS} & got.keys():
            assert_same_bits({result: got[result]}, {result: want[result][b : b + 1]})


@pytest.mark.parametrize("given", ["bfloat", "int4", 16, None])
def test_a_wrong_precision(given):
    case = make("gru", 2, 2, 3, 4, dtype="float32")
    with pytest.raises((TypeError, ValueError), match=r"matmul_precision: expected one of .*bfloat16"):
        functional.gru_forward(case.x, **case.weights, matmul_precision=given)


@all_precisions
def test_float64_has_no_other_precision(precision):
    case = make("gru", 2, 2, 3, 4)
    with pytest.raises(
        ValueError, match=rf"matmul_precision: expected 'float32'.*float64, got '{precision}'"
    ):
        functional.gru_forward(case.x, **case.weights, matmul_precision=precision)
