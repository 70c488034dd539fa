"""A character model in a page: predict each character of a text from those before it, then let it write.

Run it with a text file, `python examples/character_model.py book.txt`, or without one on Python's help texts.
"""

import sys

import numpy as np

import rnnfast as rf

T, B = 64, 16  # steps of a truncation window, parallel sequences of the text
H, EPOCHS = 128, 3  # hidden units, readings of the text

text = rf.text.read_text(sys.argv[1:]) if sys.argv[1:] else rf.text.default_text()
x, targets = rf.text.streams(text.training, B)  # [steps, B]: each column is one stream
V = len(text.alphabet)
network = rf.Sequential(rf.Embedding(V, 32, rng=0), rf.LSTM(32, H, rng=1), rf.Linear(H, V, rng=2))
model = rf.text.TextModel(network, text.alphabet)

optimizer = rf.optim.Adam(network.parameters(), lr=0.005)
for epoch in range(EPOCHS):
    losses = []
    # The state is carried from window to window; gradients end at the beginning of a window.
    for loss, _ in rf.truncated_bptt(network, rf.losses.cross_entropy, x, targets, k1=T, k2=T):
        rf.clip_grad_norm(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss)
    held_out = model.bits_per_symbol(text.held_out_from_before)
    bits = np.mean(losses) / np.log(2)
    print(f"epoch {epoch + 1}: {bits:.3f} bits per character, held out {held_out:.3f}", flush=True)

start = text.content[:40]  # the model reads the beginning of the text, and continues it
print(start, end="")
for piece in model.pieces(start, 300, temperature=0.7, rng=0):  # one character a call
    print(piece, end="", flush=True)
print()
