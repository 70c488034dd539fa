"""Modules of a user's own: what registers, under what names; how they are run, trained, saved and copied."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from arrays import normal
from differences import assert_gradients

import rnnfast as rf

T, B, I, H = 6, 4, 2, 5


class Tagger(rf.Module):
    """A recurrent layer, a linear one and a parameter of its own."""

    def __init__(self, dtype: str = "float32", p: float = 0.0) -> None:
        super().__init__()
        self.trunk = rf.GRU(I, H, dtype=dtype, rng=0)
        self.dropout = rf.Dropout(p, rng=3)
        self.head = rf.Linear(H, 1, dtype=dtype, rng=1)
        self.scale = rf.Parameter(np.full(1, 1.5, dtype))

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        training: bool = True,
        lengths: Any = None,
        reset: Any = None,
        rng: Any = None,
    ) -> Any:
        h, state, trunk = self.trunk.forward(x, state, lengths=lengths, reset=reset)
        h, _, dropout = self.dropout.forward(h, training=training, rng=rng)
        y, _, head = self.head.forward(h)
        return y * self.scale.data, state, (trunk, dropout, head, y)

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
        trunk, dropout, head, y = tape
        if dy is not None:
            self.scale.add_grad(np.array([(dy * y).sum()], y.dtype))
            dy = dy * self.scale.data
        dh, _ = self.head.backward(head, dy)
        dh, _ = self.dropout.backward(dropout, dh)
        return self.trunk.backward(trunk, dh, dstate)


# What registers


def test_attributes_register_under_their_names() -> None:
    model = Tagger()
    assert [name for name, _ in model.named_parameters()] == [
        "scale", "trunk.weight_ih_l0", "trunk.weight_hh_l0", "trunk.bias_ih_l0", "trunk.bias_hh_l0",
        "head.weight", "head.bias",
    ]  # fmt: skip
    assert model.parameters() == [parameter for _, parameter in model.named_parameters()]
    assert [name for name, _ in model.named_modules()] == ["", "trunk", "dropout", "head"]
    assert model.modules() == [model, model.trunk, model.dropout, model.head]
    assert {"trunk", "head", "scale"} <= set(dir(model))
    assert model.dtype == np.float32
    outer = rf.Module()
    outer.inner = model
    assert outer.named_parameters()[1][0] == "inner.trunk.weight_ih_l0"


def test_attributes_can_be_replaced_and_deleted() -> None:
    model = Tagger()
    model.trunk = rf.RNN(I, 3, rng=0)
    model.head = rf.Parameter(np.zeros(2))  # a parameter in place of a module
    model.scale = rf.Linear(1, 1)  # and the other way round
    assert [name for name, _ in model.named_parameters()][:2] == ["head", "trunk.weight_ih_l0"]
    assert [name for name, _ in model.named_modules()] == ["", "trunk", "dropout", "scale"]
    del model.trunk, model.head
    model.scale = None
    assert model.parameters() == []
    assert model.scale is None
    with pytest.raises(AttributeError, match="'Tagger' object has no attribute 'trunk'"):
        _ = model.trunk
    with pytest.raises(AttributeError):
        del model.trunk
    model.plain = [1, 2]
    model.plain = rf.Linear(1, 1)
    del model.plain
    assert not hasattr(model, "plain")


def test_what_cannot_register_is_refused() -> None:
    model = Tagger()
    for name, value, kind, message in (
        ("scale", np.zeros(1), AttributeError, r"assign to scale\.data instead"),
        ("trunk", [1], TypeError, "trunk: expected a Module or None, got list"),
        ("a.b", rf.Dropout(), ValueError, "name: expected one without a dot, got 'a.b'"),
        ("own", model, ValueError, "own: expected a module that does not hold this Tagger"),
    ):
        with pytest.raises(kind, match=message):
            setattr(model, name, value)
    inner = rf.ModuleList()
    model.inner = inner
    with pytest.raises(ValueError, match="does not hold this ModuleList"):
        inner.append(model)
    assert len(inner) == 0


def test_forgetting_the_constructor_is_named() -> None:
    class Early(rf.Module):
        def __init__(self) -> None:
            self.head = rf.Linear(1, 1)

    class Never(rf.Module):
        def __init__(self) -> None:
            self.size = 3

    with pytest.raises(
        AttributeError,
        match=r"^Early\.__init__: expected it to call super\(\).__init__\(\) before it sets head",
    ):
        Early()
    for use in (Never().parameters, Never().state_dict, lambda: rf.save("none.npz", Never())):
        with pytest.raises(AttributeError, match=r"^Never\.__init__: expected it to call super"):
            use()
    assert Never().size == 3


@pytest.mark.parametrize("make", [list, tuple, lambda entries: dict(enumerate(entries))])
def test_plain_lists_of_modules_are_named_where_parameters_are_asked_for(make: Any, tmp_path: Any) -> None:
    model = Tagger()
    model.more = make([rf.Linear(1, 1)])
    message = r"^Tagger\.more: expected an rf\.ModuleList or rf\.ModuleDict \(a plain "
    for use in (model.parameters, model.state_dict, lambda: rf.save(tmp_path / "model.npz", model)):
        with pytest.raises(TypeError, match=message):
            use()
    model.more = make([rf.Parameter(np.zeros(1))])
    with pytest.raises(TypeError, match=r"expected an rf\.ParameterList or rf\.ParameterDict"):
        model.parameters()
    model.more = make([model.trunk, model.head, 3])  # registered all the same
    assert len(model.parameters()) == 7


def test_a_layers_own_parameters_keep_their_shapes() -> None:
    table, head = rf.Embedding(7, 3, rng=0), rf.Linear(3, 7, bias=False, rng=1)
    head.weight = table.weight  # tied weights
    assert head.weight is table.weight
    np.testing.assert_array_equal(head(normal(2, 3))[0].shape, (2, 7))
    for name, value, kind in (
        ("weight", rf.Parameter(np.zeros((7, 2), np.float32)), ValueError),
        ("weight", rf.Parameter(np.zeros((7, 3))), TypeError),
        ("weight", None, TypeError),
        ("bias", rf.Parameter(np.zeros(7, np.float32)), TypeError),
    ):
        with pytest.raises(kind, match=f"^{name}: expected"):
            setattr(head, name, value)
    with pytest.raises(TypeError, match=r"^weight: expected"):
        del head.weight
    gru = rf.GRU(2, 3)
    for change in (
        lambda: setattr(gru, "weight_hh_l0", rf.Parameter(np.zeros((9, 3), np.float32))),
        lambda: delattr(gru, "bias_ih_l0"),
    ):
        with pytest.raises(AttributeError, match="a parameter stays what it is"):
            change()
    with pytest.raises(AttributeError, match="a Sequential keeps its modules"):
        setattr(rf.Sequential(gru), "0", rf.GRU(2, 3))


# Containers


def test_a_module_list_is_a_list() -> None:
    modules = [rf.Linear(1, n, rng=n) for n in (1, 2, 3)]
    entries = rf.ModuleList(modules)
    assert list(entries) == modules
    assert (len(entries), entries[-1], list(entries[1:])) == (3, modules[2], modules[1:])
    entries.insert(0, modules[2])
    entries[1] = rf.Dropout()
    del entries[2]
    entries.extend([modules[0]])
    assert [type(entry).__name__ for entry in entries] == ["Linear", "Dropout", "Linear", "Linear"]
    assert entries[0] is entries[2] is modules[2]
    assert [name for name, _ in entries.named_parameters()] == ["0.weight", "0.bias", "3.weight", "3.bias"]
    with pytest.raises(TypeError, match=r"^entry 4: expected a Module, got int"):
        entries.append(3)
    with pytest.raises(TypeError, match=r"^entry 0: expected a Module, got Parameter"):
        rf.ModuleList([rf.Parameter(np.zeros(1))])
    assert len(entries) == 4
    with pytest.raises(TypeError, match="has no forward"):
        entries(normal(1))


def test_a_module_dict_is_a_dict() -> None:
    entries = rf.ModuleDict({"a": rf.Linear(1, 1)})
    entries["b"] = rf.Dropout()
    entries.update([("c", rf.GRU(1, 1))])
    assert list(entries) == list(entries.keys()) == ["a", "b", "c"]
    assert "b" in entries
    assert [type(entry).__name__ for entry in entries.values()] == ["Linear", "Dropout", "GRU"]
    assert entries.items()
    del entries["b"]
    assert len(entries) == 2
    assert entries.named_parameters()[2][0] == "c.weight_ih_l0"
    for name, value, kind in (
        (1, rf.Dropout(), TypeError),
        ("d", 3, TypeError),
        ("e.f", rf.Last(), ValueError),
    ):
        with pytest.raises(kind, match="expected"):
            entries[name] = value
    assert "keys: Parameter" not in repr(rf.ParameterDict({"keys": rf.Parameter(np.zeros(1))}))


def test_parameters_are_held_in_lists_and_dicts() -> None:
    model = rf.Module()
    model.scales = rf.ParameterList([rf.Parameter(np.ones(1)), rf.Parameter(np.ones(2))])
    model.shifts = rf.ParameterDict({"left": rf.Parameter(np.ones(3))})
    assert [(name, parameter.shape) for name, parameter in model.named_parameters()] == [
        ("scales.0", (1,)), ("scales.1", (2,)), ("shifts.left", (3,))
    ]  # fmt: skip
    with pytest.raises(TypeError, match=r"^entry 2: expected a Parameter, got Linear"):
        model.scales.append(rf.Linear(1, 1))


# Shared parameters


def test_shared_parameters_are_listed_once_under_their_first_name() -> None:
    model = rf.Module()
    model.a = rf.Linear(2, 2, rng=0)
    model.b = model.a
    model.c = rf.Linear(2, 2, bias=False, rng=1)
    model.c.weight = model.a.weight
    assert [name for name, _ in model.named_parameters()] == ["a.weight", "a.bias"]
    assert model.modules() == [model, model.a, model.c]
    state = model.state_dict()
    assert list(state) == ["a.weight", "a.bias"]
    model.load_state_dict({**state, "b.weight": state["a.weight"], "c.weight": state["a.weight"]})
    with pytest.raises(
        ValueError, match=r"c\.weight: expected the values of a\.weight, whose parameter it sh"
    ):
        model.load_state_dict({**state, "c.weight": state["a.weight"] + 1})
    with pytest.raises(ValueError, match=r"unexpected c\.bias"):
        model.load_state_dict({**state, "c.bias": state["a.bias"]})
    twin = copy.deepcopy(model)
    assert twin.b is twin.a
    assert twin.c.weight is twin.a.weight


# How they are run


def test_a_module_of_ones_own_has_exact_gradients() -> None:
    x = normal(T, B, I, dtype=np.float64)
    assert_gradients(rf.Sequential(Tagger("float64")), x)
    row = rf.Sequential(
        rf.Linear(I, I, dtype="float64", rng=4), Tagger("float64"), rf.Linear(1, 2, dtype="float64", rng=5)
    )
    assert_gradients(row, x)


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_go_where_they_are_asked_to(inside: bool) -> None:
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


def test_a_probe_says_what_it_cannot_look_into() -> None:
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


def test_models_that_belong_together_are_saved_in_one_file(tmp_path: Any) -> None:
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


def test_names_follow_every_change_of_members():
    class Model(rf.Module):
        def __init__(self):
            super().__init__()
            self.parts = rf.ModuleList([rf.Linear(2, 3), rf.Linear(3, 2)])
            self.heads = rf.ModuleDict({"a": rf.Linear(2, 1)})
            self.scales = rf.ParameterList([rf.Parameter(np.ones(2))])
            self.last = rf.Linear(1, 1)

    def names(model):
        return [name for name, _ in model.named_parameters()]

    model = Model()
    twin = copy.deepcopy(model)
    assert names(model) == names(twin)
    for change, prefix in [
        (lambda: model.parts.__delitem__(1), "parts.1"),
        (lambda: model.parts.__delitem__(0), "parts"),
        (lambda: model.heads.__delitem__("a"), "heads"),
        (lambda: model.scales.__delitem__(0), "scales"),
        (lambda: model.__delattr__("last"), "last"),
    ]:
        before = names(model)
        assert any(name.startswith(prefix) for name in before)
        change()
        assert names(model) == [name for name in before if not name.startswith(prefix)]
    model.last = rf.Linear(4, 1)
    assert names(model) == ["last.weight", "last.bias"]
    assert pickle.loads(pickle.dumps(model.last)).weight.shape == (1, 4)
    assert len(names(twin)) == 9
