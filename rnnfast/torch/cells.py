"""RNNCell, LSTMCell and GRUCell in place of `torch.nn`'s: one step of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

import rnnfast
from rnnfast import _core
from rnnfast.checks import checked_reset
from rnnfast.torch import autocast
from rnnfast.torch.autograd import run
from rnnfast.torch.base import Accelerated, LstmOptions, RnnOptions, misfit_of, options_beyond_torch
from rnnfast.torch.call import Call
from rnnfast.torch.fallback import (
    fits_a_graph,
    in_onnx_export,
    in_transform,
    node_of,
    proxies_in,
    untraced,
)
from rnnfast.torch.precision import precision_under, refuse_gradient

__all__ = ["Cells", "GRUCell", "LSTMCell", "RNNCell"]


class Cells(Accelerated):
    """What the cells add to `torch.nn.RNNCellBase`: a forward pass of their own."""

    _keywords: ClassVar[tuple[str, ...]] = ("input_size", "hidden_size", "bias")

    def forward(self, input: torch.Tensor, hx: Any = None, *, reset: Any = None) -> Any:
        """Take one step.

        Parameters
        ----------
        input : torch.Tensor
            ``[B, input_size]`` or, unbatched, ``[input_size]``.
        hx : optional
            The state before, as torch's cell takes it: ``[B, hidden_size]`` or, unbatched,
            ``[hidden_size]``, for LSTMCell a pair (h, c). None means zeros.
        reset : tensor of bool [B], optional
            True where an episode begins (unbatched: one bool): the state before is zero there, and no
            gradient crosses.

        Returns
        -------
        state
            The state after, in the form of hx.

        Raises
        ------
        TypeError, ValueError
            If an option or a keyword that torch does not know is wrong, or has to be left to torch.
        RuntimeError, ValueError
            torch's own, if input or hx is wrong.
        """
        if torch.compiler.is_compiling():
            if in_onnx_export():
                self._refuse_export(reset=reset)
                return super().forward(input, hx)
            if fits_a_graph(input, hx, self._weights()):
                return self._run(input, hx, reset, True)
        else:
            proxies = proxies_in(input, hx, reset)
            if proxies:
                return node_of(self, proxies, input, hx, reset=reset)
        return self._forward(input, hx, reset)

    @untraced
    def _forward(self, input: torch.Tensor, hx: Any, reset: Any) -> Any:
        return self._run(input, hx, reset, False)

    def _run(self, input: torch.Tensor, hx: Any, reset: Any, graph: bool) -> Any:
        """`forward`, as an operator where a graph is traced."""
        parts = self._state_parts(hx)
        lower, weights = autocast.entered(self._weights())
        precision = precision_under(lower, self._matmul_precision)
        as_operator = graph or in_transform()
        view = None if as_operator else self._shown(weights, precision)
        if self._left_to_torch(view, lower, input, parts, weights, {"reset": reset}, graph):
            return super().forward(input, hx)
        refuse_gradient(precision, input, parts, weights)
        dtypes = self._dtypes_under(lower, input, parts, False)
        if as_operator:
            options = {"matmul_precision": precision}
            operation = self._operation(f"{self._kind.__name__}Cell", options, None, reset, None, graph)
        else:
            reset = checked_reset(reset, tuple(input.shape[:-1]))
            keywords = {} if reset is None else {"reset": reset[np.newaxis]}
            view = view or self._new_view(weights, precision)
            operation = partial(run, Call(view, keywords, {}, step=True))
        return self._state_of(autocast.run_as(dtypes, operation, input, parts, weights))

    def _misfit(
        self, x: torch.Tensor, parts: Sequence[Any], dtypes: Sequence[torch.dtype], sizes: None
    ) -> str | None:
        if x.dim() not in (1, 2):
            return f"input: expected 2 axes or, unbatched, 1, got {x.dim()}"
        widths = (self.hidden_size,) * 2
        return misfit_of(x, parts, dtypes, self.input_size, tuple(x.shape[:-1]), widths)

    def _weight_names(self) -> list[str]:
        return ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.bias else ())]


class RNNCell(RnnOptions, Cells, torch.nn.RNNCell):
    """`torch.nn.RNNCell` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    input_size, hidden_size, bias, device, dtype
        As those of `torch.nn.RNNCell`.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
        As that of `torch.nn.RNNCell`, which has only the first two.
    matmul_precision : {"float32", "bfloat16", "int8"}
        As that of `rnnfast.torch.LSTM`.

    References
    ----------
    The equation is in `rnnfast.RNN`.

    Examples
    --------
    >>> import torch, rnnfast.torch
    >>> cell = rnnfast.torch.RNNCell(3, 5)
    >>> h = cell(torch.ones(2, 3))
    >>> cell(torch.ones(2, 3), h).shape
    torch.Size([2, 5])
    """

    _kind = rnnfast.RNN
    _keywords = (*Cells._keywords, "nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        matmul_precision: str = "float32",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bias,
            nonlinearity,
            device=device,
            dtype=dtype,
            matmul_precision=matmul_precision,
        )


class LSTMCell(LstmOptions, Cells, torch.nn.LSTMCell):
    """`torch.nn.LSTMCell` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    input_size, hidden_size, bias, device, dtype
        As those of `torch.nn.LSTMCell`.
    forget_bias, peephole, coupled_gates, cell_clip
        As those of `rnnfast.torch.LSTM`; the peepholes are ``weight_ci``, ``weight_cf``, ``weight_co``.
    matmul_precision : {"float32", "bfloat16", "int8"}
        As that of `rnnfast.torch.LSTM`.

    References
    ----------
    The equations and their sources are in `rnnfast.LSTM`.

    Examples
    --------
    >>> import torch, rnnfast.torch
    >>> cell = rnnfast.torch.LSTMCell(3, 5, peephole=True)
    >>> h, c = cell(torch.ones(2, 3))
    >>> h.shape, c.shape
    (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    _kind = rnnfast.LSTM
    _keywords = (*Cells._keywords, *options_beyond_torch(LstmOptions))

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        forget_bias: float | None = None,
        peephole: bool = False,
        coupled_gates: bool = False,
        cell_clip: float | None = None,
        matmul_precision: str = "float32",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bias,
            device=device,
            dtype=dtype,
            forget_bias=forget_bias,
            peephole=peephole,
            coupled_gates=coupled_gates,
            cell_clip=cell_clip,
            matmul_precision=matmul_precision,
        )

    def _weight_names(self) -> list[str]:
        peepholes = _core.cell_info("lstm", coupled_gates=self.coupled_gates).vectors if self.peephole else ()
        return [*super()._weight_names(), *peepholes]


class GRUCell(Cells, torch.nn.GRUCell):
    """`torch.nn.GRUCell` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    input_size, hidden_size, bias, device, dtype
        As those of `torch.nn.GRUCell`.
    reset_after : bool
        As that of `rnnfast.torch.GRU`.
    matmul_precision : {"float32", "bfloat16", "int8"}
        As that of `rnnfast.torch.LSTM`.

    References
    ----------
    The equations and their sources are in `rnnfast.GRU`.

    Examples
    --------
    >>> import torch, rnnfast.torch
    >>> cell = rnnfast.torch.GRUCell(3, 5)
    >>> cell(torch.ones(3)).shape
    torch.Size([5])
    """

    _own: ClassVar[dict[str, Any]] = {"reset_after": True}
    _kind = rnnfast.GRU
    _keywords = (*Cells._keywords, "reset_after")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
        matmul_precision: str = "float32",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bias,
            device=device,
            dtype=dtype,
            reset_after=reset_after,
            matmul_precision=matmul_precision,
        )
