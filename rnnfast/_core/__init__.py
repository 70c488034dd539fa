"""All that is compiled: the time loops over the C kernels. Callers have checked the arguments."""

try:
    from rnnfast._core.loops import (
        _C_API,
        NONLINEARITIES,
        PRECISIONS,
        TRAINABLE,
        Arithmetic,
        Cell,
        Embedded,
        Sequences,
        Stepper,
        Tape,
        add_arrays,
        available_isas,
        backward,
        blank,
        compiled_isas,
        dropout_mask,
        first_unfit,
        fma_chains,
        force_isa,
        force_split,
        forward,
        get_isa,
        get_num_threads,
        linear_backward,
        linear_forward,
        product_instructions,
        run_stack,
        runs_so_far,
        set_num_threads,
        vmath,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "rnnfast is not compiled here: this is its source folder. Leave it for the installed package, or run "
        "`pip install -e .` in it"
    ) from error

from rnnfast._core.cells import CellInfo, cell_info, layer_names

__all__ = [
    "NONLINEARITIES",
    "PRECISIONS",
    "TRAINABLE",
    "_C_API",
    "Arithmetic",
    "Cell",
    "CellInfo",
    "Embedded",
    "Sequences",
    "Stepper",
    "Tape",
    "add_arrays",
    "available_isas",
    "backward",
    "blank",
    "cell_info",
    "compiled_isas",
    "dropout_mask",
    "first_unfit",
    "fma_chains",
    "force_isa",
    "force_split",
    "forward",
    "get_isa",
    "get_num_threads",
    "layer_names",
    "linear_backward",
    "linear_forward",
    "product_instructions",
    "run_stack",
    "runs_so_far",
    "set_num_threads",
    "vmath",
]
