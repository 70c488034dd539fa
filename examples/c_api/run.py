"""Runs both examples, once they are built, beside the layers that do the same in Python."""

from __future__ import annotations

import time

import descent
import numpy as np
import steps

import rnnfast as rf

# A GRU over a signal, sample by sample, in C.
gru = rf.GRU(1, 32, rng=0)
signal = np.sin(np.arange(20000, dtype=np.float32) / 10)
plan = steps.new(*(parameter.data for parameter in gru.parameters()))
y = np.empty((len(signal), 32), np.float32)
steps.run(plan, signal, y)
assert np.array_equal(y, gru(signal[:, None])[0])  # the same bits
begin = time.perf_counter()
steps.run(plan, signal, y)
in_c = time.perf_counter() - begin
step = gru.stream()
begin = time.perf_counter()
for x_t in signal[:, None]:
    step(x_t)
in_python = time.perf_counter() - begin
print(f"a step: {in_c / len(signal) * 1e6:.2f} us from C, {in_python / len(signal) * 1e6:.2f} us from Python")

# An LSTM trained in Cython: its outputs are to follow the running mean of its input.
rng = np.random.default_rng(0)
x = rng.normal(size=(30, 16, 1)).astype(np.float32)
targets = np.repeat(np.cumsum(x, axis=0) / np.arange(1, 31)[:, None, None], 8, axis=2).astype(np.float32)
lstm = rf.LSTM(1, 8, rng=0)
weight_ih, weight_hh, bias, _ = (parameter.data for parameter in lstm.parameters())
first = descent.descend(weight_ih, weight_hh, bias, x, targets, 1.0, 1)
last = descent.descend(weight_ih, weight_hh, bias, x, targets, 1.0, 300)
print(f"loss {first:.4f}, after 300 updates {last:.4f}")
assert last < first / 2
