"""loss_and_grad: finite differences, the sum of gradients, keywords."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.differences import central_differences
from helpers.tolerances import FINITE_DIFFERENCES, error
from training.runs import H, N, T, classifier, labelled

import rnnfast as rf


@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_grad_agrees_with_finite_differences(masked: bool) -> None:
    model = classifier(dropout=0.3, dtype="float64")
    x, targets = labelled()
    state = (np.random.default_rng(1).normal(size=(1, N, H)), None, None)
    keywords = {"rng": 5, **({"mask": np.arange(T) > 1} if masked else {})}

    def loss() -> float:
        return rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets, state, grads={}, **keywords)[0]

    grads: dict[str, np.ndarray] = {}
    value, final = rf.loss_and_grad(
        model, rf.losses.cross_entropy, x, targets, state, grads=grads, **keywords
    )
    assert value == loss()
    assert [type(part) for part in final] == [np.ndarray, type(None), type(None)]
    assert all(param.grad is None for param in model.parameters())
    for name, param in model.named_parameters():
        numeric = central_differences(param.data, loss)
        assert error(grads[name], numeric) <= FINITE_DIFFERENCES, name


def test_loss_and_grad_adds_into_grad_and_refuses_unknown_keywords() -> None:
    model = classifier()
    x, targets = labelled()
    rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets)
    once = [param.grad.copy() for param in model.parameters()]
    rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets)
    for param, grad in zip(model.parameters(), once, strict=True):
        assert np.array_equal(param.grad, 2 * grad)
    with pytest.raises(TypeError, match="speed: expected a keyword Sequential takes"):
        rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets, speed=3)
    with pytest.raises(TypeError, match="rng: expected a keyword Linear takes"):
        rf.loss_and_grad(rf.Linear(2, 1), rf.losses.mse, x, targets[..., None], rng=0)
