"""Modules that a user writes: gradients, keywords, errors, streams, copies, training, files."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients
from modules.tagger import B, H, I, T, Tagger

import rnnfast as rf

# How they are run


def test_gradients_agree_with_finite_differences() -> None:
    x = normal(T, B, I, dtype=np.float64)
    assert_gradients(rf.Sequential(Tagger("float64")), x)
    row = rf.Sequential(
        rf.Linear(I, I, dtype="float64", rng=4), Tagger("float64"), rf.Linear(1, 2, dtype="float64", rng=5)
    )
    assert_gradients(row, x)


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_are_added_into_grads_or_into_the_parameters(inside: bool) -> None:
    model: Any = rf.Sequential(Tagger(), rf.Linear(1, 1, rng=2)) if inside else Tagger()
    x, targets = normal(T, B, I), normal(T, B, 1)
    grads: dict[str, np.ndarray] = {}
    rf.loss_and_grad(model, rf.losses.mse, x, targets, grads=grads)
    assert list(grads) == [name for name, _ in model.named_parameters()]
    assert all(parameter.grad is None for parameter in model.parameters())
    rf.loss_and_grad(model, rf.losses.mse, x, targets)
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.grad, grads[name])
    rf.loss_and_grad(model, rf.losses.mse, x, targets, grads=grads)
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(grads[name], 2 * parameter.grad)
    model.zero_grad()
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_keywords_are_those_that_forward_names() -> None:
    class Plain(rf.Module):
        def forward(self, x: Any, state: Any = None) -> Any:
            return x, None, None

    class Any_(Plain):
        def forward(self, x: Any, state: Any = None, **keywords: Any) -> Any:
            return x, None, sorted(keywords)

    class Own(Plain):
        def forward(self, x: Any, state: Any = None, context: Any = None, *, lengths: Any = None) -> Any:
            return x, None, None

    class Declared(Plain):
        takes = frozenset({"rng"})

    assert Tagger.takes == {"training", "lengths", "reset", "rng"}
    assert (Plain.takes, Own.takes, Declared.takes) == (frozenset(), {"context", "lengths"}, {"rng"})
    assert Any_.takes == rf.GRU.takes == {"lengths", "reset", "training", "rng", "checkpoint"}
    assert (rf.Dropout.takes, rf.Last.takes, rf.Linear.takes) == (
        {"training", "rng"},
        {"lengths"},
        frozenset(),
    )


def test_calling_evaluates_without_masks() -> None:
    model = Tagger(p=0.5)
    x = normal(T, B, I)
    y, _ = model(x)
    np.testing.assert_array_equal(y, model.forward(x, training=False)[0])
    assert (model.forward(x)[0] != y).any()
    np.testing.assert_array_equal(model(x[3:], model(x[:3])[1])[0], y[3:])

    class Careless(Tagger):
        def forward(self, x: Any, state: Any = None) -> Any:
            return super().forward(x, state)

    Careless()(x)  # there is nothing to drop
    careless = Careless(p=0.5)
    message = r"^Careless\.forward: expected it to take a keyword training and to hand it on to Dropout"
    for _ in range(2):
        with pytest.raises(TypeError, match=message):
            careless(x)
        careless.forward(x)  # in training there are masks
    with pytest.raises(TypeError, match=r"^module 0 \(Careless\): Careless\.forward: expected it to take"):
        rf.Sequential(careless)(x)


def test_what_a_users_methods_return_is_checked() -> None:
    class Returns(rf.Module):
        def forward(self, x: Any, state: Any = None) -> Any:
            return self.given

        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            return self.back

    model = Returns()
    model.given = normal(3, B, 1)  # three rows are no y, state, tape
    x, targets = normal(3, B, 1), normal(3, B, 1)
    message = r"Returns\.forward: expected it to return y, state, tape, got ndarray$"
    for call in (
        lambda: model(x),
        lambda: rf.loss_and_grad(model, rf.losses.mse, x, targets),
        lambda: rf.Sequential(model).forward(x),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    model.given, model.back = (x, None, None), x
    for call in (
        lambda: rf.loss_and_grad(model, rf.losses.mse, x, targets),
        lambda: rf.loss_and_grad(rf.Sequential(model), rf.losses.mse, x, targets),
    ):
        with pytest.raises(
            TypeError, match=r"Returns\.backward: expected it to return dx, dstate, got ndarray$"
        ):
            call()
    with pytest.raises(NotImplementedError, match=r"^Module: expected a method forward\(x, state=None\)"):
        rf.Module()(x)

    class Forward(rf.Module):
        forward = Returns.forward
        given = (x, None, None)

    with pytest.raises(NotImplementedError, match=r"^Forward: expected a method backward\(tape, dy=None"):
        rf.loss_and_grad(Forward(), rf.losses.mse, x, targets)
    whole = rf.Sequential(model)
    tape = whole.forward(x)[2]
    with pytest.raises(TypeError, match=r"expected a keyword retain"):
        whole.backward(tape, retain=True)


def test_a_probe_of_a_user_s_module_is_refused() -> None:
    x, targets = normal(T, B, I), normal(T, B, 1)
    with pytest.raises(
        TypeError, match=r"^model: expected a recurrent layer, or a Sequential .*, got Tagger"
    ):
        rf.probe(Tagger(), "mse", x, targets)


def test_a_stream_refuses_a_module_whose_state_it_would_lose() -> None:
    message = r"^module 1 \(Tagger\): expected a method stream\(batch\), as the module holds a GRU$"
    with pytest.raises(TypeError, match=message):
        rf.Sequential(rf.Linear(I, I, rng=0), Tagger()).stream(B)

    class Ending(rf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = rf.Last()

        def forward(self, x: Any, state: Any = None) -> Any:
            return self.last.forward(x)

    with pytest.raises(
        ValueError, match=r"^module 1 \(Ending\): stream: expected a module that needs no later"
    ):
        rf.Sequential(rf.GRU(I, H, rng=0), Ending()).stream(B)

    class Stateful(rf.Module):
        def forward(self, x: Any, state: Any = None) -> Any:
            return x, np.zeros(1) if state is None else state, None

    step = rf.Sequential(rf.Linear(I, I, rng=0), Stateful()).stream(B)
    with pytest.raises(TypeError, match=r"^module 1 \(Stateful\): expected a method stream\(batch\)"):
        step(normal(B, I))

    class Streaming(Tagger):
        def stream(self, batch: int = 1) -> Any:
            return rf.Sequential(self.trunk, self.dropout, self.head).stream(batch)

    model = Streaming()
    x = normal(T, B, I)
    step = rf.Sequential(model).stream(B)
    y = np.stack([step(x_t) for x_t in x])
    np.testing.assert_array_equal(y * model.scale.data, model(x)[0])
    step.state = step.state
    step.reset()


# Copies, training, files


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_compute_the_same(take: Any) -> None:
    model, x = Tagger(), normal(T, B, I)
    twin = take(model)
    np.testing.assert_array_equal(twin(x)[0], model(x)[0])
    assert list(twin.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("keywords", [{}, {"truncate": (2, 3)}, {"stateful": True, "batch_size": None}])
def test_fit_trains_saves_and_loads_it(tmp_path: Any, keywords: dict[str, Any]) -> None:
    model, path = Tagger(p=0.1), tmp_path / "run.npz"
    optimizer = rf.optim.Adam(model.parameters(), lr=0.02)
    x = normal(T, 32, I)
    data = x, np.cumsum(x, axis=0).sum(axis=-1, keepdims=True)
    options = dict(progress=False, checkpoint=path, validation=data, rng=0, clip_norm=1.0, **keywords)
    whole = copy.deepcopy((model, optimizer))
    history = rf.fit(model, rf.losses.mse, data, optimizer, epochs=3, **options)
    rf.fit(model, rf.losses.mse, data, optimizer, epochs=6, resume=path, **options)
    assert history.loss[-1] < history.loss[0]
    rf.fit(whole[0], rf.losses.mse, data, whole[1], epochs=6, **options)
    for name, array in whole[0].state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)
    twin = Tagger()
    rf.load(path, twin)
    np.testing.assert_array_equal(twin(x)[0], model(x)[0])
    rf.save(path, model, optimizer)
    rf.load(path, twin, rf.optim.Adam(twin.parameters()))
    np.testing.assert_array_equal(twin(x)[0], model(x)[0])


def test_several_models_are_saved_in_one_file(tmp_path: Any) -> None:
    path = tmp_path / "pair.npz"
    pair = {"encoder": rf.GRU(I, H, rng=0), "decoder": Tagger()}
    optimizer = rf.optim.SGD([p for module in pair.values() for p in module.parameters()], momentum=0.5)
    rf.save(path, pair, optimizer, metadata={"kind": "pair"})
    twin = {"encoder": rf.GRU(I, H, rng=7), "decoder": Tagger()}
    others = rf.optim.SGD([p for module in twin.values() for p in module.parameters()], momentum=0.5)
    assert rf.load(path, twin, others) == {"kind": "pair"}
    for name, module in pair.items():
        for key, array in module.state_dict().items():
            np.testing.assert_array_equal(twin[name].state_dict()[key], array)
    with pytest.raises(ValueError, match=r"missing model\.other\.weight"):
        rf.load(path, {**twin, "other": rf.Linear(1, 1)})
    for wrong, message in (
        ([pair["encoder"]], r"model: expected a Module or a dict of Modules by name, got list"),
        ({"encoder": 3}, "encoder: expected a Module, got int"),
        (None, "model: expected a Module or a dict of Modules by name, got NoneType"),
    ):
        for call in (rf.save, rf.load):
            with pytest.raises(TypeError, match=message):
                call(path, wrong)
    for empty in (rf.Dropout(), {}, {"a": rf.Last()}, rf.Module()):
        with pytest.raises(ValueError, match=r"model: expected at least one parameter, got "):
            rf.save(tmp_path / "empty.npz", empty)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pair.npz"]
    assert re.fullmatch(r"ModuleDict\(\{'a': Dropout\(0\.5\)\}\)", repr(rf.ModuleDict({"a": rf.Dropout()})))
