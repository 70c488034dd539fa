"""Arrays of other libraries, by DLPack or `__array__`, give the bits of NumPy's arrays as any argument."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.arrays import as_state, assert_equal, normal, parts
from helpers.models import forward_backward, state_for, weights_of
from modules.small_layers import B, H, I, T, small_layer

import rnnfast as rf
from rnnfast import _core


class Exported:
    """An array that another library holds: DLPack is the only way to it."""

    device = (1, 0)

    def __init__(self, array: Any) -> None:
        self._array = np.array(array)

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


class ReadOnly(Exported):
    """One that must not be written."""

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self._array.flags.writeable = False


class Older(Exported):
    """One whose library is older than the keywords of DLPack 1.0."""

    def __dlpack__(self, stream: Any = None) -> Any:
        return self._array.__dlpack__()


class Both(Exported):
    """One that NumPy can read both ways."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._array

    def __dlpack__(self, **options: Any) -> Any:
        raise AssertionError("__array__ comes first")


class OnGpu(Exported):
    """One that the CPU cannot read."""

    device = (2, 1)

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the memory is not the CPU's")


class OnGpuWithArray(OnGpu):
    """One whose `__array__` refuses to copy from the device."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("copy it to the host first")


def torch_tensor(array: Any) -> Any:
    return pytest.importorskip("torch").from_numpy(np.array(array))


def jax_array(array: Any) -> Any:
    array = np.asarray(array)
    numpy = pytest.importorskip("jax.numpy")
    return numpy.asarray(array.astype(np.int32) if array.dtype == np.int64 else array)


KINDS = [Exported, ReadOnly, Older, Both, torch_tensor, jax_array]
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_a_layer_reads_them_as_any_argument(cell: str, kind: Callable[[Any], Any]) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    x, dy, state = normal(T, B, I), normal(T, B, 2 * H), state_for(layer, B)
    lengths, reset = np.array([5, 3, 4], np.int32), np.zeros((T, B), bool)
    reset[2, 1] = True
    want = forward_backward(layer, x, state, dy, state, lengths=lengths, reset=reset)
    given = as_state(tuple(kind(part) for part in parts(state)))
    before = _core.runs_so_far()
    got = forward_backward(layer, kind(x), given, kind(dy), given, lengths=kind(lengths), reset=kind(reset))
    assert _core.runs_so_far() == before + 8  # two layers, two directions, forward and backward
    assert_equal(got, want)
    assert_equal(layer(kind(x), given)[0], layer(x, state)[0])


@each_kind
def test_functions_and_streams_read_them(kind: Callable[[Any], Any]) -> None:
    layer = small_layer("gru")
    weights = [parameter.data for parameter in layer.parameters()]
    x, h, dy = normal(T, B, I), normal(B, H), normal(T, B, H)
    want, state, tape = rf.functional.gru_forward(x, *weights, state=h)
    back = rf.functional.gru_backward(tape, dy, h)
    got, got_state, tape = rf.functional.gru_forward(kind(x), *map(kind, weights), state=kind(h))
    assert_equal((got, got_state), (want, state))
    assert_equal(rf.functional.gru_backward(tape, kind(dy), kind(h)), back)
    zoneout = np.full((T, B, H), 0.5, np.float32)
    assert_equal(
        rf.functional.gru_forward(x, *weights, state=h, zoneout=kind(zoneout))[0],
        rf.functional.gru_forward(x, *weights, state=h, zoneout=zoneout)[0],
    )
    step, other = layer.stream(B), layer.stream(B)
    step.state, other.state = kind(h[np.newaxis]), h[np.newaxis]
    assert_equal(step(kind(x[0])), other(x[0]))
    other_layer = small_layer("gru", rng=8)
    other_layer.load_state_dict({name: kind(value) for name, value in layer.state_dict().items()})
    assert_equal(other_layer.state_dict(), layer.state_dict())


@each_kind
def test_other_modules_read_them(kind: Callable[[Any], Any]) -> None:
    modules = [
        rf.Linear(I, 2, rng=0),
        rf.Last(),
        rf.LayerNorm(I),
        rf.Tanh(),
        rf.Residual(rf.GRU(I, I, rng=0)),
        rf.Parallel(rf.Linear(I, 2, rng=0), rf.Tanh()),
        rf.Sequential(rf.GRU(I, 3, rng=0), rf.Linear(3, 2, rng=0)),
    ]
    for module in modules:
        x = normal(T, B, I)
        y, _, tape = module.forward(x)
        dy = normal(*y.shape)
        dx = module.backward(tape, dy)[0]
        got, _, tape = module.forward(kind(x))
        assert_equal(got, y)
        assert_equal(module.backward(tape, kind(dy))[0], dx)
    assert_equal(rf.Dropout(0.5).forward(kind(x), rng=0)[0], rf.Dropout(0.5).forward(x, rng=0)[0])
    tokens = np.array([[1, 0], [2, 2]])
    embedding = rf.Embedding(3, 2, rng=0)
    assert_equal(embedding(kind(tokens))[0], embedding(tokens)[0])
    x, lengths = rf.pack_sequences([kind(normal(3, I)), kind(normal(2, I))])
    assert_equal((x, lengths), rf.pack_sequences([normal(3, I), normal(2, I)]))


@each_kind
def test_losses_read_them(kind: Callable[[Any], Any]) -> None:
    logits, y, mask = normal(T, B, 3), normal(T, B), normal(T, B) > 0
    classes, labels = np.arange(T * B).reshape(T, B) % 3, np.array([[1, 2], [2, 2], [1, 1]])
    for loss, first, targets in (
        (rf.losses.cross_entropy, logits, classes),
        (rf.losses.mse, y, y[::-1].copy()),
        (rf.losses.mae, y, y[::-1].copy()),
        (rf.losses.huber, y, y[::-1].copy()),
        (rf.losses.binary_cross_entropy, y, mask.astype(np.float32)),
    ):
        assert_equal(loss(kind(first), kind(targets), kind(mask)), loss(first, targets, mask))
    want = rf.losses.ctc(logits, labels)
    assert_equal(rf.losses.ctc(kind(logits), kind(labels)), want)
    assert_equal(rf.losses.ctc(kind(logits), [kind(row) for row in labels]), want)


def tagger() -> tuple[Any, Any]:
    model = rf.Sequential(rf.GRU(I, H, rng=0), rf.Linear(H, 3, rng=1))
    return model, rf.optim.Adam(model.parameters(), lr=0.01)


@each_kind
def test_training_reads_them(kind: Callable[[Any], Any]) -> None:
    x, targets, lengths = normal(T, 6, I), np.arange(T * 6).reshape(T, 6) % 3, np.array([5, 1, 3, 4, 2, 5])
    mask = normal(T, 6) > -1
    given = kind(x), kind(targets), {"lengths": kind(lengths), "mask": kind(mask)}
    plain = x, targets, {"lengths": lengths, "mask": mask}
    trained = []
    for data in (plain, given, [plain, plain], [given, given]):
        model, optimizer = tagger()
        history = rf.fit(
            model, "cross_entropy", data, optimizer, batch_size=4, epochs=2, progress=False, rng=0,
            validation=data,
        )  # fmt: skip
        trained.append((history.loss, history.validation, weights_of(model)))
    assert_equal(trained[1], trained[0])
    assert_equal(trained[3], trained[2])
    got = []
    for each_x, each_targets, keywords in (plain, given):
        model, optimizer = tagger()
        loss, _ = rf.loss_and_grad(model, "cross_entropy", each_x, each_targets, **keywords)
        windows = rf.truncated_bptt(model, "cross_entropy", each_x, each_targets, 2, 3, **keywords)
        got.append((loss, [value for value, _ in windows], model.parameters()[0].grad))
    assert_equal(got[1], got[0])


@pytest.mark.parametrize("kind", [OnGpu, OnGpuWithArray])
def test_one_on_another_device_is_refused_by_its_argument(kind: Any) -> None:
    layer = small_layer("lstm")
    x, h, y = normal(T, B, I), normal(1, B, H), normal(T, B, H)
    tape = layer.forward(x)[2]
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("x", lambda: layer(kind(x))),
        ("state c", lambda: layer(x, (h, kind(h)))),
        ("lengths", lambda: layer(x, lengths=kind([1, 2, 3]))),
        ("dy", lambda: layer.backward(tape, kind(y))),
        ("targets", lambda: rf.losses.mse(y, kind(y))),
        ("mask", lambda: rf.losses.mse(y, y, kind(y > 0))),
        ("data[0]", lambda: rf.fit(*tagger()[:1], "mse", (kind(x), y), tagger()[1], progress=False)),
        ("data[1]", lambda: rf.fit(*tagger()[:1], "mse", (x, kind(y)), tagger()[1], progress=False)),
    ]
    for name, call in calls:
        with pytest.raises(TypeError) as caught:
            call()
        message = str(caught.value)
        assert message.startswith(
            f"{name}: expected an array in the CPU's memory, got {kind.__name__} on CUDA:1"
        )
    assert layer.backward(tape, y)[0].shape == x.shape  # no refused call has used the tape up


def test_a_tensor_that_records_gradients_is_refused_by_its_argument() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"^x: expected an array, got Tensor \(.*detach"):
        small_layer("gru")(torch.ones(T, B, I, requires_grad=True))


def test_a_tape_keeps_the_other_library_s_memory() -> None:
    layer = small_layer("gru")
    x, dy = normal(T, B, I), normal(T, B, H)
    want = layer.backward(layer.forward(x)[2], dy)[0]
    given = Exported(x)
    memory = weakref.ref(given._array)
    tape = layer.forward(given)[2]
    del given
    gc.collect()
    assert memory() is not None
    assert_equal(layer.backward(tape, dy)[0], want)
    del tape
    gc.collect()
    assert memory() is None
