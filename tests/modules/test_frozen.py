"""`freeze`: the bits of the unfrozen module from weights that are packed once, and that nothing can write."""

from __future__ import annotations

import copy
import ctypes
import pickle
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal
from modules.small_layers import CELLS, B, H, I, T, small_layer
from modules.tagger import Tagger
from modules.test_partial_writes import assert_refused, model_with_gradients

import rnnfast as rf
from rnnfast import _core
from rnnfast.nn import Parameter

x, dy = normal(T, B, I), normal(T, B, H, seed=2)
KEYWORDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ragged": {"lengths": np.array([T, 2, 0])},
    "reset": {"reset": np.arange(T * B).reshape(T, B) % 4 == 1},
}


def gradients(model: rf.Module, dy: np.ndarray, **keywords: Any) -> Any:
    """y, the state and all gradients of a call."""
    model.zero_grad()
    y, state, tape = model.forward(x, **keywords)
    dx, dstate = model.backward(tape, dy)
    return y, state, dx, dstate, {name: own.grad.copy() for name, own in model.named_parameters()}


@pytest.mark.parametrize("keywords", KEYWORDS.values(), ids=KEYWORDS)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2, "batch_first": True}])
@pytest.mark.parametrize("precision", _core.PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_frozen_layer_has_the_bits_of_the_unfrozen_one(cell, precision, options, keywords):
    layer = small_layer(cell, matmul_precision=precision, **options)
    given = x.swapaxes(0, 1).copy() if options else x
    keywords = {
        name: array.T.copy() if options and name == "reset" else array for name, array in keywords.items()
    }
    calls = [{**keywords, "return_states": True}, keywords, keywords]
    want = [layer(given, **each) for each in calls]
    few = layer(given[:1] if options else given[:, :1])
    layer.freeze()
    assert_equal([layer(given, **each) for each in calls], want)
    assert_equal(layer(given[:1] if options else given[:, :1]), few)


@pytest.mark.parametrize("precision", _core.TRAINABLE)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_computed_as_before(cell, precision):
    layer = small_layer(cell, num_layers=2, dropout=0.5, matmul_precision=precision)
    want = [gradients(layer, dy, rng=3, **each) for each in ({}, {"checkpoint": 2}, KEYWORDS["ragged"])]
    layer.freeze()
    got = [gradients(layer, dy, rng=3, **each) for each in ({}, {"checkpoint": 2}, KEYWORDS["ragged"])]
    assert_equal(got, want)


@pytest.mark.parametrize("precision", _core.PRECISIONS)
def test_every_instruction_set_packs_for_itself(precision):
    layer = small_layer("lstm", matmul_precision=precision)
    want = layer(x)
    layer.freeze()
    before = _core.get_isa()
    try:
        for isa in _core.available_isas():
            for instructions in (None, False, True):
                _core.force_isa(isa, instructions)
                assert_equal(layer(x)[0], layer(x)[0])
                np.testing.assert_allclose(layer(x)[0], want[0], atol=1e-6)
    finally:
        _core.force_isa(before)
    assert_equal(layer(x), want)


@pytest.mark.parametrize("instructions", [None, False, True])
def test_one_sequence_and_many_in_bfloat16(instructions):
    """One or two sequences have other kernels where the processor has VDPBF16PS and weights are large."""
    before = _core.get_isa()
    try:
        _core.force_isa(before, instructions)
        layer = rf.GRU(8, 500, matmul_precision="bfloat16", rng=0)
        wide = normal(2, 4, 8)
        want = [layer(wide[:, :rows]) for rows in (1, 4, 2, 1)]
        layer.freeze()
        assert_equal([layer(wide[:, :rows]) for rows in (1, 4, 2, 1)], want)
    finally:
        _core.force_isa(before)


@pytest.mark.parametrize("precision", _core.PRECISIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(precision, bias):
    linear = rf.Linear(I, 33, bias=bias, rng=0, matmul_precision=precision)
    want = [linear(x), linear(x[0, 0]), linear(x[:0])]
    linear.freeze()
    for _ in range(2):
        assert_equal([linear(x), linear(x[0, 0]), linear(x[:0])], want)


@pytest.mark.parametrize("precision", _core.PRECISIONS)
def test_later_calls_read_what_the_first_one_packed(precision):
    """Only here is the memory overwritten, past NumPy and Python."""
    model = rf.Sequential(rf.LSTM(I, H, bidirectional=True, rng=0), rf.Linear(2 * H, 3, rng=1))
    model.matmul_precision = precision
    want = model(x)
    model.freeze()
    model(x)
    for parameter in model.parameters():
        ctypes.memset(parameter.data.ctypes.data, 0, parameter.data.nbytes)
    assert_equal(model(x), want)
    model.matmul_precision = precision  # packs anew
    assert not model(x)[0].any()


def test_threads_share_a_module_while_it_is_frozen_and_unfrozen():
    model = rf.Sequential(small_layer("gru", num_layers=2), rf.Linear(H, 2, rng=1))
    want, wrong = model(x)[0], []

    def evaluate() -> None:
        wrong.extend(n for n in range(200) if not np.array_equal(model(x)[0], want))

    threads = [Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        model.freeze()
        model.unfreeze()
    for thread in threads:
        thread.join()
    assert not wrong


def test_models_of_every_kind_freeze_with_their_members():
    tokens = np.random.default_rng(0).integers(0, 3, (T, B))
    embedded = rf.Sequential(rf.Embedding(3, I, rng=1), rf.LSTM(I, H, rng=2), rf.Linear(H, 2, rng=3))
    mine = Tagger()
    for model, given in ((embedded, tokens), (mine, normal(T, B, 2))):
        want = model(given)
        assert not model.frozen
        model.freeze()
        model.freeze()
        assert model.frozen
        assert all(member.frozen for member in model.modules() if member.parameters())
        assert all(parameter.frozen for parameter in model.parameters())
        assert_equal(model(given), want)
        model.unfreeze()
        assert not any(parameter.frozen for parameter in model.parameters())
    assert not rf.Dropout(0.5).frozen
    rf.Dropout(0.5).freeze()


def test_a_part_of_a_model_may_be_frozen():
    model = model_with_gradients()
    model[0].freeze()
    assert model[0].frozen
    assert not model.frozen
    before = model.state_dict()
    rf.optim.SGD(model[2].parameters(), lr=0.1).step()
    changed = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
    assert changed == {"2.weight", "2.bias"}


def test_a_plain_list_of_modules_is_refused():
    model = Tagger()
    model.more = [rf.Linear(2, 2)]
    with pytest.raises(TypeError, match=r"Tagger\.more: expected an rf\.ModuleList"):
        model.freeze()
    assert not model.trunk.frozen


# Nothing can write


def test_no_flag_and_no_older_view_reaches_the_values():
    layer = small_layer("lstm")
    parameter = layer.weight_hh_l0
    older, part = parameter.data, parameter.data[:2]
    want = layer(x)
    layer.freeze()
    for array in (parameter.data, parameter.data[1:], parameter.data.base):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
    with pytest.raises(ValueError, match="read-only"):
        parameter.data -= 1
    older[...] = part[...] = 7
    parameter.data.shape = (-1,)
    assert_equal(layer(x), want)
    layer.unfreeze()
    assert_equal(layer(x), want)


def test_every_writer_is_refused_before_it_writes(tmp_path: Path):
    model = model_with_gradients()
    state = {name: array + 1 for name, array in model.state_dict().items()}
    other = rf.Sequential(rf.LSTM(2, 5, rng=8), rf.GRU(5, 5, rng=9), rf.Linear(5, 1, rng=10))
    rf.save(tmp_path / "other.npz", other)
    model[1].freeze()
    adam = rf.optim.Adam(model.parameters())
    writers: dict[str, Callable[[], Any]] = {
        r"^params\[4\]: expected a parameter that can be written, ": adam.step,
        r"^state_dict: 1\.weight_ih_l0: .*; 1\.weight_hh_l0: .*; 1\.bias_ih_l0: ": lambda: (
            model.load_state_dict(state)
        ),
        r"1\.weight_ih_l0: expected a parameter": lambda: rf.load(tmp_path / "other.npz", model),
        r"^data: expected": lambda: setattr(model[1].bias_ih_l0, "data", np.ones(15)),
        r"^weight_ih_l0\.data: expected": lambda: rf.init.recurrent(model[1]),
        r"^target: expected": lambda: rf.init.orthogonal(model[1].weight_hh_l0),
        r"^1\.weight_ih_l0\.data: expected": lambda: rf.check_gradients(
            model, "mse", normal(4, 3, 2), normal(4, 3, 1)
        ),
    }
    for message, write in writers.items():
        assert_refused(model, f"{message}.*unfreeze", write)
    assert not adam.state_dict()["steps"].any()
    model[0].freeze()
    message = (
        r"^bias_ih_l0\.data: expected a writeable array, got one of a frozen module "
        r"\(unfreeze\(\) makes it writeable\)$"
    )
    assert_refused(model, message, lambda: rf.init.forget_bias(model[0], 2.0))


def test_fit_is_refused_and_changes_no_weight():
    model = rf.Sequential(rf.GRU(2, 3, rng=0), rf.Linear(3, 1, rng=1))
    model.freeze()
    before = model.state_dict()
    optimizer = rf.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match=r"params\[0\]: .*unfreeze"):
        rf.fit(model, "mse", [(normal(4, 3, 2), normal(4, 3, 1))], optimizer, epochs=1)
    assert_equal(model.state_dict(), before)


# Unfrozen again


@pytest.mark.parametrize("precision", _core.PRECISIONS)
def test_an_unfrozen_module_follows_its_weights(precision):
    model = rf.Sequential(small_layer("gru", num_layers=2), rf.Linear(H, 2, rng=1))
    model.matmul_precision = precision
    before = model.state_dict()
    model.freeze()
    model(x)
    assert_equal(model.state_dict(), before)
    model.unfreeze()
    for array in model.state_dict().values():
        array *= 0.5  # a copy
    for parameter in model.parameters():
        parameter.data *= 0.5
    other = rf.Sequential(small_layer("gru", rng=1, num_layers=2), rf.Linear(H, 2, rng=2))
    other.matmul_precision = precision
    other.load_state_dict({name: array * np.float32(0.5) for name, array in before.items()})
    assert_equal(model(x), other(x))
    model.freeze()
    assert_equal(model(x), other(x))


def test_unfreeze_drops_the_packed_weights():
    model = rf.Sequential(small_layer("gru"), rf.Linear(H, 2))
    model.freeze()
    model(x)
    assert all(module._from_arrays is not None for module in model)
    model.unfreeze()
    assert all(module._from_arrays is None for module in model)


def test_a_gradient_from_before_freeze_and_a_tape_across_it():
    layer = small_layer("lstm")
    want = gradients(layer, dy)
    layer.zero_grad()
    y, _, tape = layer.forward(x)
    layer.freeze()
    dx, _ = layer.backward(tape, dy)
    assert_equal((y, dx, layer.weight_hh_l0.grad), (want[0], want[2], want[4]["weight_hh_l0"]))
    y, _, tape = layer.forward(x)
    layer.unfreeze()
    layer.weight_hh_l0.data[...] = 0
    assert_equal(layer.backward(tape, dy)[0], dx)


def test_the_precision_of_a_frozen_module_may_be_set():
    model = rf.Sequential(small_layer("lstm"), rf.Linear(H, 2, rng=1))
    want = {}
    for precision in _core.PRECISIONS:
        model.matmul_precision = precision
        want[precision] = model(x)
    model.freeze()
    for precision in (*_core.PRECISIONS, "float32"):
        model.matmul_precision = precision
        assert model.frozen
        assert_equal([model(x), model(x)], [want[precision]] * 2)


# Streams


@pytest.mark.parametrize("precision", _core.PRECISIONS)
def test_streams_keep_working(precision):
    model = rf.Sequential(rf.LSTM(I, H, peephole=True, rng=0), rf.Linear(H, 2, rng=1))
    model.matmul_precision = precision
    y, state = model(x)
    early = model.stream(B)
    model.freeze()
    late = model.stream(B)
    assert_equal(np.stack([early(x_t) for x_t in x]), y)
    assert_equal(np.stack([late(x_t) for x_t in x]), y)
    assert_equal(late.state[0], state[0])
    model.unfreeze()
    for parameter in model.parameters():
        parameter.data *= 0.5
    want = model(x)[0]
    for step in (early, late):
        step.refresh()
        step.reset()
        assert_equal(np.stack([step(x_t) for x_t in x]), want)


# Copies and shared parameters


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_are_frozen_and_apart(copied: Callable[[Any], Any]):
    model = rf.Sequential(small_layer("gru"), rf.Linear(H, 2, rng=1))
    want = model(x)
    assert not copied(model).frozen
    model.freeze()
    model(x)
    same = copied(model)
    assert same.frozen
    assert_equal([same(x), same(x)], [want] * 2)
    same.unfreeze()
    for parameter in same.parameters():
        parameter.data[...] = 0
    assert model.frozen
    assert not same(x)[0].any()
    assert_equal(model(x), want)


def test_a_saved_model_does_not_say_whether_it_was_frozen(tmp_path: Path):
    model = rf.Sequential(small_layer("gru"), rf.Linear(H, 2, rng=1))
    rf.save(tmp_path / "before.npz", model)
    model.freeze()
    rf.save(tmp_path / "after.npz", model)
    with np.load(tmp_path / "before.npz") as before, np.load(tmp_path / "after.npz") as after:
        assert_equal(dict(before), dict(after))
    other = rf.Sequential(small_layer("gru", rng=3), rf.Linear(H, 2, rng=4))
    rf.load(tmp_path / "after.npz", other)
    assert not other.frozen
    assert_equal(other(x), model(x))


def test_a_shared_parameter_is_constant_everywhere():
    layer, linear = small_layer("gru"), rf.Linear(H, 3 * H, rng=1)
    linear.weight = layer.weight_hh_l0
    want = layer(x), linear(dy)
    linear.freeze()
    assert layer.weight_hh_l0.frozen
    assert not layer.frozen
    assert_equal([layer(x), linear(dy)], list(want))
    with pytest.raises(ValueError, match="unfreeze"):
        layer.weight_hh_l0.data = 0 * layer.weight_hh_l0.data
    layer.bias_hh_l0.data += 1  # not shared: the layer follows it
    assert not np.array_equal(layer(x)[0], want[0][0])
    layer.freeze()
    layer(x)
    linear.unfreeze()
    layer.weight_hh_l0.data[...] = 0
    assert not layer.frozen
    assert layer.bias_hh_l0.frozen
    assert_equal(linear(dy)[0], np.broadcast_to(linear.bias.data, (T, B, 3 * H)))
    zero = small_layer("gru")
    zero.load_state_dict(layer.state_dict())
    assert_equal(layer(x), zero(x))


def test_parameters_of_other_kinds():
    for values in (np.zeros((0, 3)), np.float32(3), np.arange(6.0).reshape(2, 3).T):
        holder = rf.Module()
        holder.own = Parameter(values)
        holder.freeze()
        assert holder.own.frozen
        assert_equal(holder.own.data, np.asarray(values))
        holder.unfreeze()
        holder.own.data[...] = 1
        assert holder.own.data.flags.c_contiguous
