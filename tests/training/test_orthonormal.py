"""`rf.optim.Orthonormal`: weights stay orthonormal in every kind of training, and rest where they should."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import I, classifier, fit_quietly, labelled

import rnnfast as rf
from rnnfast.nn import optim
from rnnfast.nn.parameter import Parameter
from rnnfast.training import Run


def defect(weight: np.ndarray, blocks: int = 1) -> float:
    """The largest element of |WᵀW - I| over the blocks."""
    parts = np.split(weight.astype(np.float64), blocks)
    return max(float(np.abs(W.T @ W - np.eye(W.shape[1])).max()) for W in parts)


def orthonormal(rows: int, columns: int | None = None, blocks: int = 1, dtype: Any = np.float64) -> Parameter:
    parameter = Parameter(np.zeros((rows, columns or rows), dtype))
    rf.init.orthogonal(parameter, blocks=blocks, rng=5)
    return parameter


def stepped(optimizer: optim.Optimizer, *grads: Any) -> None:
    for parameter, grad in zip(optimizer.params, grads, strict=True):
        parameter.grad = grad
    optimizer.step()


def constrained(model: Any, kind: Any = optim.Adam, **options: Any) -> optim.Optimizer:
    """An optimizer that keeps the recurrent weights of a model orthonormal."""
    recurrent = [parameter for name, parameter in model.named_parameters() if "weight_hh" in name]
    return kind(model.parameters(), **options, constraints=[optim.Orthonormal(recurrent)])


# What a step does


@pytest.mark.parametrize("cell", [rf.RNN, rf.GRU, rf.LSTM])
def test_a_thousand_steps_of_adam_stay_orthonormal(cell: Any) -> None:
    rng = np.random.default_rng(0)
    layer = cell(I, 16, rng=1)
    W = layer.weight_hh_l0
    blocks = W.shape[0] // 16
    rf.init.orthogonal(W, blocks=blocks, rng=2)
    free = copy.deepcopy(layer)
    keep = optim.Orthonormal([W])
    optimizers = (
        optim.Adam(layer.parameters(), lr=0.01, constraints=[keep]),
        optim.Adam(free.parameters(), lr=0.01),
    )
    for _ in range(1000):
        grads = [rng.standard_normal(parameter.shape).astype(np.float32) for parameter in layer.parameters()]
        for optimizer in optimizers:
            stepped(optimizer, *grads)
    assert defect(W.data, blocks) < 1e-6
    assert defect(free.weight_hh_l0.data, blocks) > 0.1


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_optimizer_keeps_it(kind: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    W, free = orthonormal(12, 4, 3, dtype), Parameter(rng.standard_normal((12, 4)).astype(dtype))
    want = Parameter(free.data)
    optimizer = kind([W, free], lr=0.1, constraints=[optim.Orthonormal([W])])
    plain = kind([want], lr=0.1)
    for _ in range(20):
        grads = rng.standard_normal((2, 12, 4)).astype(dtype)
        stepped(optimizer, *grads)
        stepped(plain, grads[1])
        assert defect(W.data, 3) < (1e-6 if dtype == "float32" else 1e-14)
    assert np.array_equal(free.data, want.data)


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (7, 3)])
def test_small_steps_follow_the_gradient_on_the_manifold(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    start, grad = orthonormal(rows, columns).data.copy(), rng.standard_normal((rows, columns))
    symmetric = start.T @ grad
    tangent = grad - start @ (symmetric + symmetric.T) / 2
    errors = []
    for lr in (1e-2, 1e-3):
        W = Parameter(start)
        stepped(optim.SGD([W], lr=lr, constraints=[optim.Orthonormal([W], blocks=1)]), grad)
        errors.append(np.abs(W.data - (start - lr * tangent)).max())
    assert errors[0] < 0.01
    assert errors[1] < 0.02 * errors[0]  # of second order


def test_a_step_without_a_tangent_part_leaves_the_weights() -> None:
    rng = np.random.default_rng(0)
    start = orthonormal(6).data.copy()
    symmetric = rng.standard_normal((6, 6))
    W = Parameter(start)
    optimizer = optim.SGD([W], lr=0.1, constraints=[optim.Orthonormal([W])])
    stepped(optimizer, start @ (symmetric + symmetric.T))
    assert np.abs(W.data - start).max() < 1e-14


def test_training_ends_at_the_nearest_orthogonal_matrix() -> None:
    rng = np.random.default_rng(0)
    target = orthonormal(6).data + 0.2 * rng.standard_normal((6, 6))
    U, _, V = np.linalg.svd(target)
    W = Parameter(orthonormal(6).data)
    optimizer = optim.SGD([W], lr=0.2, constraints=[optim.Orthonormal([W])])
    for _ in range(300):
        stepped(optimizer, W.data - target)  # of half the squared distance
    assert np.abs(W.data - U @ V).max() < 1e-8


def test_weight_decay_of_adamw_leaves_orthonormal_weights() -> None:
    grad = np.random.default_rng(0).standard_normal((6, 6))
    ends = []
    for decay in (0.0, 0.5):
        W = Parameter(orthonormal(6).data)
        optimizer = optim.AdamW([W], weight_decay=decay, constraints=[optim.Orthonormal([W])])
        for _ in range(5):
            stepped(optimizer, grad)
        ends.append(W.data)
    assert np.abs(ends[0] - ends[1]).max() < 1e-12


def test_wide_blocks_have_orthonormal_rows() -> None:
    W = orthonormal(6, 4, blocks=2)
    keep = optim.Orthonormal([W], blocks=2)
    optimizer = optim.Adam([W], lr=0.1, constraints=[keep])
    for grad in np.random.default_rng(0).standard_normal((10, 6, 4)):
        stepped(optimizer, grad)
    assert all(defect(block.T) < 1e-14 for block in np.split(W.data, 2))


def test_weights_that_a_step_leaves_keep_their_bits() -> None:
    for lr, grad in ((0.1, None), (0.0, np.ones((4, 4)))):
        W, other = Parameter(np.full((4, 4), 0.3)), Parameter(np.ones(2))
        optimizer = optim.Adam([W, other], lr=lr, constraints=[optim.Orthonormal([W])])
        stepped(optimizer, grad, np.ones(2))
        assert (W.data == 0.3).all()


def test_weights_that_are_not_orthonormal_become_so_at_the_first_step() -> None:
    rng = np.random.default_rng(0)
    for start in (rng.standard_normal((4, 4)), np.zeros((4, 4)), np.ones((4, 4))):
        W = Parameter(start)
        stepped(optim.SGD([W], lr=0.1, constraints=[optim.Orthonormal([W])]), rng.standard_normal((4, 4)))
        assert defect(W.data) < 1e-14


# Runs, states


@pytest.mark.parametrize("stop_at", [2, 3, 7])
@pytest.mark.parametrize("way", ["whole", "windows"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, stop_at: int, way: str) -> None:
    path = tmp_path / "run.npz"
    options: dict[str, Any] = {
        "batch_size": 8,
        "epochs": 4,
        "truncate": (2, 5) if way == "windows" else None,
        "schedule": rf.schedules.cosine(12),
        "clip_norm": 1.0,
    }

    def stop(run: Run) -> None:
        if run.event == "step":
            assert defect(W.data, 3) < 1e-6
            if run.step == stop_at:
                raise KeyboardInterrupt

    want = classifier(dropout=0.2)
    fit_quietly(want, labelled(), constrained(want, lr=0.05), **options)
    first = classifier(dropout=0.2)
    W = dict(first.named_parameters())["0.weight_hh_l0"]
    optimizer = constrained(first, lr=0.05)
    assert fit_quietly(first, labelled(), optimizer, callbacks=[stop], checkpoint=path, **options).interrupted

    second = classifier()
    unconstrained = rf.optim.Adam(second.parameters(), lr=0.05)
    with pytest.raises(ValueError, match=r"run\.npz: optimizer state constraints: expected \[\], got \['par"):
        fit_quietly(second, labelled(), unconstrained, resume=path, **options)
    second = classifier(dropout=0.2)
    fit_quietly(second, labelled(), constrained(second, lr=0.05), resume=path, **options)
    assert np.array_equal(weights_of(second), weights_of(want))


def test_truncated_bptt_keeps_it() -> None:
    x, targets = labelled()
    model = classifier()
    optimizer = constrained(model, lr=0.05)
    for _ in rf.truncated_bptt(model, rf.losses.cross_entropy, x, targets, 2, 3):
        optimizer.step()
        assert defect(dict(model.named_parameters())["0.weight_hh_l0"].data, 3) < 1e-6


def test_states_name_the_constraints_and_carry_on(tmp_path: Path) -> None:
    x, targets = labelled()

    def train(model: Any, optimizer: optim.Optimizer) -> None:
        optimizer.zero_grad()
        rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets)
        optimizer.step()

    model = classifier()
    optimizer = constrained(model, lr=0.05)
    train(model, optimizer)
    assert optimizer.state_dict()["constraints"].tolist() == ["params[1] orthonormal in 3 blocks"]
    rf.save(tmp_path / "model.npz", model, optimizer)
    twin, pickled = copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))
    loaded = classifier()
    carried = constrained(loaded)
    rf.load(tmp_path / "model.npz", loaded, carried)
    train(model, optimizer)
    for other in (twin, pickled, (loaded, carried)):
        train(*other)
        assert np.array_equal(weights_of(other[0]), weights_of(model))

    plain = rf.optim.Adam(loaded.parameters())
    with pytest.raises(ValueError, match=r"constraints: expected \[\], got \['params\[1\] orthonormal in 3"):
        plain.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"constraints: expected \['params.*\], got \[\]"):
        optimizer.load_state_dict(plain.state_dict())


def test_the_state_of_an_optimizer_without_constraints_has_no_entry_for_them() -> None:
    assert "constraints" not in optim.Adam([orthonormal(2)]).state_dict()


# Refusals


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: optim.Orthonormal([]), ValueError, "parameters: expected at least one Parameter, got none"),
        (lambda: optim.Orthonormal(3), TypeError, "parameters: expected Parameters such as .* got 3"),
        (lambda: optim.Orthonormal([np.eye(2)]), TypeError, r"parameters\[0\]: expected a Parameter"),
        (lambda: optim.Orthonormal([W, W]), ValueError, "parameters: expected each Parameter once"),
        (lambda: optim.Orthonormal([vector]), ValueError, r"parameters\[0\]: expected a matrix.*\(3,\)"),
        (lambda: optim.Orthonormal([tall]), ValueError, r"expected square blocks of 2 x 2, got shape \(5, 2"),
        (lambda: optim.Orthonormal([tall], blocks=2), ValueError, "blocks: expected a divisor of the 5 rows"),
        (lambda: optim.Adam([W], constraints=[3]), TypeError, r"constraints\[0\]: expected an Orthonormal"),
        (lambda: optim.Adam([W], constraints=3), TypeError, "constraints: expected constraints such as"),
        (lambda: optim.Adam([tall], constraints=[keep]), ValueError, r"expected one of params.* \(4, 4\)"),
        (lambda: optim.Adam([W], constraints=[keep, keep]), ValueError, "under no other constraint"),
    ],
)
def test_wrong_constraints_are_refused(build: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        build()


W, tall, vector = orthonormal(4), orthonormal(5, 2), Parameter(np.ones(3))
keep = optim.Orthonormal([W])
