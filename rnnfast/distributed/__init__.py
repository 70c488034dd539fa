"""Training on several machines: communicators for `rf.fit(…, shards=S, comm=…)`."""

from rnnfast.distributed.mpi import MPI, mpi
from rnnfast.training.team import Communicator, WorkerError

__all__ = ["MPI", "Communicator", "WorkerError", "mpi"]
