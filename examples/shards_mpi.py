"""One model trained by several processes, with the same bits for any number of them.

python examples/shards_mpi.py trains in one process. mpiexec -n 2 python -m mpi4py examples/shards_mpi.py mpi
trains in two, on one machine or on several. The checksum of the weights is the same.
"""

import sys
import zlib

import numpy as np

import rnnfast as rf
from rnnfast.distributed import mpi

comm = mpi() if "mpi" in sys.argv[1:] else None
rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
if size > 1:
    rf.set_num_threads(1)  # workers on one machine share its cores

# Every worker makes the same data. Is the sum of all inputs up to a step above zero?
rng = np.random.default_rng(0)
x = rng.standard_normal((30, 600, 1), dtype=np.float32)  # [T, N, I]
targets = (x[:, :, 0].cumsum(axis=0) > 0).astype(int)

model = rf.Sequential(rf.GRU(1, 24, rng=0), rf.Dropout(0.1, rng=1), rf.Linear(24, 2, rng=2))
optimizer = rf.optim.Adam(model.parameters(), lr=0.01)
history = rf.fit(
    model,
    "cross_entropy",
    (x[:, :500], targets[:, :500]),
    optimizer,
    epochs=8,
    batch_size=50,
    validation=(x[:, 500:], targets[:, 500:]),
    clip_norm=1.0,
    progress=False,
    rng=3,
    shards=4,
    comm=comm,
)
if rank == 0:
    weights = b"".join(parameter.data.tobytes() for parameter in model.parameters())
    print(f"{size} workers: validation loss {history.best:.4f}, weights {zlib.crc32(weights):08x}")
