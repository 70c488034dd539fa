"""Keras models with layers on the kernels: training, files, copies, wrappers, masks from other layers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bridges.keras_models import (
    BACKEND,
    KINDS,
    B,
    H,
    I,
    T,
    a_mask,
    arrays_in,
    assert_same,
    keras,
    once,
    results,
    some,
)
from helpers.kernel_runs import kernels_run

import rnnfast.keras

layers = keras.layers


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((16, T, I)).astype(np.float32), rng.standard_normal((16, 2)).astype(np.float32)


def a_model(module: Any, kind: str, *, wrap: Any = None, **options: Any) -> Any:
    """Masking, two recurrent layers of `keras.layers` or of `rnnfast.keras`, and a dense one."""
    first, second = (
        getattr(module, kind)(H, return_sequences=sequences, **options) for sequences in (True, False)
    )
    if wrap is not None:
        first, second = wrap(first), wrap(second)
    return keras.Sequential(
        [keras.Input((T, I)), layers.Masking(0.0), first, second, layers.Dense(2)], name="model"
    )


def twin_models(kind: str, **options: Any) -> tuple[Any, Any]:
    """A model of Keras's layers and one of ours with the same weights, compiled alike."""
    plain, fast = a_model(keras.layers, kind, **options), a_model(rnnfast.keras, kind, **options)
    fast.set_weights(plain.get_weights())
    for model in (plain, fast):
        model.compile(keras.optimizers.Adam(0.01), "mse")
    return plain, fast


def assert_close(got: Any, want: Any, atol: float = 1e-5) -> None:
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize(("wrap", "kind"), some([None, layers.Bidirectional], KINDS[::-1]))
def test_training_goes_as_with_keras(wrap: Any, kind: str) -> None:
    plain, fast = twin_models(kind, wrap=wrap)
    x, targets = data()
    x[np.random.default_rng(1).random((16, T)) < 0.3] = 0  # masked
    histories = []
    for model in (plain, fast):
        with kernels_run() if model is fast else kernels_run(0):
            run = model.fit(x, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
            one = model.train_on_batch(x, targets)
            evaluated = model.evaluate(x, targets, batch_size=16, verbose=0)
            histories.append([*run.history["loss"], one, evaluated, model.predict(x, verbose=0)])
    assert_close(histories[1], histories[0])
    assert_close(fast.get_weights(), plain.get_weights(), 1e-4)


@once
def test_regularizers_and_constraints_act_on_the_weights() -> None:
    options = {
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "recurrent_regularizer": keras.regularizers.L1(0.1),
        "recurrent_constraint": keras.constraints.MaxNorm(0.5),
        "kernel_initializer": "he_normal",
        "bias_regularizer": "l2",
        "activity_regularizer": "l2",
    }
    plain, fast = twin_models("LSTM", **options)
    x, targets = data()
    losses = [model.fit(x, targets, epochs=2, shuffle=False, verbose=0).history for model in (plain, fast)]
    np.testing.assert_allclose(losses[1]["loss"], losses[0]["loss"], rtol=1e-5)
    norms = np.linalg.norm(fast.layers[1].get_weights()[1], axis=0)
    assert norms.max() <= 0.5001


@once
@pytest.mark.parametrize("merge_mode", some(["sum", "ave", "mul", None]))
def test_bidirectional_merges_as_with_keras(merge_mode: str | None) -> None:
    options = {"return_sequences": True, "return_state": True, "dtype": "float32"}
    both = [
        layers.Bidirectional(module.GRU(H, **options), merge_mode=merge_mode)
        for module in (keras.layers, rnnfast.keras)
    ]
    assert isinstance(both[1].forward_layer, rnnfast.keras.GRU)
    assert isinstance(both[1].backward_layer, rnnfast.keras.GRU)
    for layer in both:
        layer.build((B, T, I))
    both[1].set_weights(both[0].get_weights())
    x, mask = data()[0][:B], keras.ops.convert_to_tensor(a_mask("gaps"))
    with kernels_run(2):
        got = both[1](x, mask=mask)
    assert_close(arrays_in(got), arrays_in(both[0](x, mask=mask)))


@pytest.mark.parametrize("steps", some([None, 5]))
def test_time_distributed_runs_the_layer_on_each_part(steps: int | None) -> None:
    """Of a batch of documents of sentences of steps, say."""
    model = keras.Sequential(
        [keras.Input((steps, T, I)), layers.TimeDistributed(rnnfast.keras.LSTM(H)), rnnfast.keras.GRU(2)]
    )
    x = np.random.default_rng(0).standard_normal((B, 5, T, I)).astype(np.float32)
    with kernels_run():
        y = model.predict(x, verbose=0)
    distributed = model.layers[0].layer
    each = np.stack([arrays_in(distributed(x[:, n]))[0] for n in range(5)], axis=1)
    np.testing.assert_allclose(y, arrays_in(model.layers[1](each))[0], rtol=0, atol=1e-6)


def test_an_encoder_gives_its_state_to_a_decoder() -> None:
    models = []
    for module in (keras.layers, rnnfast.keras):
        source, target = keras.Input((None, I)), keras.Input((None, 2))
        _, *state = module.LSTM(H, return_state=True, name="encoder")(source)
        y = module.LSTM(H, return_sequences=True, name="decoder")(target, initial_state=state)
        models.append(keras.Model([source, target], layers.TimeDistributed(layers.Dense(2))(y)))
        models[-1].compile("sgd", "mse")
    models[1].set_weights(models[0].get_weights())
    x, _ = data()
    inputs, targets = [x, x[:, :4, :2]], x[:, :4, 1:]
    losses = [[model.train_on_batch(inputs, targets) for _ in range(3)] for model in models]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_the_mask_of_an_embedding_is_read() -> None:
    models = []
    for module in (keras.layers, rnnfast.keras):
        models.append(
            keras.Sequential(
                [
                    keras.Input((T,)),
                    layers.Embedding(6, I, mask_zero=True),
                    layers.Bidirectional(module.GRU(H, return_sequences=True)),
                    module.LSTM(2),
                ]
            )
        )
    models[1].set_weights(models[0].get_weights())
    tokens = np.array([[1, 2, 3, 0, 0, 0, 0], [5, 5, 4, 3, 2, 1, 1], [0] * 7, [0, 0, 1, 2, 0, 3, 0]])
    with kernels_run(3):
        got = models[1].predict(tokens, verbose=0)
    np.testing.assert_allclose(got, models[0].predict(tokens, verbose=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", some(KINDS[::-1]))
def test_files_hold_the_layer_and_its_options(kind: str, tmp_path: Path) -> None:
    model = a_model(rnnfast.keras, kind, go_backwards=True, dropout=0.1, zero_output_for_mask=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x, _ = data()
    with kernels_run(2):
        y = again.predict(x, verbose=0)
    np.testing.assert_array_equal(y, model.predict(x, verbose=0))
    for layer, first in zip(again.layers[1:3], model.layers[1:3], strict=True):
        assert type(layer) is getattr(rnnfast.keras, kind)
        assert layer.get_config() == first.get_config()


@once
def test_weights_go_to_keras_and_come_back(tmp_path: Path) -> None:
    plain, fast = twin_models("GRU")
    names = [[re.sub(r"_\d+/", "/", weight.path) for weight in model.weights] for model in (plain, fast)]
    assert names[0] == names[1]  # but for the numbers of layers
    fast.train_on_batch(*data())
    fast.save_weights(tmp_path / "fast.weights.h5")
    plain.load_weights(tmp_path / "fast.weights.h5")
    assert_close(plain.get_weights(), fast.get_weights(), 0)
    x, _ = data()
    np.testing.assert_allclose(plain.predict(x, verbose=0), fast.predict(x, verbose=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_one_of_keras_with_the_same_configuration(kind: str) -> None:
    ours, theirs = getattr(rnnfast.keras, kind), getattr(keras.layers, kind)
    layer = ours(H, return_state=True, bias_initializer="ones", name="layer")
    assert isinstance(layer, theirs)
    assert (
        layer.get_config() == theirs(H, return_state=True, bias_initializer="ones", name="layer").get_config()
    )
    assert type(ours.from_config(layer.get_config())) is ours
    assert keras.layers.deserialize(keras.layers.serialize(layer)).get_config() == layer.get_config()


@once
def test_a_model_is_cloned_with_its_layers() -> None:
    model = a_model(rnnfast.keras, "LSTM", wrap=layers.Bidirectional)
    clone = keras.models.clone_model(model)
    assert type(clone.layers[1].forward_layer) is rnnfast.keras.LSTM
    clone.set_weights(model.get_weights())
    x, _ = data()
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))


@once
def test_layers_of_keras_are_swapped_by_cloning() -> None:
    def swapped(layer: Any) -> Any:
        fast = getattr(rnnfast.keras, type(layer).__name__, type(layer))
        return fast.from_config(layer.get_config())

    plain = a_model(keras.layers, "GRU")
    fast = keras.models.clone_model(plain, clone_function=swapped)
    fast.set_weights(plain.get_weights())
    x, _ = data()
    with kernels_run(2):
        y = fast.predict(x, verbose=0)
    np.testing.assert_allclose(y, plain.predict(x, verbose=0), rtol=0, atol=1e-6)


@once
def test_a_frozen_layer_learns_nothing() -> None:
    _, fast = twin_models("LSTM")
    fast.layers[1].trainable = False
    fast.compile("sgd", "mse")
    before = fast.layers[1].get_weights()
    fast.train_on_batch(*data())
    assert_close(fast.layers[1].get_weights(), before, 0)


def test_a_layer_becomes_one_of_rnnfasts() -> None:
    layer = rnnfast.keras.GRU(H, return_sequences=True)
    x, _ = data()
    want = arrays_in(layer(x))[0]
    y, _ = rnnfast.keras.from_layer(layer)(x)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-6)


def test_gradients_reach_what_is_before_a_wrapper() -> None:
    layer = layers.Bidirectional(rnnfast.keras.LSTM(H, return_sequences=True))
    other = layers.Bidirectional(layers.LSTM(H, return_sequences=True))
    for one in (layer, other):
        one.build((B, T, I))
    layer.set_weights(other.get_weights())
    x, mask = data()[0][:B], a_mask("right")
    got, want = results(layer, x, mask=mask), results(other, x, mask=mask)
    assert_same(got, want)


@pytest.mark.skipif(BACKEND == "torch", reason="the backend of torch compiles on request alone, for minutes")
def test_a_compiled_step_runs_the_kernels() -> None:
    _, fast = twin_models("LSTM")
    assert fast.jit_compile
    fast.train_on_batch(*data())
    with kernels_run(4):
        fast.train_on_batch(*data())
