"""Train a small model, write it as an ONNX file, and run the file in onnxruntime and through rnnfast.

It needs two more packages: `pip install "rnnfast[onnx]" onnxruntime`.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import rnnfast as rf
import rnnfast.onnx

# Is the sum of the inputs so far above zero? A target for every step of every sequence.
rng = np.random.default_rng(0)
x = rng.standard_normal((50, 64, 1)).astype(np.float32)  # [T, B, 1]
targets = (np.cumsum(x[:, :, 0], axis=0) > 0).astype(np.int64)  # [T, B]
model = rf.Sequential(rf.LSTM(1, 64, num_layers=2, rng=0), rf.Linear(64, 2, rng=1))
history = rf.fit(
    model,
    rf.losses.cross_entropy,
    (x, targets),
    rf.optim.Adam(model.parameters(), lr=0.01),
    epochs=20,
    batch_size=32,
    rng=2,
)
y, _ = model(x)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "sums.onnx"
    rnnfast.onnx.export(model, path)
    print(f"the file: {path.stat().st_size / 1024:.0f} KB")
    session = onnxruntime.InferenceSession(path)
    prepared = rnnfast.onnx.prepare(path)
    layers = rnnfast.onnx.load_layers(path)
print("recurrent nodes:", ", ".join(f"{name} on the {where}" for name, where in prepared.paths.items()))
print("as layers:", layers)


def milliseconds(run):
    """The fastest of some runs."""
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


feed = {"x": x}
for name, run in (
    ("onnxruntime", lambda: session.run(["y"], feed)[0]),
    ("rnnfast", lambda: prepared.run(feed)["y"]),
):
    difference = np.abs(run() - y).max()
    print(f"{name}: largest difference from the model {difference:.1e}, {milliseconds(run):.2f} ms")
