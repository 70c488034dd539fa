"""What `rnnfast.torch` leaves to torch's own code, with one warning, and what it refuses instead."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
from bridges.torch_models import (  # noqa: E402
    an_input,
    twins,
)

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402
from rnnfast import _core  # noqa: E402
from rnnfast.torch import fallback  # noqa: E402


def in_bfloat16(module, x):
    module.bfloat16()(x.bfloat16())


def on_meta(module, x):
    module.to("meta")(x.to("meta"))


def in_forward_mode(module, x):
    with torch.autograd.forward_ad.dual_level():
        module(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))


def as_a_subclass(module, x):
    class Own(torch.Tensor):
        pass

    module(x.as_subclass(Own))


def in_a_dispatch_mode(module, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(x)
    assert counter.get_total_flops() > 0


def in_a_trace(module, x):
    torch.jit.trace(module, (x,), check_trace=False)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (in_bfloat16, "bfloat16"),
        (on_meta, "meta"),
        (in_forward_mode, "forward-mode"),
        (as_a_subclass, "a Own"),
        (in_a_dispatch_mode, "dispatch mode"),
        (in_a_trace, "torch.jit.trace"),
    ],
)
@pytest.mark.parametrize("kind", ["GRU", "GRUCell"])
def test_torchs_own_code_runs_with_one_warning(kind, way, reason, monkeypatch):
    _, module = twins(kind, 3, 4)
    x = an_input(kind)
    for _ in range(3):  # later calls of these shapes are known to be right
        module(x)
    before = _core.runs_so_far()
    monkeypatch.setattr(fallback, "_said", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", rnnfast.torch.FallbackWarning)
        for _ in range(3):
            way(module, x)
    assert _core.runs_so_far() == before
    (warning,) = caught
    assert reason in str(warning.message)
    assert "rnnfast.torch.restore(model)" in str(warning.message)  # the remedy


def test_options_that_torch_lacks_are_not_left_to_it():
    lstm = rnnfast.torch.LSTM(3, 4, peephole=True).bfloat16()
    with pytest.raises(TypeError, match="peephole: expected plain tensors of float32 or float64"):
        lstm(torch.ones(5, 2, 3).bfloat16())
    gru = rnnfast.torch.GRU(3, 4).bfloat16()
    with pytest.raises(TypeError, match="reset: expected plain tensors"):
        gru(torch.ones(5, 2, 3).bfloat16(), reset=torch.zeros(5, 2, dtype=torch.bool))
    rnn = rnnfast.torch.RNN(3, 4)
    rnn.nonlinearity = "sine"
    with pytest.raises(TypeError, match="nonlinearity: expected plain tensors"):
        rnn.bfloat16()(torch.ones(5, 2, 3).bfloat16())
    gru = rnnfast.torch.GRU(3, 4, reset_after=False)
    for x, hx in (
        (torch.ones(5, 2, 2), None),
        (torch.ones(3), None),
        (torch.ones(5, 2, 3).double(), None),
        (torch.ones(5, 2, 3), torch.ones(1, 3, 4)),
    ):
        with pytest.raises(ValueError, match="expected"):
            gru(x, hx)
    with pytest.raises(TypeError, match="hx: expected a pair"):
        rnnfast.torch.LSTM(3, 4)(torch.ones(5, 2, 3), torch.ones(1, 2, 4))
