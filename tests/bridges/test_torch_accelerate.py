"""`rnnfast.torch.accelerate` and `restore`: which modules of a model change their class."""

from __future__ import annotations

from typing import ClassVar

import pytest

torch = pytest.importorskip("torch")
from bridges.torch_models import (  # noqa: E402
    assert_same,
    kernels_run,
)

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402
from rnnfast import _core  # noqa: E402


# accelerate
class TokenModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 3)
        self.stack = torch.nn.ModuleList([torch.nn.LSTM(3, 4, batch_first=True), torch.nn.GRU(4, 4)])
        self.cell = torch.nn.GRUCell(4, 4)
        self.tied = self.stack[1]
        self.own = UserRNN(4, 4)

    def forward(self, tokens):
        y = self.embedding(tokens)
        for layer in self.stack:
            y, _ = layer(y)
        return self.own(self.tied(y)[0])[0].sum(0) + self.cell(y[0])


class UserRNN(torch.nn.RNN):
    """A user's subclass."""


def test_accelerate_and_restore():
    torch.manual_seed(0)
    plain, model = TokenModel(), TokenModel()
    model.load_state_dict(plain.state_dict())
    calls = []
    model.stack[0].register_forward_hook(lambda *_: calls.append(1))
    model.stack[1].eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    modules = list(model.modules())
    report = rnnfast.torch.accelerate(model)
    assert report == (["stack.0", "stack.1", "cell"], {"own": "a subclass: UserRNN"})
    assert [a is b for a, b in zip(model.modules(), modules, strict=True)] == [True] * len(modules)
    assert model.tied is model.stack[1]
    assert not model.stack[1].training
    tokens = torch.randint(0, 7, (5, 6))
    for _ in range(3):
        for each, steps in ((plain, torch.optim.SGD(plain.parameters(), lr=0.1)), (model, optimizer)):
            loss = each(tokens).square().mean()
            steps.zero_grad()
            loss.backward()
            steps.step()
    assert_same(model.state_dict(), plain.state_dict(), 1e-5)
    assert calls == [1, 1, 1]
    with kernels_run(4):
        model(tokens)
    assert rnnfast.torch.accelerate(model) == ([], {"own": "a subclass: UserRNN"})
    assert rnnfast.torch.restore(model) == (["stack.0", "stack.1", "cell"], {})
    before = _core.runs_so_far()
    assert torch.allclose(model(tokens), plain(tokens), atol=1e-5)
    assert _core.runs_so_far() == before
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert [sorted(vars(m)) for m in model.modules()] == [sorted(vars(m)) for m in plain.modules()]


def test_accelerate_leaves_an_attribute_of_an_options_name_alone():
    lstm = torch.nn.LSTM(3, 4)
    lstm.cell_clip = 0.001  # its owner's, who means something else
    assert list(rnnfast.torch.accelerate(lstm).left) == [""]
    assert "cell_clip" in rnnfast.torch.accelerate(lstm).left[""]
    assert type(lstm) is torch.nn.LSTM

    class Own(rnnfast.torch.LSTM):
        parts = ("a", "b", "c")
        own: ClassVar = {"more": 1}

    x = torch.randn(5, 2, 3)
    assert Own(3, 4)(x)[0].shape == (5, 2, 4)


def test_accelerate_leaves_what_is_not_torchs_alone():
    gru, lstm = torch.nn.GRU(3, 4), torch.nn.LSTM(3, 4)
    gru.forward = gru.forward
    model = torch.nn.ModuleDict({"patched": gru, "fast": rnnfast.torch.GRU(3, 4), "lstm": lstm})
    assert rnnfast.torch.accelerate(model) == (["lstm"], {"patched": "it has a forward of its own"})
    model["peephole"] = rnnfast.torch.LSTM(3, 4, peephole=True)
    assert rnnfast.torch.restore(model) == (["fast", "lstm"], {"peephole": "torch.nn has no peephole"})
    alone = torch.nn.GRU(3, 4)
    assert rnnfast.torch.accelerate(alone).swapped == [""]
    assert type(alone) is rnnfast.torch.GRU
    with pytest.raises(TypeError, match="model"):
        rnnfast.torch.accelerate(dict(model))
