"""The promises of optimizers, schedules and clipping: torch's numbers, states that carry on, refusals."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnfast as rf
from rnnfast.nn import optim, schedules
from rnnfast.nn.parameter import Parameter

STORED = np.load(Path(__file__).parents[1] / "data" / "optim_torch.npz")
CASES = {
    "SGD": (optim.SGD, {"lr": 0.1}),
    "SGD_decay": (optim.SGD, {"lr": 0.1, "weight_decay": 0.3}),
    "SGD_momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
    "SGD_nesterov": (optim.SGD, {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.2, "nesterov": True}),
    "Adam": (optim.Adam, {}),
    "Adam_decay": (optim.Adam, {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
    "AdamW": (optim.AdamW, {}),
    "AdamW_decay": (optim.AdamW, {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
    "RMSprop": (optim.RMSprop, {}),
    "RMSprop_all": (
        optim.RMSprop,
        {"lr": 0.05, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.2, "momentum": 0.7},
    ),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return request.param


def start(dtype: Any = np.float64) -> list[Parameter]:
    return [Parameter(STORED[f"start.{number}"].astype(dtype)) for number in range(2)]


def optimizer_of(case: str, params: list[Parameter]) -> optim.Optimizer:
    kind, options = CASES[case]
    return kind(params, **options)


def step(optimizer: optim.Optimizer, number: int) -> None:
    """The stored step `number`."""
    for place, param in enumerate(optimizer.params):
        missing = place == 1 and number in STORED["skipped"]
        param.grad = None if missing else STORED[f"grads.{place}"][number].astype(param.data.dtype)
    optimizer.step()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_step_agrees_with_torch(case: str, dtype: str) -> None:
    params = start(dtype)
    optimizer = optimizer_of(case, params)
    for number in range(len(STORED["grads.0"])):
        step(optimizer, number)
        for place, param in enumerate(params):
            want = STORED[f"{case}.{place}"][number]
            assert param.data.dtype == dtype
            assert np.abs(param.data - want).max() <= (1e-6 if dtype == "float32" else 1e-14)


def test_the_block_size_changes_no_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = start(), start()
    one, other = optimizer_of(case, whole), optimizer_of(case, cut)
    for number in range(4):
        step(one, number)
    monkeypatch.setattr(optim.base, "BLOCK", 5)
    for number in range(4):
        step(other, number)
    for a, b in zip(whole, cut, strict=True):
        assert np.array_equal(a.data, b.data)


def test_a_state_through_an_npz_carries_on_to_the_same_bits(case: str) -> None:
    params = start()
    optimizer = optimizer_of(case, params)
    for number in range(3):
        step(optimizer, number)
    file = io.BytesIO()
    np.savez(file, **optimizer.state_dict())
    file.seek(0)

    others = [Parameter(param.data) for param in params]
    kind, options = CASES[case]
    other = kind(others, lr=99.0)
    other.load_state_dict(np.load(file, allow_pickle=False))
    for name, value in options.items():
        assert getattr(other, name) == value
        assert type(getattr(other, name)) is type(value)
    for number in range(3, 6):
        step(optimizer, number)
        step(other, number)
    for a, b in zip(params, others, strict=True):
        assert np.array_equal(a.data, b.data)


def test_a_state_is_a_copy_and_loading_copies_it() -> None:
    params = start()
    optimizer = optimizer_of("Adam", params)
    step(optimizer, 1)
    state = optimizer.state_dict()
    kept = copy.deepcopy(state)
    step(optimizer, 2)
    assert np.array_equal(state["exp_avg.0"], kept["exp_avg.0"])
    optimizer.load_state_dict(state)
    step(optimizer, 2)
    assert np.array_equal(state["exp_avg.0"], kept["exp_avg.0"])


def test_optimizers_deepcopy_with_their_parameters() -> None:
    optimizer = optimizer_of("RMSprop_all", start())
    step(optimizer, 1)
    twin = copy.deepcopy(optimizer)
    step(optimizer, 2)
    step(twin, 2)
    assert np.array_equal(optimizer.params[0].data, twin.params[0].data)
    assert optimizer.params[0] is not twin.params[0]


def test_scratch_does_not_grow_with_the_parameter_and_gradients_stay() -> None:
    param = Parameter(np.ones(100_000, np.float32))
    param.grad = np.full(100_000, 2.0, np.float32)
    for kind in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop):
        optimizer = kind([param], weight_decay=0.1)
        optimizer.step()
        assert max(array.size for array in optimizer._scratch[param.data.dtype]) < 20_000
        assert (param.grad == 2.0).all()


def test_zero_grad_zeroes() -> None:
    params = start()
    params[0].grad = np.ones((3, 4))
    optimizer_of("SGD", params).zero_grad()
    assert params[0].grad is not None
    assert not params[0].grad.any()
    assert params[1].grad is None


def test_states_that_do_not_fit_are_named_and_change_nothing() -> None:
    def damaged(change: Any) -> dict[str, Any]:
        optimizer = optimizer_of("Adam", start())
        step(optimizer, 1)
        state = optimizer.state_dict()
        change(state)
        return state

    cases = {
        "expected that of Adam, got that of AdamW": lambda state: state.update(kind="AdamW"),
        r"expected an entry 'exp_avg\.1', got none": lambda state: state.pop("exp_avg.1"),
        "expected an entry 'betas', got none": lambda state: state.pop("betas"),
        "unexpected entries extra": lambda state: state.update(extra=1),
        r"exp_avg\.0: expected float64 of shape \(3, 4\)": lambda state: state.update(
            {"exp_avg.0": np.ones(3)}
        ),
        r"exp_avg\.1: .*, got float32": lambda state: state.update({"exp_avg.1": np.ones(5, np.float32)}),
        "lr: expected finite numbers like": lambda state: state.update(lr=math.nan),
        "eps: expected finite numbers like": lambda state: state.update(eps="small"),
        "steps: expected 2 counts": lambda state: state.update(steps=np.array([1])),
        r"steps: expected 2 counts .* got float64": lambda state: state.update(steps=np.ones(2)),
        "lr: expected a number of at least 0, got -1": lambda state: state.update(lr=-1),
        r"betas\[0\]: expected a number in 0..1": lambda state: state.update(betas=np.array([2, 5])),
        "weight_decay: expected a number, got True": lambda state: state.update(weight_decay=True),
        r"exp_avg_sq\.0: expected squares": lambda state: state.update({"exp_avg_sq.0": -np.ones((3, 4))}),
        "lr: expected a plain array, got a masked": lambda state: state.update(
            lr=np.ma.masked_array(0.1, mask=True)
        ),
    }
    for message, change in cases.items():
        params = start()
        optimizer = optimizer_of("Adam", params)
        step(optimizer, 1)
        before = optimizer.state_dict()
        with pytest.raises((TypeError, ValueError), match=message):
            optimizer.load_state_dict(damaged(change))
        after = optimizer.state_dict()
        assert before.keys() == after.keys()
        for name, value in before.items():
            assert np.array_equal(value, after[name]), name


def test_momentum_may_be_switched_on_or_off_over_a_stored_state() -> None:
    optimizer = optim.SGD(start(), lr=0.1, momentum=0.9)
    step(optimizer, 1)
    state = optimizer.state_dict()
    optimizer.load_state_dict(state | {"momentum": 0.0})
    step(optimizer, 2)
    del state["momentum_buffer.0"]
    optimizer.load_state_dict(state)
    step(optimizer, 3)
    assert np.array_equal(optimizer.state_dict()["momentum_buffer.0"], STORED["grads.0"][3])


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (optim.SGD, {"lr": -1}, ValueError, "lr: expected a number of at least 0, got -1"),
        (optim.SGD, {"lr": math.inf}, ValueError, "lr: expected a finite number"),
        (optim.SGD, {"lr": "fast"}, TypeError, "lr: expected a number, got 'fast'"),
        (optim.SGD, {"momentum": -0.1}, ValueError, "momentum"),
        (optim.SGD, {"nesterov": True}, ValueError, "nesterov: expected a momentum above 0"),
        (optim.SGD, {"weight_decay": -1}, ValueError, "weight_decay"),
        (optim.Adam, {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\]: expected a number in 0..1"),
        (optim.Adam, {"eps": -1e-8}, ValueError, "eps"),
        (optim.AdamW, {"betas": (-0.1, 0.9)}, ValueError, r"betas\[0\]"),
        (optim.RMSprop, {"alpha": 1.5}, ValueError, "alpha"),
    ],
)
def test_wrong_settings_are_refused(kind: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        kind(start(), **options)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="params: expected at least one"):
        optim.SGD([])
    with pytest.raises(
        TypeError, match=r"params: expected Parameters such as model.parameters\(\), got Linear"
    ):
        optim.SGD(rf.Linear(2, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"params: expected Parameters such as .* got array\(3\)"):
        optim.SGD(np.array(3), lr=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="params: expected Parameter objects, got ndarray"):
        optim.SGD([np.ones(2)])  # type: ignore[list-item]
    param = Parameter(np.ones(2))
    with pytest.raises(ValueError, match="expected each Parameter once"):
        optim.SGD([param, param])


def test_optimizers_train_a_layer() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 16, 2)).astype(np.float32)
    targets = np.cumsum(x, axis=0)[..., :1] * 0.3
    for kind, lr in ((optim.SGD, 0.3), (optim.Adam, 0.02), (optim.AdamW, 0.02), (optim.RMSprop, 0.01)):
        model = rf.Sequential(rf.GRU(2, 8, rng=1), rf.Linear(8, 1, rng=2))
        optimizer = kind(model.parameters(), lr=lr)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            losses.append(rf.loss_and_grad(model, rf.losses.mse, x, targets)[0])
            optimizer.step()
        assert losses[-1] < 0.3 * losses[0], kind


# Schedules


def test_cosine_falls_from_one_to_its_floor_and_stays() -> None:
    schedule = schedules.cosine(10, floor=0.2)
    values = [schedule(number) for number in range(13)]
    assert values[0] == 1.0
    assert math.isclose(values[5], 0.6)
    assert values[10] == values[12] == 0.2
    assert values == sorted(values, reverse=True)


def test_step_falls_by_its_factor() -> None:
    assert [schedules.step(3, 0.5)(number) for number in (0, 2, 3, 5, 6)] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_warmup_rises_and_then_follows_the_next_schedule() -> None:
    schedule = schedules.warmup(4, then=schedules.step(2, 0.5), start=0.2)
    assert np.allclose([schedule(number) for number in range(8)], [0.2, 0.4, 0.6, 0.8, 1, 1, 0.5, 0.5])
    assert schedules.warmup(4)(100) == 1.0


def test_in_minutes_reads_the_clock_from_its_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    schedule = schedules.in_minutes(schedules.cosine(2))
    now = 2000.0
    assert schedule(0) == 1.0
    now += 60.0
    assert math.isclose(schedule(1), 0.5)
    now += 600.0
    assert schedule(2) == 0.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: schedules.cosine(0), "steps: expected a number above 0, got 0"),
        (lambda: schedules.cosine(5, floor=1.5), "floor: expected a number in 0..1, got 1.5"),
        (lambda: schedules.step(-1), "every"),
        (lambda: schedules.step(1, 0.0), "factor"),
        (lambda: schedules.warmup(math.nan), "steps"),
        (lambda: schedules.warmup(1, start=-0.1), "start"),
    ],
)
def test_wrong_schedules_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# Clipping


def params_with(*grads: Any) -> list[Parameter]:
    params = []
    for grad in grads:
        param = Parameter(np.zeros(np.shape(grad), getattr(grad, "dtype", np.float64)))
        param.grad = grad
        params.append(param)
    return [*params, Parameter(np.zeros(3))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clip_grad_norm_scales_to_the_bound_and_tells_the_norm(dtype: str) -> None:
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=(300, 70)).astype(dtype), rng.normal(size=5).astype(dtype)]
    params = params_with(*grads)
    norm = math.sqrt(sum(float((grad.astype(np.float64) ** 2).sum()) for grad in grads))
    assert math.isclose(rf.clip_grad_norm(params, 2.0), norm, rel_tol=1e-6)
    for param, grad in zip(params, grads, strict=False):
        assert np.allclose(param.grad, grad * (2.0 / (norm + 1e-6)), rtol=1e-6, atol=0)
    assert math.isclose(rf.clip_grad_norm(params, 3.0), 2.0, rel_tol=1e-5)  # within the bound: left alone
    assert math.isclose(rf.clip_grad_norm(iter(params), math.inf), 2.0, rel_tol=1e-5)


def test_clip_grad_norm_of_nothing_is_zero() -> None:
    assert rf.clip_grad_norm([], 1.0) == 0.0
    assert rf.clip_grad_norm([Parameter(np.zeros(3))], 1.0) == 0.0


@pytest.mark.parametrize(
    ("dtype", "grads", "norm"),
    [
        ("float64", [[3e200, -4e200], [12e200]], 13e200),
        ("float64", [[3e-10, 0.0], [4e200]], 4e200),
        ("float64", [[1.7e308], [-1.7e308]], math.inf),
        ("float32", [[3e38, -3e38], [3e38, 3e38]], 6e38),
    ],
)
def test_clip_grad_norm_clips_finite_gradients_of_any_size(dtype: str, grads: Any, norm: float) -> None:
    params = params_with(*(np.array(grad, dtype) for grad in grads))[: len(grads)]
    directions = [param.grad / np.abs(grads[1][0]) for param in params]
    assert math.isclose(rf.clip_grad_norm(params, 2.0), norm, rel_tol=1e-6)
    clipped = np.concatenate([param.grad.ravel() for param in params])
    assert math.isclose(np.linalg.norm(clipped), 2.0, rel_tol=1e-5)
    for param, direction in zip(params, directions, strict=True):
        np.testing.assert_allclose(param.grad / abs(params[1].grad[0]), direction, rtol=1e-6)
    untouched = params_with(np.array(grads[0], dtype))
    rf.clip_grad_norm(untouched, math.inf)
    np.testing.assert_array_equal(untouched[0].grad, np.array(grads[0], dtype))


def test_settings_are_checked_when_they_are_assigned() -> None:
    optimizer = optim.Adam(start())
    for name, value, kind in (("lr", -1.0, ValueError), ("lr", None, TypeError), ("betas", 0.9, TypeError)):
        before = getattr(optimizer, name)
        with pytest.raises(kind, match=f"^{name}: expected"):
            setattr(optimizer, name, value)
        assert getattr(optimizer, name) == before
    with pytest.raises(TypeError, match=r"^state: expected a mapping as state_dict\(\) gives it, got list"):
        optimizer.load_state_dict([1])
    nesterov = optim.SGD(start(), momentum=0.5, nesterov=True)
    with pytest.raises(ValueError, match="optimizer state nesterov: expected a momentum above 0"):
        nesterov.load_state_dict(nesterov.state_dict() | {"momentum": 0.0})
    assert nesterov.momentum == 0.5


def test_clip_grad_norm_survives_squares_that_overflow_float32() -> None:
    params = params_with(np.array([3e30, 4e30], np.float32))
    assert math.isclose(rf.clip_grad_norm(params, 1.0), 5e30, rel_tol=1e-6)
    assert np.allclose(params[0].grad, [0.6, 0.8])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clip_grad_norm_leaves_gradients_that_are_not_finite(bad: float) -> None:
    params = params_with(np.array([bad, 2.0]), np.array([5.0]))
    norm = rf.clip_grad_norm(params, 1.0)
    assert not math.isfinite(norm)
    assert params[0].grad[1] == 2.0
    assert params[1].grad[0] == 5.0


def test_clip_grad_value_limits_each_element() -> None:
    params = params_with(np.array([-3.0, 0.5, np.inf, np.nan]))
    rf.clip_grad_value(params, 1.0)
    assert np.array_equal(params[0].grad, [-1.0, 0.5, 1.0, np.nan], equal_nan=True)


def test_wrong_bounds_are_refused() -> None:
    for bound in (-1.0, math.nan):
        with pytest.raises(ValueError, match="max_norm: expected a number of at least 0"):
            rf.clip_grad_norm([], bound)
        with pytest.raises(ValueError, match="value: expected a number of at least 0"):
            rf.clip_grad_value([], bound)
