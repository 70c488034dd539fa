"""A character model in a page: predict each character of a text from those before it, then let it write.

Run it with a text file, `python examples/character_model.py book.txt`, or without one on Python's help texts.
"""

import sys
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

import rnnfast as rf

T, B = 64, 16  # steps of a window, streams of the text side by side
H, EPOCHS = 128, 3  # hidden units, readings of the text

default = "\n".join(topics[key] for key in sorted(topics))
text = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else default
alphabet, symbols = np.unique(list(text), return_inverse=True)
steps = (len(symbols) - 1) // (B * T) * T
x = symbols[: steps * B].reshape(B, steps).T  # [steps, B]: each column is one stream
targets = symbols[1 : steps * B + 1].reshape(B, steps).T

model = rf.Sequential(
    rf.Embedding(len(alphabet), 32, rng=0), rf.LSTM(32, H, rng=1), rf.Linear(H, len(alphabet), rng=2)
)
optimizer = rf.optim.Adam(model.parameters(), lr=0.005)
for epoch in range(EPOCHS):
    losses = []
    # The state goes on from window to window, gradients end at its beginning.
    for loss, _ in rf.truncated_bptt(model, rf.losses.cross_entropy, x, targets, k1=T, k2=T):
        rf.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss)
    print(f"epoch {epoch + 1}: {np.mean(losses) / np.log(2):.3f} bits per character", flush=True)

rng = np.random.default_rng(0)
step = model.stream()  # one character a call; it reads the beginning of the text, and goes on from there
for symbol in symbols[:40]:
    logits = step(symbol[None])
print("".join(alphabet[symbols[:40]]), end="")
for _ in range(300):
    p = np.exp((logits[0] - logits[0].max()).astype(float) / 0.7)
    symbol = rng.choice(len(alphabet), p=p / p.sum())
    print(alphabet[symbol], end="")
    logits = step(np.array([symbol]))
print()
