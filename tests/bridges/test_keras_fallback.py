"""What has no kernel runs in Keras's own code, with one warning; errors without Keras, in other backends."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest
from bridges.keras_models import (
    BACKEND,
    KINDS,
    B,
    I,
    T,
    a_call,
    assert_same,
    keras,
    once,
    results,
    some,
    twins,
)
from helpers.kernel_runs import kernels_run
from helpers.processes import run_python

import rnnfast.keras
from rnnfast.keras import FallbackWarning, fallback


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warning has been given."""
    monkeypatch.setattr(fallback, "_said", set())


def tanh(x: Any) -> Any:
    """A function that has the name of one of Keras's."""
    return 2 * keras.ops.tanh(x)


WITHOUT_KERNELS = [
    ("LSTM", {"activation": "relu"}, False, r"activation='relu': take 'tanh'$"),
    ("GRU", {"recurrent_activation": "hard_sigmoid"}, False, r"recurrent_activation='hard_sigmoid'"),
    ("SimpleRNN", {"activation": tanh}, False, r"the function .*tanh as activation: take 'tanh' or"),
    ("LSTM", {"recurrent_dropout": 0.4}, True, "recurrent_dropout in training"),
    ("GRU", {"recurrent_dropout": 0.4, "dropout": 0.4}, True, "recurrent_dropout in training"),
    ("SimpleRNN", {"recurrent_dropout": 0.4}, True, "recurrent_dropout in training"),
]


@pytest.mark.parametrize(("kind", "options", "training", "reason"), some(WITHOUT_KERNELS))
def test_keras_runs_what_has_no_kernel(kind: str, options: dict, training: bool, reason: str) -> None:
    plain, fast = twins(kind, return_sequences=True, seed=5, **options)
    call = a_call(kind, "float32") | {"training": training}
    with kernels_run(0), pytest.warns(FallbackWarning, match=f"because of .*{reason}"):
        got = results(fast, **call)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        twins(kind, seed=5, **options)[1](call["x"], training=training)  # said once
    assert_same(got, results(plain, **call))


@pytest.mark.parametrize("kind", some(["LSTM", "GRU"]))
def test_a_mask_of_dropout_for_each_gate_is_left_to_keras(kind: str) -> None:
    layer = getattr(rnnfast.keras, kind)(3, dropout=0.5, implementation=1, use_cudnn=False)
    with kernels_run(0), pytest.warns(FallbackWarning, match="dropout with implementation=1: take"):
        layer(np.ones((B, T, I), np.float32), training=True)
    with kernels_run(1):
        layer(np.ones((B, T, I), np.float32))


def test_the_warning_as_an_error_finds_the_layer() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        with pytest.raises(FallbackWarning):
            rnnfast.keras.LSTM(3, activation="relu")(np.ones((B, T, I), np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_arguments_are_refused_by_keras(kind: str) -> None:
    with pytest.raises(ValueError, match="units"):
        getattr(rnnfast.keras, kind)(0)
    with pytest.raises(ValueError, match="expected ndim=3"):
        getattr(rnnfast.keras, kind)(3)(np.ones((2, 3), np.float32))


@once
def test_weights_need_no_keras() -> None:
    done = run_python(
        "import sys, rnnfast.keras\n"
        "from rnnfast.keras import FallbackWarning, from_layer, get_weights, load_weights\n"
        "print('LSTM' in dir(rnnfast.keras), [name for name in sys.modules if name == 'keras'])"
    )
    assert done.stdout == "True []\n", done.stderr


@once
def test_a_layer_without_keras_says_what_to_install() -> None:
    done = run_python("import sys; sys.modules['keras'] = None; from rnnfast.keras import LSTM")
    assert done.returncode == 1
    assert 'rnnfast.keras\'s layers need the package keras: pip install "rnnfast[keras]"' in done.stderr


@once
def test_a_layer_in_another_backend_says_which_there_are() -> None:
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    done = run_python("import rnnfast.keras; rnnfast.keras.GRU", environment=environment)
    assert done.returncode == 1
    assert (
        "expected Keras's backend torch or jax for its layers, got 'numpy': set KERAS_BACKEND" in done.stderr
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(rnnfast.keras, "Transformer")


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_a_mask_of_another_shape_is_left_to_keras(kind: str) -> None:
    plain, fast = twins(kind, return_sequences=True)
    call = a_call(kind, "float32") | {"mask": np.arange(T)[None] < T - 2}  # one mask for all sequences
    with kernels_run(0), pytest.warns(FallbackWarning, match=r"a mask of another shape than \[B, T\]"):
        got = results(fast, **call)
    assert_same(got, results(plain, **call))


@pytest.mark.skipif(BACKEND != "torch", reason="of the backend of torch")
def test_a_transform_of_torch_is_left_to_keras() -> None:
    import torch

    layer = rnnfast.keras.LSTM(3)
    x = torch.randn(2, B, T, I)
    layer(x[0])
    with kernels_run(0), pytest.warns(FallbackWarning, match=r"a transform of torch\.func: take Keras's own"):
        got = torch.vmap(layer)(x)
    want = torch.stack([layer(one) for one in x])
    torch.testing.assert_close(got, want)
