"""Makes keras.npz beside it: layers of Keras with random weights, and their outputs (made with 3.15.1).

Each array is called `<case>.<name>`: `weights.0` … as `get_weights()` gives them, x, y and the final states
`state.0` …; the case says what was built. They are float32, because Keras
computes some of these cells in float32 whatever their dtype. It runs with KERAS_BACKEND=torch or another.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

CASES = {
    "rnn-tanh": (keras.layers.SimpleRNN, {}),
    "rnn-relu": (keras.layers.SimpleRNN, {"activation": "relu"}),
    "lstm": (keras.layers.LSTM, {}),
    "lstm-no-bias": (keras.layers.LSTM, {"use_bias": False}),
    "gru": (keras.layers.GRU, {}),
    "gru-before": (keras.layers.GRU, {"reset_after": False}),
}
B, T, I, H = 3, 7, 4, 5


def case_arrays(kind: type, options: dict, bidirectional: bool, rng: np.random.Generator) -> dict:
    """One case's arrays by name."""
    layer = kind(H, return_sequences=True, return_state=True, **options)
    if bidirectional:
        layer = keras.layers.Bidirectional(layer)
    x = rng.standard_normal((B, T, I), np.float32)
    layer(x)
    weights = [0.5 * rng.standard_normal(weight.shape, np.float32) for weight in layer.get_weights()]
    layer.set_weights(weights)
    y, *state = (keras.ops.convert_to_numpy(array) for array in layer(x))
    arrays = {"x": x, "y": y}
    arrays |= {f"weights.{n}": weight for n, weight in enumerate(weights)}
    return arrays | {f"state.{n}": part for n, part in enumerate(state)}


def main() -> None:
    rng = np.random.default_rng(0)
    np.savez_compressed(
        Path(__file__).parent / "keras.npz",
        **{
            f"{name}{'-bidirectional' * both}.{part}": array
            for name, (kind, options) in CASES.items()
            for both in (False, True)
            for part, array in case_arrays(kind, options, both, rng).items()
        },
    )


if __name__ == "__main__":
    main()
