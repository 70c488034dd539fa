"""A voice under growing noise, as the steps of a voice activity detector: by espeak-ng, or made here."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

RATE, CHUNK, CONTEXT = 16000, 512, 64  # samples a second, samples of a step, samples of the step before
VOWELS = ((730, 1090), (270, 2290), (300, 870), (530, 1840), (570, 840))  # formants in Hz
TEXT = (
    "The forward pass reads the sequence. Every step has a hidden state. Which gate is open? "
    "Seven sensors sent their values on Monday, and two of them were wrong. Please try again."
)
NOISE = (0.003, 0.01, 0.03, 0.1)  # standard deviations beside a voice with a largest magnitude of 0.5


def spoken() -> np.ndarray:
    """Speech by espeak-ng, at RATE."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-w", file, TEXT], check=True)
        with wave.open(str(file)) as source:
            rate = source.getframerate()
            samples = np.frombuffer(source.readframes(source.getnframes()), np.int16)
    times = np.arange(0, len(samples) / rate, 1 / RATE)
    return np.interp(times, np.arange(len(samples)) / rate, samples)


def syllable(rng: np.random.Generator) -> np.ndarray:
    """A quarter of a second of a vowel: harmonics of a gliding pitch, strong near the formants."""
    t = np.arange(RATE // 4) / RATE
    pitch = rng.uniform(90, 220) * (1 + rng.uniform(-0.3, 0.3) * t)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    harmonics = np.arange(1, int(4000 / pitch.max()))[:, None]
    formants = np.array([*VOWELS[rng.integers(len(VOWELS))], 2700])
    gains = (1 / (1 + ((harmonics * pitch.mean() - formants) / 80) ** 2)).sum(axis=1)
    return gains @ np.sin(harmonics * phase) * np.hanning(len(t))


def hummed() -> np.ndarray:
    """A voice-like signal: phrases of a few syllables between pauses."""
    rng = np.random.default_rng(0)
    pieces = []
    for _ in range(8):
        pieces += [syllable(rng) for _ in range(rng.integers(3, 8))]
        pieces.append(np.zeros(int(RATE * rng.uniform(0.4, 1.2))))
    return np.concatenate(pieces)


def chunks() -> tuple[np.ndarray, str]:
    """The voice under each level of noise as steps of a detector [N, CONTEXT + CHUNK], and what made it."""
    has_espeak = shutil.which("espeak-ng") is not None
    voice = spoken() if has_espeak else hummed()
    rng = np.random.default_rng(1)
    voice = 0.5 * voice / abs(voice).max()
    samples = np.concatenate([voice + noise * rng.standard_normal(len(voice)) for noise in NOISE])
    padded = np.concatenate([np.zeros(CONTEXT), samples]).astype(np.float32)
    steps = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + CHUNK)[::CHUNK]
    return np.ascontiguousarray(
        steps
    ), "speech by espeak-ng" if has_espeak else "a synthetic voice-like signal"
