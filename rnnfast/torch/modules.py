"""RNN, LSTM and GRU in place of `torch.nn`'s."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

import rnnfast
from rnnfast import checks
from rnnfast.recurrent import Recurrent
from rnnfast.torch import autocast
from rnnfast.torch.autocast import Run
from rnnfast.torch.autograd import run
from rnnfast.torch.base import Accelerated, LstmOptions, RnnOptions, misfit_of, options_beyond_torch
from rnnfast.torch.call import Call
from rnnfast.torch.fallback import (
    fits_a_graph,
    in_onnx_export,
    in_transform,
    node_of,
    packed_in_transform,
    proxies_in,
    untraced,
)
from rnnfast.torch.memory import View
from rnnfast.torch.precision import precision_under, refuse_dropout, refuse_gradient

__all__ = ["GRU", "LSTM", "MODES", "RNN", "Layers"]


class Layers(Accelerated):
    """What RNN, LSTM and GRU add to `torch.nn.RNNBase`: a forward pass of their own."""

    _keywords: ClassVar[tuple[str, ...]] = (
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "bidirectional",
    )

    def forward(
        self,
        input: torch.Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Any = None,
        reset: Any = None,
        checkpoint: bool | int | None = None,
    ) -> tuple[torch.Tensor | PackedSequence, Any]:
        """Run all layers over all steps.

        Parameters
        ----------
        input : torch.Tensor or PackedSequence
            ``[T, B, input_size]`` (``[B, T, input_size]`` with batch_first), unbatched ``[T, input_size]``,
            or packed sequences.
        hx : optional
            The initial state, as torch's module takes it: ``[num_layers*D, B, hidden_size]`` (unbatched
            without B), for LSTM a pair (h, c). None means zeros.
        lengths : tensor of integers [B], optional
            How many steps each sequence has, 0..T, in any order: instead of packing. Padding is not
            read, and the output is zero there.
        reset : tensor of bool, optional
            Laid out as input's first axes (a PackedSequence, where input is one). True where a step is the
            first of an episode: its state is zero before, and no gradient crosses.
        checkpoint : bool or int, optional
            Recomputation: keep only the state at the start of each segment of so many steps (True: about
            sqrt(T)), and run the segments again in the backward pass. Long sequences then take much less
            memory.

        Returns
        -------
        output : torch.Tensor or PackedSequence
            As torch's module gives it; in the form of input.
        state
            The final state, in the form of hx.

        Raises
        ------
        TypeError, ValueError
            If an option or a keyword that torch does not know is wrong, or has to be left to torch.
        RuntimeError, ValueError
            torch's own, if input or hx is wrong.
        """
        if torch.compiler.is_compiling():
            if in_onnx_export():
                self._refuse_export(lengths=lengths, reset=reset, checkpoint=checkpoint)
                return super().forward(input, hx)
            if fits_a_graph(input, hx, self._weights()):
                return self._run(input, hx, lengths, reset, checkpoint, True)
        else:
            proxies = proxies_in(input, hx, lengths, reset)
            if proxies:
                keywords = {"lengths": lengths, "reset": reset, "checkpoint": checkpoint}
                return node_of(self, proxies, input, hx, **keywords)
        return self._forward(input, hx, lengths, reset, checkpoint)

    @untraced
    def _forward(self, input: Any, hx: Any, lengths: Any, reset: Any, checkpoint: Any) -> tuple[Any, Any]:
        return self._run(input, hx, lengths, reset, checks.checkpoint(checkpoint), False)

    def _run(
        self, input: Any, hx: Any, lengths: Any, reset: Any, checkpoint: Any, graph: bool
    ) -> tuple[Any, Any]:
        """`forward`, as an operator where a graph is traced."""
        x, sizes, order, back = input if isinstance(input, PackedSequence) else (input, None, None, None)
        parts = self._state_parts(hx)
        lower, weights = autocast.entered(self._weights())
        precision = precision_under(lower, self._matmul_precision)
        as_operator = graph or in_transform()
        view = None if as_operator else self._shown(weights, precision)
        keywords = {"lengths": lengths, "reset": reset, "checkpoint": checkpoint}
        if self._left_to_torch(view, lower, x, parts, weights, keywords, graph, sizes):
            return super().forward(input, hx)
        refuse_gradient(precision, x, parts, weights)
        seed = None
        if self.training and self.dropout and self.num_layers > 1:
            refuse_dropout(precision)
            seed = x.new_empty((), dtype=torch.int64)
            seed = torch.ops.aten.random(seed) if graph else seed.random_()
        dtypes = self._dtypes_under(lower, x, parts, sizes is not None)
        if as_operator:
            if sizes is not None:
                raise packed_in_transform()
            operation = self._operation_of(precision, lengths, reset, checkpoint, seed, graph)
        else:
            view = view or self._new_view(weights, precision)
            operation = partial(run, self._call(view, sizes, lengths, reset, checkpoint, seed))
        y, *final = autocast.run_as(dtypes, operation, x, _in_order(parts, order), weights)
        if sizes is None:
            return y, self._state_of(final)
        return PackedSequence(y, sizes, order, back), self._state_of(_in_order(final, back))

    def _operation_of(
        self, precision: str, lengths: Any, reset: Any, checkpoint: Any, seed: Any, graph: bool
    ) -> Run:
        options = {"batch_first": self.batch_first, "dropout": self.dropout, "matmul_precision": precision}
        if checkpoint is not None:
            options["checkpoint"] = checkpoint
        return self._operation(self._kind.__name__, options, lengths, reset, seed, graph)

    def _call(
        self, view: View, sizes: torch.Tensor | None, lengths: Any, reset: Any, checkpoint: Any, seed: Any
    ) -> Call:
        """The call of a view, of packed sequences if they have batch sizes."""
        if view.layer.dropout != self.dropout or view.layer.batch_first != self.batch_first:
            view.layer.dropout, view.layer.batch_first = self.dropout, self.batch_first
        training = {} if checkpoint is None else {"checkpoint": checkpoint}
        if seed is not None:
            training["rng"] = int(seed)
        if sizes is None:
            return Call(view, {"lengths": lengths, "reset": reset}, training)
        if lengths is not None:
            raise ValueError("lengths: expected None, as packed sequences have theirs")
        places = sizes.numpy()[:, np.newaxis] > np.arange(int(sizes[0]))
        keywords = {"lengths": places.sum(axis=0), "reset": self._padded_reset(reset, places)}
        return Call(view, keywords, training, places, self.batch_first)

    def __getstate__(self) -> dict[str, Any]:
        """torch's, without what `compile` made of this module: a copy would run this one's weights."""
        state = super().__getstate__()
        state.pop("_compiled_call_impl", None)
        return state

    def _misfit(
        self,
        x: torch.Tensor,
        parts: Sequence[Any],
        dtypes: Sequence[torch.dtype],
        sizes: torch.Tensor | None,
    ) -> str | None:
        axes = x.dim()
        passes = self.num_layers * (2 if self.bidirectional else 1)
        if sizes is not None:
            leading: tuple[int, ...] = (passes, int(sizes[0]))
        elif axes == 3:
            leading = (passes, x.shape[0 if self.batch_first else 1])
        else:
            leading = (passes,)
        if axes not in ((2, 3) if sizes is None else (2,)):
            return f"input: expected 3 axes, or unbatched or packed 2, got {axes}"
        widths = (self.proj_size or self.hidden_size, self.hidden_size)
        return misfit_of(x, parts, dtypes, self.input_size, leading, widths)

    def _padded_reset(self, reset: Any, places: np.ndarray) -> np.ndarray | None:
        """The resets of packed sequences, laid out as padded ones."""
        if reset is None:
            return None
        if not isinstance(reset, PackedSequence) or len(reset.data) != places.sum():
            raise ValueError("reset: expected a PackedSequence packed as input is, got another form")
        padded = np.zeros(places.shape, reset.data.numpy().dtype)
        padded[places] = reset.data
        return padded.T if self.batch_first else padded

    def _weight_names(self) -> list[str]:
        return self._flat_weights_names

    def _reshape(self, layer: Recurrent) -> None:
        passes = self.num_layers * (2 if self.bidirectional else 1)
        names = [name for name, _ in layer.named_parameters()]
        count = len(names) // passes
        self._all_weights = [names[n * count : (n + 1) * count] for n in range(passes)]
        self._flat_weights_names = names
        super()._reshape(layer)
        self._init_flat_weights()


# What torch's own code reads in place of the nonlinearity.
MODES = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}


class RNN(RnnOptions, Layers, torch.nn.RNN):
    """`torch.nn.RNN` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        As those of `torch.nn.RNN`.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
        As that of `torch.nn.RNN`, which has only the first two.
    matmul_precision : {"float32", "bfloat16", "int8"}
        As that of `rnnfast.torch.LSTM`.

    Raises
    ------
    TypeError, ValueError
        torch's own, for a wrong argument; rnnfast's, for a wrong `matmul_precision`.

    References
    ----------
    The equation is in `rnnfast.RNN`.

    Examples
    --------
    >>> import torch, rnnfast.torch
    >>> rnn = rnnfast.torch.RNN(3, 5, batch_first=True)
    >>> y, h = rnn(torch.ones(2, 7, 3))
    >>> y.sum().backward()
    >>> y.shape, rnn.weight_hh_l0.grad.shape
    (torch.Size([2, 7, 5]), torch.Size([5, 5]))
    """

    _kind = rnnfast.RNN
    _keywords = (*Layers._keywords, "nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        matmul_precision: str = "float32",
    ) -> None:
        beyond = nonlinearity in self._nonlinearities
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            "tanh" if beyond else nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            matmul_precision=matmul_precision,
        )
        if beyond:
            self.nonlinearity = nonlinearity

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "nonlinearity" and value in MODES:
            self.mode = MODES[value]

    def extra_repr(self) -> str:
        """torch's, and a nonlinearity that torch's module lacks."""
        own = f", nonlinearity={self.nonlinearity!r}" if self.beyond_torch() else ""
        return super().extra_repr() + own


class LSTM(LstmOptions, Layers, torch.nn.LSTM):
    """`torch.nn.LSTM` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        As those of `torch.nn.LSTM`.
    forget_bias : float, optional
        The initial bias of the forget gate, in ``bias_ih``; that of ``bias_hh`` is then zero.
    peephole : bool
        Whether the gates also see the cell; adds ``weight_ci_l0``, ``weight_cf_l0``, ``weight_co_l0``, ….
    coupled_gates : bool
        The forget gate is one minus the input gate; weights have the blocks i, g, o, ``[3*hidden_size, ·]``.
    cell_clip : float, optional
        Bounds c, at every step, to -cell_clip .. cell_clip; where it clamps, no gradient passes. A bound
        below the smallest normal number of the dtype holds c at zero.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products, as in `rnnfast.LSTM`. In bfloat16 and int8 they are rounded; sums,
        parameters, states and gradients stay float32. All parameters must be float32 then. "int8" evaluates
        only: call it under ``torch.no_grad()``; dropout needs ``eval()``. It is a property too.

    Raises
    ------
    TypeError, ValueError
        torch's own, for a wrong argument; rnnfast's, for a wrong one of the last five.

    References
    ----------
    The equations and their sources are in `rnnfast.LSTM`.

    Examples
    --------
    >>> import torch, rnnfast.torch
    >>> lstm = rnnfast.torch.LSTM(3, 5, num_layers=2, forget_bias=1.0)
    >>> y, (h, c) = lstm(torch.ones(7, 2, 3), reset=torch.zeros(7, 2, dtype=torch.bool))
    >>> isinstance(lstm, torch.nn.LSTM), y.shape, c.shape
    (True, torch.Size([7, 2, 5]), torch.Size([2, 2, 5]))
    """

    _kind = rnnfast.LSTM
    _keywords = (*Layers._keywords, "proj_size", *options_beyond_torch(LstmOptions))

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
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
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device=device,
            dtype=dtype,
            forget_bias=forget_bias,
            peephole=peephole,
            coupled_gates=coupled_gates,
            cell_clip=cell_clip,
            matmul_precision=matmul_precision,
        )

    def _state_dtypes(
        self, lower: torch.dtype, x: torch.Tensor, parts: Sequence[torch.Tensor | None], packed: bool
    ) -> tuple[torch.dtype, ...]:
        h, c = super()._state_dtypes(lower, x, parts, packed)
        if self.proj_size:
            return lower, c  # h is a product
        return (h, c) if packed or not autocast.in_onednn(x) else (lower, lower)


class GRU(Layers, torch.nn.GRU):
    """`torch.nn.GRU` on rnnfast's kernels: a subclass with the same arguments, parameters and results.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        As those of `torch.nn.GRU`.
    reset_after : bool
        Whether the reset gate acts after the product with the hidden weights (torch's way) or before it.
    matmul_precision : {"float32", "bfloat16", "int8"}
        As that of `rnnfast.torch.LSTM`.

    Raises
    ------
    TypeError, ValueError
        torch's own, for a wrong argument; rnnfast's, for a wrong `matmul_precision`.

    References
    ----------
    The equations and their sources are in `rnnfast.GRU`.

    Examples
    --------
    >>> import torch, rnnfast.torch
    >>> gru = rnnfast.torch.GRU(3, 5, bidirectional=True)
    >>> gru.load_state_dict(torch.nn.GRU(3, 5, bidirectional=True).state_dict())
    <All keys matched successfully>
    >>> gru(torch.ones(7, 2, 3))[0].shape
    torch.Size([7, 2, 10])
    """

    _own: ClassVar[dict[str, Any]] = {"reset_after": True}
    _kind = rnnfast.GRU
    _keywords = (*Layers._keywords, "reset_after")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
        matmul_precision: str = "float32",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            reset_after=reset_after,
            matmul_precision=matmul_precision,
        )


def _in_order(parts: Sequence[Any], order: torch.Tensor | None) -> Sequence[Any]:
    """The parts of a state with their sequences in this order; None is the order they have."""
    if order is None:
        return parts
    return [None if part is None else part.index_select(1, order) for part in parts]
