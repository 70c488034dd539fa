"""PyTorch's recurrent modules on rnnfast's kernels.

    import rnnfast.torch

    lstm = rnnfast.torch.LSTM(8, 64)      # in place of torch.nn.LSTM
    rnnfast.torch.accelerate(model)       # or: swap the RNNs, LSTMs and GRUs of an existing model

This file gathers the public names, and lets rnnfast's jobs run on torch's threads (`threads`).

`memory` has an rnnfast layer read a module's weights in place, which `weights` checks, and `call` calls it
with tensors, which `tensors` reads. `autograd` makes its passes a node of torch's graph, with a tape.
`operators` are what compiled and exported graphs hold: their arguments are `inputs`, layers are the texts of
`naming`, and `tapes` are those of compiled graphs. `transforms` are what torch.func sees. `rules`,
`derivatives` (by `formulas`), `batching` and `vectorized` differentiate and batch them. `dynamo` lets
torch.compile see the modules. `autocast` and `precision` choose dtypes and how products are rounded,
`fallback` says what is left to torch, and `modules` and `cells` put them together.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError('rnnfast.torch needs the package torch: pip install "rnnfast[torch]"') from error

from rnnfast.torch.cells import GRUCell, LSTMCell, RNNCell
from rnnfast.torch.fallback import FallbackWarning
from rnnfast.torch.modules import GRU, LSTM, RNN
from rnnfast.torch.swap import Swapped, accelerate, restore
from rnnfast.torch.threads import share_threads

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "FallbackWarning",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Swapped",
    "accelerate",
    "restore",
]

share_threads()
del share_threads
