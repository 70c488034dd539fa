"""All that is compiled: the time loops over the C kernels. It checks nothing: what calls it has."""

try:
    from rnnfast._core.loops import (
        _C_API,
        Arithmetic,
        Cell,
        Embedded,
        Sequences,
        Stepper,
        available_isas,
        backward,
        blank,
        compiled_isas,
        dropout_mask,
        evaluate,
        fma_chains,
        force_isa,
        force_split,
        forward,
        get_isa,
        get_num_threads,
        linear_backward,
        linear_forward,
        runs_so_far,
        set_num_threads,
        vmath,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "rnnfast is not compiled here: this is its source folder. Leave it for the installed package, or run "
        "`pip install -e .` in it"
    ) from error

__all__ = [
    "_C_API",
    "Arithmetic",
    "Cell",
    "Embedded",
    "Sequences",
    "Stepper",
    "available_isas",
    "backward",
    "blank",
    "compiled_isas",
    "dropout_mask",
    "evaluate",
    "fma_chains",
    "force_isa",
    "force_split",
    "forward",
    "get_isa",
    "get_num_threads",
    "linear_backward",
    "linear_forward",
    "runs_so_far",
    "set_num_threads",
    "vmath",
]
