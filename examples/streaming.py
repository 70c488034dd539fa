"""A detector that hears a signal frame by frame: is there a tone in the noise?

The noise grows and falls, clicks are louder than the tones, and a frame of 16 samples says little: what was
heard before has to help. Training takes recordings of several lengths at once. Then `model.stream()` takes
one frame a call, from several microphones side by side: where one begins a new recording, `reset` takes the
old one out of its state. Every output has the bits of the batch run.
"""

import argparse
import sys
import time

import numpy as np

import rnnfast as rf

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, default=600, help="of the weights")
parser.add_argument("--frames", type=int, default=20_000, help="heard from each microphone")
parser.add_argument("--figure", default="streaming.png")
options = parser.parse_args()

RATE, FRAME = 8000, 16  # samples a second and in a frame: 2 ms
BANDS, H = FRAME // 2 + 1, 24
rng = np.random.default_rng(0)


def recording() -> tuple[np.ndarray, np.ndarray]:
    """The log power of each frame's bands, [T, BANDS], and whether a tone sounds in it, [T] of 0 and 1."""
    T = rng.integers(200, 800)
    lasts = rng.geometric(1 / 60, T) + 5  # frames from one change to the next: silence, tone, silence, …
    sounds = np.repeat(np.arange(T) % 2, lasts)[:T]
    frequency = np.repeat(rng.uniform(300, 3500, T), lasts)[:T]
    tone = np.sin(np.cumsum(np.repeat(2 * np.pi * frequency / RATE, FRAME))).reshape(T, FRAME)
    signal = rng.standard_normal((T, FRAME)) + 1.2 * sounds[:, None] * tone
    signal[:, 0] += np.where(rng.random(T) < 0.05, 8.0, 0.0)  # clicks
    signal *= np.exp(np.cumsum(0.05 * rng.standard_normal(T)))[:, None]
    power = np.abs(np.fft.rfft(signal * np.hanning(FRAME))) ** 2
    return np.log(power + 1e-6).astype(np.float32), sounds


def recordings(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [T, B, BANDS], targets [T, B], and how many of the T steps each recording has, lengths [B]."""
    heard, sounds = zip(*(recording() for _ in range(count)), strict=True)
    x, lengths = rf.pack_sequences(heard)
    return x, rf.pack_sequences(sounds)[0], lengths


def trained(alone: bool) -> rf.Sequential:
    """A detector; one that knows each frame `alone` is reset before every step."""
    model = rf.Sequential(rf.GRU(BANDS, H, rng=1), rf.Linear(H, 2, rng=2))
    optimizer = rf.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(options.updates):
        x, targets, lengths = recordings(8)
        reset = np.full(targets.shape, alone)
        optimizer.zero_grad()
        rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets, lengths=lengths, reset=reset)
        rf.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
    return model


def figure(bands: np.ndarray, sounds: np.ndarray, logits: np.ndarray) -> None:
    """One recording: what came in, what was there, what was said."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return print("no figure: matplotlib is not installed")
    drawn = Figure(figsize=(7, 4), layout="constrained")
    above, below = drawn.subplots(2, 1, sharex=True)
    seconds = len(bands) * FRAME / RATE
    above.imshow(bands.T, origin="lower", aspect="auto", extent=(0, seconds, 0, RATE / 2000), cmap="magma")
    above.set(ylabel="kHz", title="log power of the bands")
    at = np.arange(len(bands)) * FRAME / RATE
    below.fill_between(at, sounds, step="post", color="0.85", label="a tone sounds")
    below.plot(at, 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), linewidth=1, label="probability of one")
    below.set(xlabel="seconds", xlim=(0, seconds), ylim=(-0.05, 1.05))
    below.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    drawn.savefig(options.figure, dpi=90)
    print("figure:", options.figure)


models = {"each frame alone": trained(alone=True), "GRU": trained(alone=False)}
x, targets, lengths = recordings(64)
print("right on new recordings:")
for name, model in models.items():
    logits, _ = model(x, lengths=lengths, reset=np.full(targets.shape, name != "GRU"))
    right = rf.unpack_sequences(logits.argmax(axis=-1) == targets, lengths)
    print(f"  {name:17} {np.concatenate(right).mean():.1%} of the frames")

for B in (1, 8):
    step = model.stream(B)
    playing, at = np.arange(B), np.zeros(B, int)  # of each microphone the recording and the frame
    microseconds = np.empty(options.frames)
    for n in range(options.frames):
        step.reset(at == 0)
        frame = x[at, playing]
        began = time.perf_counter_ns()
        y = step(frame)
        microseconds[n] = (time.perf_counter_ns() - began) / 1000
        if not np.array_equal(y, logits[at, playing]):
            sys.exit(f"frame {n} differs from the batch run")
        at += 1
        ended = at == lengths[playing]
        at[ended], playing[ended] = 0, rng.integers(len(lengths), size=ended.sum())
    median, late = np.percentile(microseconds, (50, 99))
    print(f"{B} side by side: {median:.1f} us a step (99% within {late:.1f}), the bits of the batch run")

figure(x[: lengths[0], 0], targets[: lengths[0], 0], logits[: lengths[0], 0])
