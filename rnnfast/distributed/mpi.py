"""MPI as a communicator of `rf.fit`, through mpi4py."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

__all__ = ["MPI", "mpi"]


def mpi(comm: Any = None) -> MPI:
    """The workers of an MPI program, for `rf.fit(…, shards=S, comm=…)`.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        Those workers that train together; by default all (``COMM_WORLD``).

    Returns
    -------
    MPI

    Raises
    ------
    ImportError
        mpi4py is not installed (``pip install "rnnfast[mpi]"``).
    TypeError
        `comm` is no communicator of mpi4py.

    Examples
    --------
    A program for ``mpiexec -n 4 python -m mpi4py program.py``. With ``-m mpi4py``, an exception outside
    `rf.fit` ends all workers, too::

        comm = rnnfast.distributed.mpi()
        history = rf.fit(model, loss, data, optimizer, shards=4, comm=comm)
        if comm.rank == 0:
            rf.save("model.npz", model)
    """
    try:
        from mpi4py.MPI import COMM_WORLD, Intracomm
    except ImportError as error:
        raise ImportError('rnnfast.distributed.mpi needs mpi4py: pip install "rnnfast[mpi]"') from error
    if comm is None:
        comm = COMM_WORLD
    if not isinstance(comm, Intracomm):
        raise TypeError(f"comm: expected a communicator of mpi4py or None, got {type(comm).__name__}")
    return MPI(comm)


class MPI:
    """What :func:`mpi` gives: a :class:`Communicator`.

    Attributes
    ----------
    rank : int
        The place of this worker, 0 to size - 1.
    size : int
        The number of workers.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()

    def allgather(self, arrays: list[NDArray]) -> list[list[NDArray]]:
        """The arrays of every worker, in order of rank."""
        return self._comm.allgather(arrays)

    def broadcast(self, arrays: list[NDArray]) -> list[NDArray]:
        """The arrays of worker 0."""
        return self._comm.bcast(arrays if self.rank == 0 else None)

    def barrier(self) -> None:
        """Wait until every worker has called it."""
        self._comm.Barrier()
