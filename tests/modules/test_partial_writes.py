"""If one array is read-only, nothing is written, and the error names the array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.arrays import as_state, normal, parts

import rnnfast as rf
from rnnfast import keras

T, B, I, H = 4, 3, 2, 5


def model_with_gradients() -> rf.Sequential:
    """Ready for an update: each parameter has a gradient."""
    made = rf.Sequential(rf.LSTM(I, H, rng=0), rf.GRU(H, H, rng=1), rf.Linear(H, 1, rng=2))
    rf.loss_and_grad(made, "mse", normal(T, B, I), normal(T, B, 1))
    return made


def values_and_gradients(whole: rf.Module) -> dict[str, np.ndarray]:
    """Copies of all values and gradients."""
    named = whole.named_parameters()
    return {name: p.data.copy() for name, p in named} | {f"{name}.grad": p.grad.copy() for name, p in named}


def lock(whole: rf.Module, name: str, kind: str = "data") -> None:
    getattr(dict(whole.named_parameters())[name], kind).setflags(write=False)


def assert_refused(whole: rf.Module, message: str, write: Callable[[], Any]) -> None:
    """`write` raises a ValueError and changes nothing."""
    before = values_and_gradients(whole)
    with pytest.raises(ValueError, match=message):
        write()
    for name, array in values_and_gradients(whole).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_load_state_dict_writes_all_or_nothing() -> None:
    whole = model_with_gradients()
    state = {name: array + 1 for name, array in whole.state_dict().items()}
    lock(whole, "2.weight")
    message = r"^state_dict: 2\.weight: expected a parameter that can be written, got a read-only one$"
    assert_refused(whole, message, lambda: whole.load_state_dict(state))
    assert_refused(whole, message, lambda: whole.check_state_dict(state))


@pytest.mark.parametrize("kind", [rf.optim.SGD, rf.optim.Adam, rf.optim.AdamW, rf.optim.RMSprop])
def test_an_optimizer_s_step_writes_all_or_nothing(kind: Any) -> None:
    whole = model_with_gradients()
    optimizer = kind(whole.parameters())
    lock(whole, "1.weight_hh_l0")
    assert_refused(
        whole, r"^params\[5\]: expected a parameter that can be written, .* \(15, 5\)$", optimizer.step
    )
    assert not optimizer.state_dict()["steps"].any()
    whole[1].weight_hh_l0.grad = None  # what is not updated may be read-only
    optimizer.step()


@pytest.mark.parametrize("clip", [rf.clip_grad_norm, rf.clip_grad_value])
def test_clipping_writes_all_or_nothing(clip: Any) -> None:
    whole = model_with_gradients()
    lock(whole, "0.weight_hh_l0", "grad")
    message = r"^parameters\[1\]: expected a gradient that can be written, got a read-only one of shape"
    assert_refused(whole, message, lambda: clip(whole.parameters(), 1e-3))


def test_backward_writes_all_or_nothing() -> None:
    whole = model_with_gradients()
    x, targets = normal(T, B, I), normal(T, B, 1)
    lock(whole, "0.bias_hh_l0", "grad")
    message = r"^0\.bias_hh_l0\.grad: expected a writeable array, got a read-only one$"
    assert_refused(whole, message, whole.zero_grad)
    assert_refused(whole, message, lambda: rf.loss_and_grad(whole, "mse", x, targets))


def test_initialization_writes_all_or_nothing() -> None:
    lstm = model_with_gradients()[0]
    lock(lstm, "bias_hh_l0")
    message = r"^bias_hh_l0\.data: expected a writeable array, got a read-only one$"
    assert_refused(lstm, message, lambda: rf.init.forget_bias(lstm, 1.0))
    assert_refused(lstm, message, lambda: rf.init.recurrent(lstm, rng=0))
    lock(lstm, "weight_hh_l0")
    message = r"^target: expected an array that can be written"
    assert_refused(lstm, message, lambda: rf.init.orthogonal(lstm.weight_hh_l0, blocks=4, rng=0))


def test_load_weights_of_keras_writes_all_or_nothing() -> None:
    lstm = model_with_gradients()[0]
    weights = [array + 1 for array in keras.get_weights(lstm)]
    lock(lstm, "bias_hh_l0")
    assert_refused(
        lstm,
        r"bias_hh_l0: expected a parameter that can be written",
        lambda: keras.load_weights(lstm, weights),
    )


@pytest.mark.parametrize("damage", ["model", "optimizer", "read-only"])
def test_loading_a_checkpoint_writes_all_or_nothing(tmp_path: Any, damage: str) -> None:
    whole, path = model_with_gradients(), tmp_path / "saved.npz"
    optimizer = rf.optim.Adam(whole.parameters())
    optimizer.step()
    rf.save(path, whole, optimizer)
    other: Any = model_with_gradients()
    kept: Any = rf.optim.Adam(other.parameters())
    message = "expected that of SGD, got that of Adam"
    if damage == "model":
        other = rf.Sequential(*other, rf.Linear(1, 1, rng=0))
        rf.loss_and_grad(other, "mse", normal(T, B, I), normal(T, B, 1))
        message = r"missing model\.3\.weight"
    elif damage == "optimizer":
        kept = rf.optim.SGD(other.parameters(), lr=0.5)
    else:
        lock(other, "2.bias")
        message = r"2\.bias: expected a parameter that can be written"
    state = kept.state_dict()
    assert_refused(other, message, lambda: rf.load(path, other, kept))
    assert repr(kept.state_dict()) == repr(state)


def test_setting_the_state_of_a_stream_writes_all_or_nothing() -> None:
    whole = rf.Sequential(rf.GRU(I, H, rng=0), rf.Linear(H, H, rng=1), rf.Sequential(rf.LSTM(H, H, rng=2)))
    step = whole.stream(B)
    step(normal(B, I))
    before = repr(step.state)
    good, h = np.ones((1, B, H), np.float32), np.ones((1, B, H), np.float32)
    for state, kind, message in (
        ((good, None, ((h, h[:, :1]),)), ValueError, r"^module 2: module 0: state c: expected shape"),
        ((good, None, (h,)), TypeError, r"^module 2: module 0: state: expected a pair"),
        ((good, None, (h, h)), ValueError, r"^module 2: state: expected 1 entries, one per module, got 2"),
        ((good, h, None), ValueError, r"^state: expected None for module 1, which has no state$"),
        (
            (good[:, 0], None, None),
            ValueError,
            r"^module 0: state: .*: a stream's state has an axis of the b",
        ),
    ):
        with pytest.raises(kind, match=message):
            step.state = state
        assert repr(step.state) == before
    step.state = (good, None, ((None, h),))
    np.testing.assert_array_equal(step.state[0], good)
    np.testing.assert_array_equal(step.state[2][0][1], h)
    assert not step.state[2][0][0].any()


def test_the_state_of_an_unbatched_encoder_is_named_and_fits_with_an_axis_more() -> None:
    for layer in (rf.GRU(I, H, rng=0), rf.LSTM(I, H, rng=0)):
        x = normal(T, I)
        _, state = layer(x[:2])
        step = layer.stream()
        with pytest.raises(ValueError, match=r"state\[:, None\] adds it to the state of an unbatched x$"):
            step.state = state
        step.state = as_state(tuple(part[:, None] for part in parts(state)))
        np.testing.assert_array_equal(step(x[2]), layer(x)[0][2])
