"""What registers as a member of a module, and under which names; lists and dicts of members; shared ones."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from modules.tagger import I, Tagger

import rnnfast as rf

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


def test_other_objects_dotted_names_and_circles_are_refused() -> None:
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


def test_a_constructor_without_super_is_a_clear_error() -> None:
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
    with pytest.raises(AttributeError, match="the modules of a Sequential cannot be replaced"):
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
