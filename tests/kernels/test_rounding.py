"""The caller's rounding mode and its treatment of subnormal numbers show in no result."""

from __future__ import annotations

import platform
import sys

import pytest
from helpers.processes import run_python

PROGRAM = """
import ctypes, ctypes.util, hashlib
import numpy as np
import rnnfast as rf
from rnnfast import functional, sampling
from rnnfast.training.flat import FlatGradients, Term

def both_ways(name, x):
    activation = rf.Activation(name)
    y, _, tape = activation.forward(x)
    return y, activation.backward(tape, y)[0]

def digests():
    found = {}

    def keep(name, *arrays):
        digest = hashlib.sha256()
        for array in arrays:
            for part in array if isinstance(array, tuple) else (array,):
                if part is not None:
                    digest.update(np.ascontiguousarray(part).tobytes())
        found[name] = digest.hexdigest()

    for name, kind, options in (
        ("rnn", rf.RNN, {}),
        ("lstm", rf.LSTM, {"peephole": True, "forget_bias": 0.7}),
        ("gru", rf.GRU, {"reset_after": False}),
        ("indrnn", rf.IndRNN, {"nonlinearity": "tanh"}),
    ):
        layer = kind(I, H, num_layers=2, dropout=0.3, bidirectional=True, rng=1, **options)
        keep(name + " weights", *layer.state_dict().values())
        keep(name + " cast x", layer(wide)[0])
        for checkpoint in (None, 4):
            y, state, tape, states = layer.forward(x, rng=3, checkpoint=checkpoint, return_states=True)
            dx, dstate = layer.backward(tape, dy, state, dstates=states)
            keep(f"{name} {checkpoint}", y, state, dx, dstate, *(p.grad for p in layer.parameters()))
        grads = {}
        for _ in range(2):
            layer.backward(layer.forward(x, rng=3)[2], dy, grads=grads)
        keep(name + " grads added up", *grads.values())
        keep(name + " underflow", layer.backward(layer.forward(x, rng=3)[2], tiny)[0])
        step = kind(I, H, num_layers=2, rng=1, **options).stream(B)
        keep(name + " stream", *(step(x_t) for x_t in x))
    for name in ("relu", "tanh", "sigmoid", "gelu", "silu"):
        keep(name, both_ways(name, wide), both_ways(name, x))
    y, h, tape = functional.gru_forward(x, *weights)
    keep("functional", y, h, *functional.gru_backward(tape, y, h, dstates=y)[:2])

    inner = rf.Dropout(0.2, rng=2), rf.GRU(I, H, rng=3), rf.Linear(H, 7, rng=4)
    model = rf.Sequential(rf.Embedding(7, I, rng=1), *inner)
    tokens = np.arange(T * B).reshape(T, B) % 7
    for name, optimizer in (
        ("sgd", rf.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)),
        ("adam", rf.optim.AdamW(model.parameters(), lr=0.01)),
        ("rmsprop", rf.optim.RMSprop(model.parameters(), lr=0.01)),
    ):
        for _ in range(2):
            model.zero_grad()
            rf.loss_and_grad(model, rf.losses.cross_entropy, tokens, tokens)
            norm = rf.clip_grad_norm(model.parameters(), 0.3)
            rf.clip_grad_value(model.parameters(), 0.1)
            optimizer.step()
        keep(name, np.array(norm), *model.state_dict().values())
    for loss in (rf.losses.mse, rf.losses.mae, rf.losses.huber):
        keep(loss.__name__, *map(np.asarray, loss(dy, thirds)))
    keep("binary", *map(np.asarray, rf.losses.binary_cross_entropy(dy, abs(np.sin(thirds)))))
    keep("ctc", *map(np.asarray, rf.losses.ctc(dy, [[1, 2, 2], [5], []])))
    block = rf.Residual(rf.Sequential(rf.LayerNorm(I), rf.Linear(I, I, rng=5)))
    beside = rf.Parallel(block, rf.LayerNorm(I))
    y, _, tape = beside.forward(wide)
    keep("beside", y, beside.backward(tape, y)[0], *(p.grad for p in beside.parameters()))
    keep("sampling", sampling.distribution(wide[0, 0], temperature=0.7))
    head = rf.Linear(I, 2, rng=6)
    flat = FlatGradients(head)
    given = {name: p.data for name, p in head.named_parameters()}
    flat.set_sum([Term(0.1, [], flat.packed(given)[0])] * 3)
    keep("shards", *(p.grad for p in head.parameters()))
    layer = rf.LSTM(I, H, rng=1)
    rf.init.recurrent(layer, rng=2)
    rf.init.xavier_normal(layer.weight_ih_l0, rng=3)
    keep("init", *layer.state_dict().values())
    return found

T, B, I, H = 12, 3, 5, 9
rng = np.random.default_rng(0)
wide, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H)).astype(np.float32)
x, thirds = wide.astype(np.float32), dy.astype(float) / 3
tiny = dy * np.float32(1e-37)
weights = [rng.normal(size=size).astype(np.float32) for size in ((3 * H, I), (3 * H, H), 3 * H, 3 * H)]

before = digests()
SET
after = digests()
print(sorted(name for name in before if before[name] != after[name]))
"""

# What the caller sets: rounding upward, downward or towards zero; and in the control word of SSE, subnormal
# numbers as zero.
X86 = platform.machine() in ("x86_64", "AMD64")
ROUND = "ctypes.CDLL(ctypes.util.find_library('m')).fesetround({})"
FLUSH = """
libm = ctypes.CDLL(ctypes.util.find_library('m'))
words = (ctypes.c_uint32 * 8)()
libm.fegetenv(words)
words[7] |= 0x8040
libm.fesetenv(words)
assert np.multiply(1e-300, 1e-10) == 0
"""
SETTINGS = {
    "upward": ROUND.format(0x800 if X86 else 0x400000),
    "downward": ROUND.format(0x400 if X86 else 0x800000),
    "towards zero": ROUND.format(0xC00 if X86 else 0xC00000),
    **({"subnormals as zero": FLUSH} if X86 else {}),
}


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="by numbers"
)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_caller_s_rounding_mode_changes_no_result(name):
    program = PROGRAM.replace("SET\n", SETTINGS[name] + "\n", 1)
    done = run_python(program)
    assert (done.stdout, done.stderr) == ("[]\n", "")
