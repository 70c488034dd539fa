"""Arguments of the wrong kind or out of range are refused by name, before anything is written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal

import rnnfast as rf
from rnnfast import functional
from rnnfast.training import evaluate

T, B, I, H = 4, 3, 2, 5


def masked(array: Any) -> np.ma.MaskedArray:
    return np.ma.masked_array(array, mask=np.ones_like(array, dtype=bool))


def parameter() -> rf.Parameter:
    made = rf.Parameter(np.zeros((4, 2)))
    made.grad = np.ones((4, 2))
    return made


def lstm(**keywords: Any) -> rf.LSTM:
    return rf.LSTM(I, H, rng=0, **keywords)


def lstm_forward(x: Any = None, **keywords: Any) -> Any:
    return lstm().forward(normal(T, B, I) if x is None else x, **keywords)


def lstm_weights() -> dict[str, Any]:
    return {"weight_ih": normal(4 * H, I), "weight_hh": normal(4 * H, H)}


X, Y = normal(T, B, I), normal(T, B, 1)


def fit_linear(**keywords: Any) -> Any:
    model = rf.Linear(I, 1, rng=0)
    given: dict[str, Any] = {"data": (X, Y), "optimizer": rf.optim.SGD(model.parameters()), "loss": "mse"}
    return rf.fit(model=model, **{**given, "progress": False, **keywords})


FLAGS = [
    (lambda v: rf.RNN(I, H, bias=v), "bias"),
    (lambda v: rf.RNN(I, H, batch_first=v), "batch_first"),
    (lambda v: rf.GRU(I, H, bidirectional=v), "bidirectional"),
    (lambda v: rf.GRU(I, H, reset_after=v), "reset_after"),
    (lambda v: rf.LSTM(I, H, peephole=v), "peephole"),
    (lambda v: rf.LSTM(I, H, coupled_gates=v), "coupled_gates"),
    (lambda v: rf.LSTM(I, H, bias=v, forget_bias=1.0), "bias"),
    (lambda v: rf.Linear(I, H, bias=v), "bias"),
    (lambda v: rf.Last(batch_first=v), "batch_first"),
    (lambda v: rf.Last(bidirectional=v), "bidirectional"),
    (lambda v: lstm_forward(training=v), "training"),
    (lambda v: lstm_forward(return_states=v), "return_states"),
    (lambda v: lstm()(X, return_states=v), "return_states"),
    (lambda v: rf.Dropout().forward(X, training=v), "training"),
    (lambda v: rf.Sequential(lstm()).forward(X, training=v), "training"),
    (lambda v: rf.Dropout().backward(rf.Dropout().forward(X)[2], retain=v), "retain"),
    (lambda v: rf.Dropout().backward(rf.Dropout().forward(X)[2], input_grad=v), "input_grad"),
    (lambda v: functional.lstm_forward(X, **lstm_weights(), coupled_gates=v), "coupled_gates"),
    (lambda v: functional.lstm_forward(X, **lstm_weights(), reverse=v), "reverse"),
    (lambda v: functional.lstm_forward(X, **lstm_weights(), return_states=v), "return_states"),
    (lambda v: rf.optim.SGD([parameter()], momentum=0.5, nesterov=v), "nesterov"),
    (lambda v: fit_linear(stateful=v), "stateful"),
    (lambda v: fit_linear(shuffle=v), "shuffle"),
    (lambda v: rf.pack_sequences([X], batch_first=v), "batch_first"),
    (lambda v: rf.unpack_sequences(X, [1, 1, 1], batch_first=v), "batch_first"),
]


@pytest.mark.parametrize(("call", "name"), FLAGS)
@pytest.mark.parametrize("value", ["no", 2, 1.0, [], np.zeros(2)], ids=["text", "2", "1.0", "list", "array"])
def test_flags_are_true_or_false(call: Any, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: expected True or False, got "):
        call(value)


def test_numpys_bools_are_flags() -> None:
    assert repr(rf.GRU(I, H, bidirectional=np.True_)) == repr(rf.GRU(I, H, bidirectional=True))
    assert rf.Linear(I, H, bias=np.bool_(0)).bias is None


NUMBERS = [
    (lambda v: rf.Dropout(v), "p"),
    (lambda v: rf.GRU(I, H, dropout=v), "dropout"),
    (lambda v: rf.LSTM(I, H, forget_bias=v), "forget_bias"),
    (lambda v: rf.init.forget_bias(lstm(), v), "value"),
    (lambda v: rf.init.orthogonal(parameter(), v), "gain"),
    (lambda v: rf.init.identity(parameter(), v), "gain"),
    (lambda v: rf.init.xavier_uniform(parameter(), v), "gain"),
    (lambda v: rf.init.xavier_normal(parameter(), v), "gain"),
    (lambda v: rf.clip_grad_norm([parameter()], v), "max_norm"),
    (lambda v: rf.clip_grad_value([parameter()], v), "value"),
    (lambda v: rf.optim.SGD([parameter()], lr=v), "lr"),
    (lambda v: rf.optim.SGD([parameter()], momentum=v), "momentum"),
    (lambda v: rf.optim.Adam([parameter()], betas=(v, 0.9)), r"betas\[0\]"),
    (lambda v: rf.optim.Adam([parameter()], eps=v), "eps"),
    (lambda v: rf.optim.AdamW([parameter()], weight_decay=v), "weight_decay"),
    (lambda v: rf.optim.RMSprop([parameter()], alpha=v), "alpha"),
    (lambda v: setattr(rf.optim.SGD([parameter()]), "lr", v), "lr"),
    (lambda v: rf.schedules.cosine(v), "steps"),
    (lambda v: rf.schedules.cosine(3, floor=v), "floor"),
    (lambda v: rf.schedules.step(v), "every"),
    (lambda v: rf.schedules.step(3, factor=v), "factor"),
    (lambda v: rf.schedules.warmup(v), "steps"),
    (lambda v: rf.schedules.warmup(3, start=v), "start"),
    (lambda v: fit_linear(minutes=v), "minutes"),
    (lambda v: rf.schedules.plateau(v), "factor"),
    (lambda v: rf.schedules.plateau(threshold=v), "threshold"),
    (lambda v: rf.schedules.plateau(min_lr=v), "min_lr"),
    (lambda v: fit_linear(clip_norm=v), "clip_norm"),
    (lambda v: fit_linear(clip_value=v), "clip_value"),
]


@pytest.mark.parametrize(("call", "name"), NUMBERS)
@pytest.mark.parametrize(
    "value",
    ["1", True, 1 + 2j, np.complex64(1), [0.5], np.array([0.5]), np.array("a"), object()],
    ids=["text", "bool", "complex", "numpy's complex", "list", "array", "array of text", "object"],
)
def test_numbers_are_real(call: Any, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: expected a number, got "):
        call(value)


@pytest.mark.parametrize(("call", "name"), NUMBERS)
def test_numbers_are_in_their_range(call: Any, name: str) -> None:
    signed = "gain" in name or name in ("value", "forget_bias")
    for value in (np.nan, *(() if signed else (-0.25, -(10**400)))):
        with pytest.raises(ValueError, match=rf"^{name}: expected "):
            call(value)


def test_numbers_of_every_kind_are_taken() -> None:
    for value in (Decimal("0.25"), np.float32(0.25), np.array(0.25)):
        assert rf.Dropout(value).p == rf.optim.SGD([parameter()], lr=value).lr == 0.25
    for value in (1e39, -1e39, 10**400):
        for call in (
            lambda v=value: lstm(forget_bias=v),
            lambda v=value: rf.init.forget_bias(lstm(), v),
            lambda v=value: rf.init.orthogonal(lstm().weight_ih_l0, v),
        ):
            with pytest.raises(ValueError, match="expected a finite number"):
                call()


INTEGERS = [
    (lambda v: rf.GRU(v, H), "input_size"),
    (lambda v: rf.GRU(I, H, num_layers=v), "num_layers"),
    (lambda v: rf.LSTM(I, H, proj_size=v), "proj_size"),
    (lambda v: rf.Linear(I, v), "out_features"),
    (lambda v: rf.Embedding(v, I), "num_embeddings"),
    (lambda v: lstm().stream(v), "batch"),
    (lambda v: rf.init.orthogonal(parameter(), blocks=v), "blocks"),
    (lambda v: rf.optim.Orthonormal([parameter()], blocks=v), "blocks"),
    (lambda v: rf.schedules.plateau(patience=v), "patience"),
    (lambda v: rf.schedules.plateau(cooldown=v), "cooldown"),
    (lambda v: rf.losses.cross_entropy(normal(3, 2), [0, 1, 1], ignore_index=v), "ignore_index"),
    (lambda v: fit_linear(epochs=v), "epochs"),
    (lambda v: fit_linear(batch_size=v), "batch_size"),
    (lambda v: fit_linear(patience=v, validation=(X, Y)), "patience"),
    (lambda v: fit_linear(axes=(v, 0)), r"axes\[0\]"),
    (lambda v: fit_linear(truncate=(v, 2)), "k1"),
    (lambda v: rf.probe(lstm(), "mse", X, normal(T, B, H), origins=v), "origins"),
]


@pytest.mark.parametrize(("call", "name"), INTEGERS)
@pytest.mark.parametrize("value", ["1", 1.5, True, object(), np.array([1, 2])])
def test_integers_are_integers(call: Any, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: expected an integer, got "):
        call(value)


ARRAYS = [
    (lambda: lstm()(masked(X)), "x"),
    (lambda: lstm()(list(map(masked, X))), "x"),
    (lambda: lstm_forward(masked(X)), "x"),
    (lambda: lstm_forward(state=(masked(normal(1, B, H)), None)), "state h"),
    (lambda: lstm_forward(lengths=masked([1, 2, 3])), "lengths"),
    (lambda: lstm_forward(reset=masked(np.zeros((T, B), bool))), "reset"),
    (lambda: rf.GRU(I, H)(X, masked(normal(1, B, H))), "state"),
    (lambda: setattr(lstm().stream(), "state", (None, masked(normal(1, 1, H)))), "state c"),
    (lambda: lstm().stream()(masked(normal(1, I))), "x"),
    (lambda: lstm().stream(B).reset(masked([True] * B)), "mask"),
    (lambda: rf.Linear(I, 1).backward(rf.Linear(I, 1).forward(X)[2], masked(Y)), ""),
    (lambda: rf.Dropout()(masked(X)), "x"),
    (lambda: rf.Last()(masked(X)), "x"),
    (lambda: rf.Last()(X, lengths=masked([1, 1, 1])), "lengths"),
    (lambda: rf.Embedding(3, 2)(masked([0, 1])), "x"),
    (lambda: rf.Parameter(masked(X)), "data"),
    (lambda: setattr(parameter(), "grad", masked(np.ones((4, 2)))), "grad"),
    (lambda: setattr(parameter(), "data", masked(np.ones((4, 2)))), "data"),
    (lambda: rf.losses.mse(masked(Y), Y), "y"),
    (lambda: rf.losses.mse(Y, masked(Y)), "targets"),
    (lambda: rf.losses.mse(Y, Y, masked(Y > 0)), "mask"),
    (lambda: rf.losses.cross_entropy(X, masked(np.zeros((T, B), int))), "targets"),
    (lambda: rf.init.identity(masked(np.zeros((2, 2)))), "target"),
    (
        lambda: lstm().load_state_dict({**lstm().state_dict(), "bias_ih_l0": masked(normal(4 * H))}),
        "state_d",
    ),
    (lambda: functional.lstm_forward(masked(X), **lstm_weights()), "x"),
    (
        lambda: functional.lstm_forward(X, **{**lstm_weights(), "weight_hh": masked(normal(4 * H, H))}),
        "weight_hh",
    ),
    (lambda: functional.lstm_forward(X, **lstm_weights(), lengths=masked([1, 1, 1])), "lengths"),
    (lambda: rf.reference.lstm_forward(masked(X), **lstm_weights()), "x"),
    (lambda: rf.reference.gru_forward(X, **{**lstm_weights(), "weight_ih": masked(X)}), ""),
    (lambda: rf.baselines.NGram(masked([0, 1]), 2, 1), ""),
    (lambda: rf.pack_sequences([X, masked(X)]), "sequences"),
    (lambda: rf.unpack_sequences(masked(X), [1, 1, 1]), "y"),
    (lambda: rf.sampling.distribution(masked([0.5, 0.5])), "logits"),
    (lambda: fit_linear(data=(masked(X), Y)), r"data\[0\]"),
    (lambda: fit_linear(data=(X, masked(Y))), r"data\[1\]"),
    (lambda: fit_linear(data=(X, Y, {"mask": masked(Y[..., 0] > 0)})), r"data\[2\]: mask"),
    (lambda: fit_linear(validation=(X, masked(Y))), r"validation\[1\]"),
    (lambda: evaluate(rf.Linear(I, 1), "mse", (X, masked(Y))), r"data\[1\]"),
    (lambda: rf.loss_and_grad(lstm(), "mse", X, masked(normal(T, B, H))), "targets"),
    (lambda: rf.check_gradients(lstm(dtype="float64"), "mse", masked(X), normal(T, B, H)), "x"),
]


@pytest.mark.parametrize(("call", "name"), ARRAYS)
def test_masks_of_masked_arrays_are_not_dropped(call: Any, name: str) -> None:
    # A state_dict names all its problems in one ValueError.
    with pytest.raises((TypeError, ValueError), match=rf"^{name}") as caught:
        call()
    if name:
        assert "got a masked one, whose mask would be dropped" in str(caught.value)


def test_errors_show_values_on_one_short_line() -> None:
    gru = rf.GRU(I, H, rng=0)
    with pytest.raises(TypeError, match=r"^batch: expected an integer, got an array of shape \(1, 3, 5\)$"):
        gru.stream(gru(X)[1])  # a state in place of the batch
    with pytest.raises(TypeError) as caught:
        rf.Linear(I, H, bias="no" * 1000)
    assert len(str(caught.value)) < 200


def test_other_kinds_are_named_too(tmp_path: Any) -> None:
    two = np.array([1, 2])
    for call, kind, message in (
        (lambda: rf.RNN(I, H, nonlinearity=two), ValueError, "nonlinearity: expected one of tanh, relu, "),
        (
            lambda: rf.RNN(I, H, nonlinearity=["tanh"]),
            ValueError,
            "nonlinearity: expected one of tanh, relu, ",
        ),
        (lambda: rf.GRU(I, H, rng=two), TypeError, "rng: expected an integer, a numpy"),
        (lambda: lstm_forward(rng=two), TypeError, "rng: expected an integer, a numpy"),
        (
            lambda: lstm_forward(checkpoint=two),
            TypeError,
            "checkpoint: expected True, False, an integer or None",
        ),
        (
            lambda: rf.training.write_checkpoint(tmp_path / "a", [two], {}),
            TypeError,
            "arrays: expected a mapping",
        ),
        (
            lambda: rf.training.write_checkpoint(tmp_path / "a", {1: two}, {}),
            TypeError,
            "arrays: expected a map",
        ),
        (lambda: rf.training.History().plot(3), TypeError, "path: expected the name of a file"),
    ):
        with pytest.raises(kind, match=f"^{message}"):
            call()
    assert not list(tmp_path.iterdir())


def test_the_models_and_losses_of_training_are_what_they_should_be() -> None:
    for change, kind, message in (
        ({"model": [1]}, TypeError, "model: expected a Module, got list"),
        ({"loss": 3}, TypeError, "loss: expected a function, got 3"),
        (
            {"loss": "rmse"},
            ValueError,
            "loss: expected a function or one of binary_cross_entropy, cross_entropy, "
            "ctc, huber, mae, mse, got 'rmse'",
        ),
        ({"optimizer": [1]}, TypeError, r"optimizer: expected one of rnnfast\.optim, got list"),
        ({"schedule": 0.1}, TypeError, "schedule: expected a function, got 0.1"),
        ({"describe": "x"}, TypeError, "describe: expected a function"),
        ({"callbacks": [print, 3]}, TypeError, r"callbacks\[1\]: expected a function, got 3"),
        ({"metadata": [1]}, TypeError, "metadata: expected a mapping, got list"),
        ({"checkpoint": 3}, TypeError, "path: expected the name of a file"),
        ({"resume": 3}, TypeError, "path: expected the name of a file"),
        ({"axes": 1}, TypeError, r"axes: expected \(axis of x, axis of targets\), got 1"),
    ):
        model = rf.Linear(I, 1, rng=0)
        given: dict[str, Any] = {"model": model, "optimizer": rf.optim.SGD(model.parameters(), lr=0.1)}
        before = model.state_dict()
        with pytest.raises(kind, match=f"^{message}"):
            rf.fit(**{**given, "loss": "mse", "data": (X, Y), "progress": False, **change})
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
    for factor in (np.nan, -1.0):
        with pytest.raises(ValueError, match=r"^schedule: expected a "):
            fit_linear(schedule=lambda step, factor=factor: factor)
    with pytest.raises(TypeError, match=r"^schedule: expected a number, got None"):
        fit_linear(schedule=lambda step: None)
    module = rf.Dropout()
    with pytest.raises(
        ValueError, match=r"^model: expected at least one parameter for a checkpoint, got Drop"
    ):
        rf.fit(module, "mse", (X, X), rf.optim.SGD([parameter()]), checkpoint="none.npz", progress=False)
    for model in (3, rf.Parameter(np.zeros(1))):
        for call in (rf.sampling.generate, lambda *given: rf.sampling.beam_search(*given, beams=1)):
            with pytest.raises(TypeError, match=r"^model: expected one with a method stream, got "):
                call(model, [1], 2)
    for exclude in (3, ["a"], [1.5]):
        with pytest.raises(TypeError, match=r"^exclude: expected "):
            rf.sampling.distribution([0.5, 0.5], exclude=exclude)
    for wrong in (3, [3], lstm()):
        with pytest.raises(TypeError, match=r"^parameters: expected Parameter"):
            rf.clip_grad_norm(wrong, 1.0)
    with pytest.raises(TypeError, match=r"^then: expected a function"):
        rf.schedules.warmup(3, then=0.5)
    with pytest.raises(TypeError, match=r"^schedule: expected a function"):
        rf.schedules.in_minutes(0.5)
