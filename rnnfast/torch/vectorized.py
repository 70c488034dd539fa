"""What torch.autograd batches by its own means: `is_grads_batched`, jacobian's and hessian's `vectorize`.

They use the predecessor of torch.func.vmap, which has no rules for operators. So the rule is applied here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from rnnfast.torch import batching

__all__ = ["batched_backward", "is_batched"]

# Whether a tensor is several in these functions' eyes.
is_batched = torch._C._functorch.is_legacy_batchedtensor


def batched_backward(
    backward: Callable[..., Sequence[torch.Tensor]],
    gradients: Sequence[torch.Tensor],
    *arguments: Any,
) -> list[torch.Tensor]:
    """The results of a backward operator; some of the gradients are batched, and nothing else is."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    dims = [0 if is_batched(gradient) else None for gradient in gradients]
    plain = [
        gradient if dim is None else torch._remove_batch_dim(gradient, level, 0, 0)
        for gradient, dim in zip(gradients, dims, strict=True)
    ]
    count = max(len(gradient) for gradient, dim in zip(plain, dims, strict=True) if dim == 0)
    axes = (dims, *[None] * len(arguments))
    found, places = batching.backward(backward, SimpleNamespace(batch_size=count), axes, plain, *arguments)
    return [torch._add_batch_dim(tensor, place, level) for tensor, place in zip(found, places, strict=True)]
