"""A Keras model with rnnfast's layers in place of Keras's: the same training, files and masks, in less time.

The task: rows of 10 to 40 tokens with padding at the end. Which of the tokens 1 and 2 came last? An embedding
masks the padding, and a bidirectional GRU reads the tokens. Both models begin with the same weights.

It needs Keras and PyTorch: pip install "rnnfast[keras,torch]". KERAS_BACKEND=jax runs it in JAX.
"""

import os
import sys
import tempfile
import time

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
try:
    import keras
except ImportError:
    sys.exit('keras_layers.py needs Keras and PyTorch: pip install "rnnfast[keras,torch]"')

import rnnfast.keras

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
TOKENS, LONGEST = 9, 40


def a_model(layers):
    """A model whose recurrent layer is one of `layers`: keras.layers or rnnfast.keras."""
    model = keras.Sequential(
        [
            keras.Input((LONGEST,)),
            keras.layers.Embedding(TOKENS + 1, 16, mask_zero=True),
            keras.layers.Bidirectional(layers.GRU(32)),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model


def data(rng, count):
    lengths = rng.integers(10, LONGEST + 1, (count, 1))
    steps = np.arange(LONGEST)
    tokens = rng.integers(1, TOKENS + 1, (count, LONGEST)) * (steps < lengths)
    last = [np.where(tokens == token, steps, -1).max(axis=1, keepdims=True) for token in (1, 2)]
    return tokens, (last[0] > last[1]).astype(np.float32)


rng = np.random.default_rng(0)
keras.utils.set_random_seed(0)
train, test = data(rng, 1000), data(rng, 500)
models = {"keras.layers": a_model(keras.layers), "rnnfast.keras": a_model(rnnfast.keras)}
models["rnnfast.keras"].set_weights(models["keras.layers"].get_weights())
for name, model in models.items():
    begin = time.perf_counter()
    history = model.fit(*train, epochs=EPOCHS, verbose=0, shuffle=False)
    seconds = time.perf_counter() - begin
    loss, accuracy = model.evaluate(*test, verbose=0)
    print(f"{name:14} loss {history.history['loss'][-1]:.3f}, {accuracy:.1%} of 500 right, {seconds:.1f} s")

fast = models["rnnfast.keras"]
with tempfile.TemporaryDirectory() as folder:
    fast.save(f"{folder}/model.keras")
    again = keras.models.load_model(f"{folder}/model.keras")
plain = a_model(keras.layers)
plain.set_weights(again.get_weights())  # what rnnfast trained, in Keras's own layers
difference = abs(plain.predict(test[0], verbose=0) - fast.predict(test[0], verbose=0)).max()
print(f"Keras's layers with the trained weights: predictions differ by at most {difference:.0e}")
