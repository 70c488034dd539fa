"""PyTorch's DistributedDataParallel over rnnfast's LSTM: two processes train what one would.

Each process computes the gradients of its half of the batch, torch averages them over gloo, and both take the
same step. So the mean of their losses is that of a single process over the whole batch, but for rounding.
torch and rnnfast have threads of their own in each process: here one each.
"""

import os
import socket
import sys

import torch
import torch.multiprocessing as mp
from torch import nn

import rnnfast as rf
import rnnfast.torch

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
T, B, PROCESSES = 40, 32, 2


class Counter(nn.Module):
    """Whether the sum of the inputs so far is above zero, at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = rnnfast.torch.LSTM(1, 24, forget_bias=1.0)
        self.head = nn.Linear(24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


def train(rows: slice, rank: int | None) -> float:
    """The last loss over these rows of every batch, of a model that is the same in all processes."""
    torch.manual_seed(0)
    model: nn.Module = Counter()
    if rank is not None:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    draws = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(T, B, 1, generator=draws)[:, rows]
        targets = (x.cumsum(0) > 0).float()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def worker(rank: int, port: int, losses: mp.SimpleQueue) -> None:
    """One of the processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    rf.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    share = B // PROCESSES
    losses.put(train(slice(rank * share, (rank + 1) * share), rank))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    losses = mp.get_context("spawn").SimpleQueue()
    mp.spawn(worker, (port, losses), nprocs=PROCESSES)
    together = sum(losses.get() for _ in range(PROCESSES)) / PROCESSES
    alone = train(slice(None), None)
    print(f"loss after {STEPS} steps: {together:.6f} with {PROCESSES} processes, {alone:.6f} with one")
    if abs(together - alone) > 1e-4:
        sys.exit("they differ")
