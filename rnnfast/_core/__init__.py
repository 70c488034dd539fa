"""All that is compiled: the time loops over the C kernels. Only `functional`, `nn` and `training` call it."""

from rnnfast._core.loops import (
    Stepper,
    available_isas,
    backward,
    compiled_isas,
    dropout_mask,
    force_isa,
    force_split,
    forward,
    get_isa,
    get_num_threads,
    linear_backward,
    linear_forward,
    set_num_threads,
    vmath,
)

__all__ = [
    "Stepper",
    "available_isas",
    "backward",
    "compiled_isas",
    "dropout_mask",
    "force_isa",
    "force_split",
    "forward",
    "get_isa",
    "get_num_threads",
    "linear_backward",
    "linear_forward",
    "set_num_threads",
    "vmath",
]
