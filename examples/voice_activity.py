"""Silero's voice activity detector without its framework: its LSTM as a stream, its convolutions in NumPy.

    pip install "rnnfast[onnx]" onnxruntime && pip install --no-deps silero-vad
    python examples/voice_activity.py

The package silero-vad carries the network as ONNX files. One gives the weights, its LSTM by `load_layers`;
another is run whole by onnxruntime, over the same sound, 32 ms a call, as a telephone line would: the
probabilities of speech agree, and it prints both times. The sound is made here: noise, and a
voice-like buzz that comes and goes.
"""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import rnnfast as rf
from rnnfast.onnx import load_layers

RATE, CHUNK, CONTEXT = 16000, 512, 64  # samples a second, samples a call, samples of the call before
WINDOW, HOP = 256, 128  # of the Fourier transform
SECONDS = 10


def sound() -> np.ndarray:
    """Noise, and in every other second four syllables: a buzz through the resonances of vowels."""
    rng = np.random.default_rng(0)
    t = np.arange(SECONDS * RATE) / RATE
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.7 * t) + 3 * np.sin(2 * np.pi * 5 * t)
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
    ring = np.arange(800) / RATE
    samples = 0.002 * rng.standard_normal(len(t))
    for n, (first, second) in enumerate(((730, 1090), (270, 2290), (300, 870), (530, 1840))):  # a, i, u, e
        voice = sum(
            gain * np.convolve(pulses, np.exp(-np.pi * 80 * ring) * np.sin(2 * np.pi * formant * ring))
            for formant, gain in ((first, 1.0), (second, 0.5), (2700, 0.2))
        )
        syllable = (t % 2 < 1) & (t % 1 // 0.25 == n)
        samples += 0.1 * voice[: len(t)] * np.convolve(syllable, np.hanning(1600) / 800, "same")
    return samples.astype(np.float32)


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """ReLU of a convolution: x [channels, frames] with zeros at its ends, weight [out, channels, width]."""
    padded = np.pad(x, ((0, 0), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2], axis=1)[:, ::stride]
    columns = windows.transpose(0, 2, 1).reshape(-1, windows.shape[1])  # [channels*width, frames]
    return np.maximum(weight.reshape(len(weight), -1) @ columns + bias[:, None], 0)


class Detector:
    """The network: Fourier magnitudes, four convolutions, an LSTM that remembers, one number."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self._weights = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
        (lstm,) = load_layers(path).values()
        self._step = lstm.stream()
        self._context = np.zeros(CONTEXT, np.float32)
        self.seconds_in_lstm = 0.0

    def __call__(self, chunk: np.ndarray) -> float:
        weights = self._weights
        samples = np.concatenate([self._context, chunk])
        self._context = samples[-CONTEXT:]
        samples = np.pad(samples, (0, CONTEXT), "reflect")
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
        real, imaginary = np.split(weights["stft.forward_basis_buffer"][:, 0] @ frames.T, 2)
        x = np.sqrt(real**2 + imaginary**2)
        for n, stride in enumerate((1, 2, 2, 1)):
            x = convolve(x, weights[f"encoder.{n}.weight"], weights[f"encoder.{n}.bias"], stride)
        began = time.perf_counter()
        h = self._step(x[:, 0])
        self.seconds_in_lstm += time.perf_counter() - began
        logit = weights["output.weight"][0, :, 0] @ np.maximum(h, 0) + weights["output.bias"][0]
        return float(1 / (1 + np.exp(-logit)))


def run(detect: Callable[[np.ndarray], float], samples: np.ndarray) -> tuple[np.ndarray, float]:
    """The probability of speech in each chunk, and the median time of a call in microseconds."""
    got, times = [], []
    for begin in range(0, len(samples) - CHUNK + 1, CHUNK):
        began = time.perf_counter()
        got.append(detect(samples[begin : begin + CHUNK]))
        times.append(time.perf_counter() - began)
    return np.array(got), 1e6 * float(np.median(times))


data = Path(importlib.util.find_spec("silero_vad").origin).parent / "data"
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(data / "silero_vad.onnx", options, providers=["CPUExecutionProvider"])
memory = [np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)]  # the state, the context


def theirs(chunk: np.ndarray) -> float:
    """The whole network in onnxruntime."""
    state, context = memory
    samples = np.concatenate([context, chunk])
    y, state = session.run(None, {"input": samples[None], "state": state, "sr": np.array(RATE)})
    memory[:] = state, samples[-CONTEXT:]
    return float(y[0, 0])


rf.set_num_threads(1)
samples = sound()
ours = Detector(data / "silero_vad_16k_sequence.onnx")
got, our_time = run(ours, samples)
want, their_time = run(theirs, samples)

middle = np.arange(len(got)) * CHUNK / RATE
for second in range(SECONDS):
    inside = (middle >= second) & (middle < second + 1)
    print(f"second {second}: speech {got[inside].mean():.2f}, in onnxruntime {want[inside].mean():.2f}")
print(f"largest difference {np.abs(got - want).max():.1e}")
print(f"a chunk of 32 ms: {our_time:.0f} us, onnxruntime {their_time:.0f} us;", end=" ")
print(f"of ours the LSTM {1e6 * ours.seconds_in_lstm / len(got):.1f} us")
