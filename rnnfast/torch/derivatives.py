"""Derivatives of gradients: those of `formulas`, computed only where somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import torch

from rnnfast.torch.call import Call
from rnnfast.torch.formulas import results_of

__all__ = ["Gradients", "differentiable", "present", "spread"]

Tensors = Sequence["torch.Tensor | None"]


class Gradients(NamedTuple):
    """The gradients of a call as a function of its sources: the inputs and gradients that are not None.

    Attributes
    ----------
    call : Call
    inputs : sequence of bool
        Which of x, the parts of the state and the weights are not None.
    parts : int
        How many parts the state has.
    wanted : sequence of bool
        Of which of these the gradients are.
    gradients : sequence of bool
        Which of the gradients of the results are not None; None is zero.
    """

    call: Call
    inputs: Sequence[bool]
    parts: int
    wanted: Sequence[bool]
    gradients: Sequence[bool]

    def at(self, *sources: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The wanted gradients."""
        rest = iter(sources)
        inputs, gradients = spread(rest, self.inputs), spread(rest, self.gradients)

        def results(*varied: torch.Tensor) -> tuple[torch.Tensor, ...]:
            new = iter(varied)
            x, *others = [
                next(new) if want else tensor for tensor, want in zip(inputs, self.wanted, strict=True)
            ]
            return results_of(self.call, x, others[: self.parts], others[self.parts :])

        values, pull = torch.func.vjp(results, *compress(inputs, self.wanted))
        return pull(_filled(gradients, values))

    def pulled(self, sources: Sequence[torch.Tensor], incoming: Tensors) -> list[torch.Tensor]:
        """The gradients of the sources, for those of the wanted gradients; None is zero.

        Raises
        ------
        RuntimeError
            If products are rounded, because the formulas do not round.
        """
        precision = self.call.view.precision
        if precision != "float32":
            raise RuntimeError(
                "rnnfast.torch: expected matmul_precision 'float32' for a derivative of a gradient, got "
                f"{precision!r}; set matmul_precision to 'float32', and take no autocast"
            )
        values, pull = torch.func.vjp(self.at, *sources)
        return list(pull(_filled(incoming, values)))


class _Differentiable(torch.autograd.Function):
    """Gradients that were computed, with derivatives of their own."""

    @staticmethod
    def forward(
        ctx: Any, gradients: Gradients, results: Sequence[torch.Tensor], *sources: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.gradients = gradients
        ctx.save_for_backward(*sources)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *incoming: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        return None, None, *ctx.gradients.pulled(ctx.saved_tensors, incoming)


def differentiable(
    results: Tensors, call: Call, inputs: Tensors, count: int, gradients: Tensors
) -> list[torch.Tensor | None]:
    """Gradients of a call, as functions of its inputs and of the gradients that came in.

    Parameters
    ----------
    results : sequence of torch.Tensor or None
        The gradients of `inputs`; None for those not wanted.
    call : Call
    inputs : sequence of torch.Tensor or None
        x, `count` parts of the state, and the weights.
    count : int
    gradients : sequence of torch.Tensor or None
        Those of the results of the call; None is zero.

    Returns
    -------
    list of torch.Tensor or None
        In the place of `results`.
    """
    made = Gradients(call, present(inputs), count, present(results), present(gradients))
    values = [result for result in results if result is not None]
    sources = [tensor for tensor in (*inputs, *gradients) if tensor is not None]
    return spread(_Differentiable.apply(made, values, *sources), made.wanted)


def present(tensors: Tensors) -> list[bool]:
    """Which of them are not None."""
    return [tensor is not None for tensor in tensors]


def spread(tensors: Iterable[torch.Tensor], where: Sequence[bool]) -> list[torch.Tensor | None]:
    """A tensor for each True, None for each False; an iterator keeps what follows."""
    rest = iter(tensors)
    return [next(rest) if here else None for here in where]


def _filled(tensors: Tensors, like: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Zeros in place of None."""
    return tuple(
        [
            torch.zeros_like(other) if tensor is None else tensor
            for tensor, other in zip(tensors, like, strict=True)
        ]
    )
