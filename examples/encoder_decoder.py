"""Teach an encoder and a decoder to reverse words of random letters.

The encoder reads a word. Its final state is the decoder's initial state, and all that the decoder knows of
the word. In the backward pass, the gradient of the decoder's initial state is that of the encoder's final
state. The words have several lengths. In training, the decoder is given the right letters so far, in one pass
over all steps. Afterwards it reads its own letters, one step a call, for words that it has not seen.
"""

import sys
import time

import numpy as np

import rnnfast as rf

LETTERS = "abcdefghijklmnopqrstuvwxyz"
END = len(LETTERS)  # the decoder begins with this symbol, and ends with it
LONGEST, B, H = 8, 64, 128
UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 800
rng = np.random.default_rng(0)

encoder = rf.Sequential(rf.Embedding(END, 16, rng=1), rf.LSTM(16, H, rng=2))
decoder = rf.Sequential(rf.Embedding(END + 1, 16, rng=3), rf.LSTM(16, H, rng=4), rf.Linear(H, END + 1, rng=5))
parameters = encoder.parameters() + decoder.parameters()
optimizer = rf.optim.Adam(parameters, lr=0.004)


def random_words() -> tuple[np.ndarray, np.ndarray]:
    """Letters [LONGEST, B], and the length of each word."""
    return rng.integers(0, END, (LONGEST, B)), rng.integers(1, LONGEST + 1, B)


def answers(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the decoder is given, and what it should say: both [LONGEST + 1, B]; -100 does not count."""
    targets = np.full((LONGEST + 1, B), -100)
    for b, length in enumerate(lengths):
        targets[:length, b] = words[:length, b][::-1]
        targets[length, b] = END
    given = np.full_like(targets, END)
    given[1:] = np.where(targets[:-1] < 0, END, targets[:-1])
    return given, targets


def train(words: np.ndarray, lengths: np.ndarray) -> float:
    """One update: the loss."""
    given, targets = answers(words, lengths)
    _, (_, state), tape = encoder.forward(words, lengths=lengths)
    y, _, decoder_tape = decoder.forward(given, (None, state, None))
    loss, dy = rf.losses.cross_entropy(y, targets)

    _, (_, dstate, _) = decoder.backward(decoder_tape, dy)
    encoder.backward(tape, None, (None, dstate))  # the encoder's own outputs are not used: their dy is zero
    rf.clip_grad_norm(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def reverse(words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """What the decoder says of its own: letters [LONGEST + 1, B]."""
    _, (_, state) = encoder(words, lengths=lengths)
    step = decoder.stream(B)
    step.state = (None, state, None)
    said = [np.full(B, END)]
    for _ in range(LONGEST + 1):
        said.append(step(said[-1]).argmax(axis=-1))
    return np.stack(said[1:])


began = time.perf_counter()
for update in range(1, UPDATES + 1):
    loss = train(*random_words())
    if update % (UPDATES // 4) == 0:
        print(f"update {update}: loss {loss:.4f}, {time.perf_counter() - began:.1f} s")

right, count = 0, 0
for _ in range(10):
    words, lengths = random_words()
    said, (_, targets) = reverse(words, lengths), answers(words, lengths)
    right += int(((said == targets) | (targets < 0)).all(axis=0).sum())
    count += B
print(f"{100 * right / count:.1f}% of {count} new words are reversed without a mistake")
b = lengths.argmax()
print(
    *("".join(LETTERS[k] if k < END else "." for k in letters[: lengths[b], b]) for letters in (words, said))
)
