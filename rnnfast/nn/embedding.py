"""A table of vectors, looked up by integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import _core, checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.members import check_same_form
from rnnfast.nn.module import Stateless, refuse_state
from rnnfast.nn.parameter import Parameter

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ["Embedding", "embedded_input"]

REPEATS = 2  # how often each integer must occur, on average, so that a layer is faster on the table than on y


class Embedding(Stateless):
    """y[...] = weight[x[...]]: a trainable vector for each integer.

    Parameters
    ----------
    num_embeddings : int
        How many vectors; x holds integers in ``0..num_embeddings-1``.
    embedding_dim : int
        Their size.
    dtype : {"float32", "float64"}
        Of the vectors and of y.
    rng : int, numpy.random.Generator or None
        Seeds the vectors: standard normal, as PyTorch's.

    Attributes
    ----------
    weight : Parameter
        ``[num_embeddings, embedding_dim]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    x may have any shape; y has one axis more. `backward` gives no dx (it is None), and adds the rows that
    share an integer in the order in which they came, so that its bits are the same at every run.

    In a `Sequential`, just before a recurrent layer, and with integers that come at least twice on average,
    the layer works per integer: y is never made. Outputs have the same bits; the weight's gradient, and the
    layer's ``weight_ih``'s, are sums in another order.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> embedding = rf.Embedding(10, 3, rng=0)
    >>> y, state, tape = embedding.forward(np.array([[1, 2], [1, 7]]))
    >>> y.shape
    (2, 2, 3)
    >>> embedding.backward(tape, np.ones_like(y))
    (None, None)
    >>> embedding.weight.grad[:3].tolist()
    [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    """

    @to_nearest
    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, dtype: DTypeLike = "float32", rng: checks.Rng = None
    ) -> None:
        super().__init__()
        self.num_embeddings = checks.positive("num_embeddings", num_embeddings)
        self.embedding_dim = checks.positive("embedding_dim", embedding_dim)
        kind = checks.float_dtype(dtype)
        sizes = {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim}
        checks.fits(sizes, self.num_embeddings * self.embedding_dim, kind)
        table = checks.generator(rng).standard_normal((self.num_embeddings, self.embedding_dim))
        self._parameters["weight"] = Parameter(table.astype(kind))

    def _check_member(self, name: str, value: Any) -> None:
        if name == "weight":
            check_same_form(name, self._parameters[name], value)

    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        return self._looked_up(self._tokens(x))

    def _looked_up(self, tokens: np.ndarray) -> tuple[np.ndarray, Any]:
        y = self._parameters["weight"].data.take(tokens, axis=0)
        return y, (y.shape, y.dtype, tokens)

    def _tokens(self, x: ArrayLike) -> np.ndarray:
        """A copy of x; an error if one of its integers is not in the table."""
        x = checks.as_array("x", x)
        if x.dtype.kind not in "iu":
            raise TypeError(f"x: expected integers, got {x.dtype}")
        x = x.astype(np.intp)
        # Seen as unsigned, a negative integer is huge.
        if x.size and x.view(np.uintp).max() >= self.num_embeddings:
            raise ValueError(
                f"x: expected integers in 0..{self.num_embeddings - 1}, got {x.min()}..{x.max()}"
            )
        return x

    @to_nearest
    def _backward(
        self, saved: Any, dy: np.ndarray | None, dstate: None, input_grad: bool, retain: bool
    ) -> tuple[None, None, dict[str, np.ndarray]]:
        _, dtype, tokens = saved
        if tokens is None and dy is not None:  # y was an `Embedded`
            return None, None, {"weight": dy}
        dweight = np.zeros((self.num_embeddings, self.embedding_dim), dtype)
        if dy is not None:
            # Element by element: NumPy's indexed add is fast over one axis only.
            first = tokens.reshape(-1, 1) * self.embedding_dim
            np.add.at(
                dweight.reshape(-1), (first + np.arange(self.embedding_dim)).reshape(-1), dy.reshape(-1)
            )
        return None, None, {"weight": dweight}

    def __repr__(self) -> str:
        return f"Embedding({self.num_embeddings}, {self.embedding_dim}, dtype={str(self.dtype)!r})"


def embedded_input(embedding: Embedding, x: ArrayLike, state: Any) -> tuple[np.ndarray | _core.Embedded, Any]:
    """y for a module that reads an `Embedded`, and what `backward` needs of x.

    y is an `Embedded` where integers repeat often enough. `backward` then takes the table's gradient as dy.
    """
    refuse_state("state", state, embedding)
    tokens = embedding._tokens(x)
    if REPEATS * embedding.num_embeddings > tokens.size:
        return embedding._looked_up(tokens)
    weight = embedding._parameters["weight"].data
    return _core.Embedded(weight, tokens), (weight.shape, weight.dtype, None)
