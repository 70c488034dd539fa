"""Train on sequences of 100,000 steps in little memory: states are kept at a few steps, and no gates.

Now and then a pulse comes, up or down; the network says at every step which came last. Gradients go back to
the first step. `python examples/long_sequence.py --steps 5000` is quicker; `--plain` keeps all gates.
"""

import argparse
import resource
import sys
import time

import numpy as np

import rnnfast as rf

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100_000, help="length of the sequences")
parser.add_argument("--updates", type=int, default=50, help="of the weights")
parser.add_argument("--plain", action="store_true", help="keep all gates")
options = parser.parse_args()

T, B, H, GAP = options.steps, 8, 32, 100  # GAP: steps between two pulses, on average
rng = np.random.default_rng(0)


def sequences() -> tuple[np.ndarray, np.ndarray]:
    """x [T, B, 1], noise and pulses of ±3; targets [T, B]: 1 once a pulse went up, 0 once one went down."""
    pulses = rng.choice([-1, 0, 1], size=(T, B), p=[0.5 / GAP, 1 - 1 / GAP, 0.5 / GAP])
    pulses[0] = rng.choice([-1, 1], size=B)
    last = np.maximum.accumulate(np.where(pulses != 0, np.arange(T)[:, None], 0), axis=0)
    targets = (np.take_along_axis(pulses, last, axis=0) > 0).astype(np.int64)
    x = (3 * pulses + 0.1 * rng.standard_normal((T, B))).astype(np.float32)
    return x[:, :, None], targets


gru = rf.GRU(1, H, rng=1)
gru.bias_ih_l0.data[H : 2 * H] = 4.0  # z near 1: at first the state stays what it is for long
model = rf.Sequential(gru, rf.Linear(H, 2, rng=2))
optimizer = rf.optim.Adam(model.parameters(), lr=0.02)
began = time.perf_counter()
for update in range(options.updates):
    x, targets = sequences()
    optimizer.zero_grad()
    loss, _ = rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets, checkpoint=not options.plain)
    rf.clip_grad_norm(model.parameters(), 1.0)
    optimizer.step()
    if update % 10 == 9:
        print(f"update {update + 1}: loss {loss:.4f}  {time.perf_counter() - began:.1f} s", flush=True)

x, targets = sequences()
logits, _ = model(x)
print(f"right on new sequences: {np.mean(logits.argmax(axis=-1) == targets):.4f}")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
gates = T * B * 4 * H * 4 / 1e6
print(f"peak memory: {peak:.0f} MB; the gates of all steps alone would be {gates:.0f} MB")
