"""Where numbers are in memory: the kernels get aligned arrays alone, and what is handed out is in row order.

Row order is what C programs, files and most libraries expect: each array is C-contiguous.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from helpers.arrays import as_state
from helpers.memory import assert_row_order, unaligned, watch_alignment

import rnnfast as rf
from rnnfast import _core, functional, reference

KINDS = ("RNN", "LSTM", "GRU")
DTYPES = ("float32", "float64")
STACKS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True, "dropout": 0.3},
    {"num_layers": 2, "batch_first": True},
    {"batch_first": True, "bidirectional": True},
]


def drawn(form: Any, *shape: int, dtype: Any = "float32") -> np.ndarray:
    """Random numbers, in memory as `form` lays them out."""
    return form(np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype))


def state_of(kind: str, form: Any, *shape: int, dtype: Any) -> Any:
    """A state, or a gradient like one."""
    parts = tuple(drawn(form, *shape, dtype=dtype) for _ in range(1 + (kind.upper() == "LSTM")))
    return as_state(parts)


def used(layer: Any, form: Any, *, checkpoint: int | None = None, lengths: Any = (5, 3)) -> list[Any]:
    """Every result of a layer for arguments that `form` lays out."""
    dtype, count = layer.dtype, layer.num_layers * (1 + layer.bidirectional)
    axes = (2, 5) if layer.batch_first else (5, 2)
    kind = type(layer).__name__
    x, state = drawn(form, *axes, 3, dtype=dtype), state_of(kind, form, count, 2, 4, dtype=dtype)
    how = {"lengths": None if lengths is None else form(np.array(lengths))}
    y, final, tape, states = layer.forward(x, state, return_states=True, checkpoint=checkpoint, **how)
    grads: dict[str, np.ndarray] = {}
    back = layer.backward(
        tape,
        drawn(form, *axes, 4 * (1 + layer.bidirectional), dtype=dtype),
        state,
        dstates=state_of(kind, form, count, *axes, 4, dtype=dtype),
        grads=grads,
    )
    return [y, final, states, back, grads, layer(x, state, return_states=True, **how), layer(x, state)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_pass_gets_aligned_arrays(kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = watch_alignment(monkeypatch)
    gates = len(_core.cell_info(kind).gates) * 4
    weights = [
        drawn(unaligned, *shape, dtype=dtype) for shape in ((gates, 3), (gates, 4), (gates,), (gates,))
    ]
    state = state_of(kind, unaligned, 2, 4, dtype=dtype)
    _, _, tape = getattr(functional, f"{kind}_forward")(
        drawn(unaligned, 5, 2, 3, dtype=dtype), *weights, state, lengths=unaligned(np.array([5, 3]))
    )
    getattr(functional, f"{kind}_backward")(
        tape,
        drawn(unaligned, 5, 2, 4, dtype=dtype),
        state,
        dstates=state_of(kind, unaligned, 5, 2, 4, dtype=dtype),
    )
    assert {"forward", "backward"} <= set(called)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_gets_aligned_arrays(kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = watch_alignment(monkeypatch)
    for stack in STACKS:
        layer = getattr(rf, kind)(3, 4, dtype=dtype, rng=0, **stack)
        layer.load_state_dict({name: unaligned(array) for name, array in layer.state_dict().items()})
        for parameter in layer.parameters():
            parameter.data = unaligned(parameter.data)
            parameter.grad = unaligned(parameter.data)
            parameter.add_grad(unaligned(parameter.data))
        used(layer, unaligned)
        used(layer, unaligned, checkpoint=2)
    assert {"forward", "backward", "run_stack"} <= set(called)


def test_other_modules_and_streams_get_aligned_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    called = watch_alignment(monkeypatch)
    linear = rf.Linear(3, 4, rng=0)
    _, _, tape = linear.forward(drawn(unaligned, 5, 2, 3))
    linear.backward(tape, drawn(unaligned, 5, 2, 4))
    model = rf.Sequential(rf.Embedding(2, 3, rng=0), rf.GRU(3, 4, rng=1))
    _, _, tape = model.forward(unaligned(np.zeros((6, 2), np.int64)))
    model.backward(tape, drawn(unaligned, 6, 2, 4))
    assert {"linear_forward", "linear_backward", "forward", "backward"} <= set(called)
    lstm = rf.LSTM(3, 4, rng=0)
    for batch, shape in ((1, (3,)), (2, (2, 3))):
        step, plain = lstm.stream(batch), lstm.stream(batch)
        step.state = state = state_of("LSTM", unaligned, 1, batch, 4, dtype="float32")
        plain.state = tuple(np.array(part) for part in state)
        x = drawn(unaligned, *shape)
        np.testing.assert_array_equal(step(x), plain(np.array(x)))


@pytest.mark.parametrize("form", [bytes, unaligned])
def test_parameters_from_the_buffers_of_a_pickle_are_their_own(
    form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_alignment(monkeypatch)
    layer = rf.GRU(3, 4, rng=0)
    x = drawn(np.array, 5, 2, 3)
    _, _, tape = layer.forward(x)
    layer.backward(tape, drawn(np.array, 5, 2, 4))
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(layer, protocol=5, buffer_callback=buffers.append)
    assert buffers
    given = [bytes(buffer.raw()) for buffer in buffers]  # read-only
    if form is unaligned:
        given = [unaligned(np.frombuffer(each, np.float32)).data for each in given]
    again = pickle.loads(pickled, buffers=given)
    np.testing.assert_array_equal(again(x)[0], layer(x)[0])
    for ours, parameter in zip(again.parameters(), layer.parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad, parameter.grad)
        ours.add_grad(np.ones_like(ours.data))
    rf.optim.Adam(again.parameters(), lr=0.1).step()
    assert not np.array_equal(again(x)[0], layer(x)[0])


@pytest.mark.parametrize("module", [functional, reference])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_pass_hands_out_row_order(module: Any, kind: str, reverse: bool) -> None:
    form = np.asfortranarray
    gates = len(_core.cell_info(kind).gates) * 4
    weights = [drawn(form, *shape) for shape in ((gates, 3), (gates, 4), (gates,), (gates,))]
    state = state_of(kind, form, 2, 4, dtype="float32")
    y, final, tape, states = getattr(module, f"{kind}_forward")(
        drawn(form, 5, 2, 3), *weights, state, reverse=reverse, lengths=np.array([5, 3]), return_states=True
    )
    back = getattr(module, f"{kind}_backward")(tape, drawn(form, 5, 2, 4), state)
    assert_row_order((y, final, states, back))


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_hands_out_row_order(kind: str, stack: dict[str, Any]) -> None:
    layer = getattr(rf, kind)(3, 4, rng=0, **stack)
    for lengths in (None, (5, 3)):
        for checkpoint in (None, 2):
            assert_row_order(used(layer, np.asfortranarray, checkpoint=checkpoint, lengths=lengths))
    y, final, tape = layer.forward(drawn(np.asfortranarray, 5, 3))  # unbatched
    assert_row_order((y, final, layer.backward(tape, np.asfortranarray(y))))
    layer.load_state_dict({name: np.asfortranarray(array) for name, array in layer.state_dict().items()})
    assert_row_order(layer.state_dict())
    assert_row_order([(parameter.data, parameter.grad) for parameter in layer.parameters()])


def test_other_modules_hand_out_row_order() -> None:
    x = drawn(np.asfortranarray, 5, 2, 4)
    for module in (
        rf.Linear(4, 3, rng=0),
        rf.Dropout(0.5, rng=0),
        rf.Last(),
        rf.Last(batch_first=True),
        rf.Last(bidirectional=True),
        rf.Sequential(rf.LSTM(4, 3, rng=0), rf.Dropout(0.1, rng=1), rf.Linear(3, 4, rng=2)),
    ):
        y, _, tape = module.forward(x)
        dx, _ = module.backward(tape, np.asfortranarray(y))
        assert_row_order(
            (y, module(x), dx, module.state_dict()) if module.parameters() else (y, module(x), dx)
        )
    tokens = np.asfortranarray(np.arange(12).reshape(6, 2) % 3)
    model = rf.Sequential(rf.Embedding(3, 4, rng=0), rf.GRU(4, 3, rng=1))
    y, _, tape = model.forward(tokens)
    model.backward(tape, np.asfortranarray(y))
    assert_row_order((y, model[0](tokens), [parameter.grad for parameter in model.parameters()]))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_hands_out_row_order(batch: int) -> None:
    step = rf.LSTM(4, 3, num_layers=2, rng=0).stream(batch)
    step.state = state_of("LSTM", np.asfortranarray, 2, batch, 3, dtype="float32")
    assert_row_order((step(drawn(np.asfortranarray, batch, 4)), step.state))


def test_losses_sequences_and_optimizers_hand_out_row_order() -> None:
    y, targets = drawn(np.asfortranarray, 5, 2, 4), np.asfortranarray(np.ones((5, 2), int))
    mask = np.asfortranarray(np.ones((5, 2), bool))
    for given in (y, y.swapaxes(0, 1).copy().swapaxes(0, 1)):
        assert_row_order(rf.losses.mse(given, y, mask)[1])
        assert_row_order(rf.losses.cross_entropy(given, targets, mask)[1])
    for batch_first in (False, True):
        x, lengths = rf.pack_sequences([y[:, 0], y[:3, 1]], batch_first=batch_first)
        assert_row_order(
            (x, lengths, rf.unpack_sequences(np.asfortranarray(x), lengths, batch_first=batch_first))
        )
    parameter = rf.nn.Parameter(drawn(np.asfortranarray, 3, 4))
    parameter.add_grad(drawn(np.asfortranarray, 3, 4))
    for kind in (rf.optim.SGD, rf.optim.Adam, rf.optim.AdamW, rf.optim.RMSprop):
        optimizer = kind([parameter], lr=0.1)
        optimizer.step()
        assert_row_order((parameter.data, parameter.grad))
        assert_row_order(optimizer.state_dict())


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("operator", "gates"), [("RNN", 1), ("LSTM", 4), ("GRU", 3)])
def test_an_onnx_node_gets_aligned_arrays_and_hands_out_row_order(
    operator: str, gates: int, direction: str, layout: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    from rnnfast.onnx import run_node

    names = ["Y", "Y_h", "Y_c"][: 2 + (operator == "LSTM")]
    node = onnx.helper.make_node(
        operator, ["X", "W", "R", "B"], names, hidden_size=4, direction=direction, layout=layout
    )
    D = 2 if direction == "bidirectional" else 1
    shapes = ((5, 2, 3), (D, gates * 4, 3), (D, gates * 4, 4), (D, gates * 8))
    called = watch_alignment(monkeypatch)
    results = []
    for form in (unaligned, np.asfortranarray):
        outputs = list(run_node(node, [drawn(form, *shape) for shape in shapes]))
        assert_row_order(outputs)
        results.append(outputs)
    assert "run_stack" in called
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)
