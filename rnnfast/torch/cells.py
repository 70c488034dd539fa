"""RNNCell, LSTMCell and GRUCell in place of `torch.nn`'s: one step of a layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

import rnnfast
from rnnfast.functional import checked_reset
from rnnfast.torch.autograd import Call, run
from rnnfast.torch.base import Accelerated, LstmOptions, RnnOptions, misfit_of
from rnnfast.torch.fallback import node_of, untraced


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
        if torch.compiler.is_exporting():
            return super().forward(input, hx)
        if isinstance(input, torch.fx.Proxy):
            return node_of(self, input, hx, reset=reset)
        return self._forward(input, hx, reset)

    @untraced
    def _forward(self, input: torch.Tensor, hx: Any, reset: Any) -> Any:
        parts, weights = self._state_parts(hx), self._weights()
        misfit = self._misfit(input, parts, weights[0].dtype)
        if self._left_to_torch((input, *parts, *weights), misfit, {"reset": reset}):
            return super().forward(input, hx)
        reset = checked_reset(reset, tuple(input.shape[:-1]))
        how = {} if reset is None else {"reset": reset[np.newaxis]}
        view = self._layer_over(weights)
        return self._state_of(run(Call(view, how, {}, step=True), input, parts, weights))

    def _misfit(self, x: torch.Tensor, parts: Any, dtype: torch.dtype) -> str | None:
        """What is wrong with x and the parts of the state."""
        if x.dim() not in (1, 2):
            return f"input: expected 2 axes or, unbatched, 1, got {x.dim()}"
        widths = (self.hidden_size,) * 2
        return misfit_of(x, parts, dtype, self.input_size, tuple(x.shape[:-1]), widths)

    def _weight_names(self) -> list[str]:
        return ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.bias else ())]


class RNNCell(RnnOptions, Cells, torch.nn.RNNCell):
    """`torch.nn.RNNCell` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    *args, **kwargs
        Those of `torch.nn.RNNCell`: ``input_size, hidden_size, bias=True, nonlinearity="tanh", device=None,
        dtype=None``. The nonlinearity may also be "sigmoid" or "identity".

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


class LSTMCell(LstmOptions, Cells, torch.nn.LSTMCell):
    """`torch.nn.LSTMCell` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    *args, **kwargs
        Those of `torch.nn.LSTMCell`: ``input_size, hidden_size, bias=True, device=None, dtype=None``.
    forget_bias, peephole, coupled_gates, cell_clip
        As those of `rnnfast.torch.LSTM`; the peepholes are ``weight_ci``, ``weight_cf``, ``weight_co``.

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
    _keywords = (*Cells._keywords, *LstmOptions._own)

    def _weight_names(self) -> list[str]:
        seeing = ("io" if self.coupled_gates else "ifo") if self.peephole else ""
        return [*super()._weight_names(), *[f"weight_c{gate}" for gate in seeing]]


class GRUCell(Cells, torch.nn.GRUCell):
    """`torch.nn.GRUCell` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    *args, **kwargs
        Those of `torch.nn.GRUCell`: ``input_size, hidden_size, bias=True, device=None, dtype=None``.
    reset_after : bool
        As that of `rnnfast.torch.GRU`.

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
