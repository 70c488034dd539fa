"""Random layers for the tests of the reference and the kernels, and one way to run either on them.

Names, shapes and layouts that several of those tests share are here too.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers.arrays import as_state, named_parts

import rnnfast as rf
from rnnfast import _core, reference
from rnnfast.functional import passes

VARIANTS = {
    "rnn-tanh": ("rnn", {"nonlinearity": "tanh"}),
    "rnn-relu": ("rnn", {"nonlinearity": "relu"}),
    "rnn-sigmoid": ("rnn", {"nonlinearity": "sigmoid"}),
    "rnn-identity": ("rnn", {"nonlinearity": "identity"}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
    "indrnn": ("indrnn", {"nonlinearity": "relu"}),
    "slstm": ("slstm", {}),
    "mingru": ("mingru", {"candidate": "identity"}),
    "minlstm": ("minlstm", {"candidate": "identity"}),
}
LAYERS = {  # the class of each layer of the table of cells
    layer: next(getattr(rf, name) for name in rf.__all__ if name.lower() == layer)
    for layer in _core.layer_names()
}
all_variants = pytest.mark.parametrize("variant", VARIANTS)
OPTIONS = {  # a variant, and what more `make` is asked for
    **{variant: (variant, {}) for variant in VARIANTS},
    "lstm-peephole": ("lstm", {"peephole": True}),
    "lstm-coupled": ("lstm", {"coupled_gates": True}),
    "lstm-clip": ("lstm", {"cell_clip": 0.4}),
    "lstm-projection": ("lstm", {"P": 2}),
    "lstm-wide-projection": ("lstm", {"P": 37}),
    "lstm-all": ("lstm", {"peephole": True, "coupled_gates": True, "cell_clip": 0.4, "P": 2}),
    "gru-reset-before": ("gru", {"reset_after": False}),
    "mingru-positive": ("mingru", {"candidate": "positive"}),
    "mingru-tanh": ("mingru", {"candidate": "tanh"}),
    "minlstm-positive": ("minlstm", {"candidate": "positive"}),
    "minlstm-tanh": ("minlstm", {"candidate": "tanh"}),
    "rnn-norm": ("rnn-tanh", {"layer_norm": True}),
    "rnn-sigmoid-norm": ("rnn-sigmoid", {"layer_norm": True}),
    "lstm-norm": ("lstm", {"layer_norm": True}),
    "lstm-all-norm": (
        "lstm",
        {"peephole": True, "coupled_gates": True, "cell_clip": 0.4, "P": 2, "layer_norm": True},
    ),
    "gru-norm": ("gru", {"layer_norm": True}),
    "slstm-heads": ("slstm", {"heads": True}),
}
# About the weights of layer normalization. With larger ones, errors grow from step to step in long sequences.
GAINS = {"ln_ih_weight": 0.7, "ln_hh_weight": 0.2, "ln_c_weight": 0.3}
MASKED = ("rnn", "lstm", "gru", "indrnn")  # cells with zoneout or recurrent dropout
masked_options = pytest.mark.parametrize(
    "name", [name for name, (variant, _) in OPTIONS.items() if VARIANTS[variant][0] in MASKED]
)
all_options = pytest.mark.parametrize("name", OPTIONS)
SHAPES = [  # T, B, I, H
    (0, 5, 3, 17),
    (1, 1, 1, 1),
    (1, 13, 33, 3),
    (3, 0, 5, 7),
    (7, 5, 9, 17),
    (5, 7, 1, 33),
    (3, 13, 17, 33),
    (2, 5, 40, 100),
    (3, 1, 7, 100),
    (200, 5, 3, 17),
    (150, 1, 8, 40),
    (3, 49, 5, 40),  # more rows than a panel, by 1 and by 2
    (2, 50, 3, 17),
    (2, 97, 3, 33),
    (2, 2, 3, 530),  # a chain longer than a panel
]


class Case(NamedTuple):
    """The arguments of one forward and one backward call."""

    cell: str
    options: dict[str, Any]  # keywords of the forward function beside the weights
    x: np.ndarray  # [T, B, I]
    weights: dict[str, np.ndarray]
    state: tuple[np.ndarray, ...]  # h and further parts, each [B, H], a projected h [B, P]
    dy: np.ndarray | None  # [T, B, H]
    dstate: tuple[np.ndarray | None, ...]  # as state
    dstates: tuple[np.ndarray | None, ...] | None = None  # as state, each [T, B, ·]; None: not handed over

    @property
    def K(self) -> int:
        """The number of products in each pre-activation."""
        return sum(
            self.weights[name].shape[-1] for name in ("weight_ih", "weight_hh") if name in self.weights
        )

    def astype(self, dtype: Any) -> Case:
        """The same numbers in another dtype."""

        def cast(parts: tuple) -> tuple:
            return tuple(None if array is None else array.astype(dtype) for array in parts)

        return self._replace(
            x=self.x.astype(dtype),
            weights={name: array.astype(dtype) for name, array in self.weights.items()},
            state=cast(self.state),
            dy=None if self.dy is None else self.dy.astype(dtype),
            dstate=cast(self.dstate),
            dstates=None if self.dstates is None else cast(self.dstates),
        )


def make(
    name: str,
    T: int,
    B: int,
    I: int,
    H: int,
    *,
    dtype: Any = np.float64,
    bias: bool = True,
    reverse: bool = False,
    return_states: bool = False,
    **asked: Any,
) -> Case:
    """A layer at torch's default weight scale, with nonzero distinct states and gradients on every result.

    `name` is one of OPTIONS. An LSTM may be asked for peepholes and a projection to P, a layer for layer
    normalization, an SLSTM for heads, as few above one as H allows. What else is asked goes to the forward
    function.
    """
    variant, more = OPTIONS[name]
    asked = {**more, **asked}
    peephole, P, norm = asked.pop("peephole", False), asked.pop("P", None), asked.pop("layer_norm", False)
    heads = next((n for n in range(2, H + 1) if H % n == 0), 1) if asked.pop("heads", False) else 1
    cell, options = VARIANTS[variant]
    options = {**options, "reverse": reverse, **asked}
    info = _core.cell_info(cell, layer_norm=norm, **options)
    rng = np.random.default_rng([len(info.gates), T, B, I, H])
    bound = H**-0.5
    wanted = {name: bias for name in info.optional} | dict.fromkeys(info.vectors, peephole) | {"weight_hr": P}
    names = [*info.required, *(name for name in info.optional if wanted[name])]
    shapes = {name: info.weight_shape(name, I, H, P or H, heads) for name in names}
    widths = info.widths(H, P or H)
    case = Case(
        cell,
        options,
        x=rng.normal(size=(T, B, I)),
        weights={
            name: rng.uniform(-bound, bound, shape) + GAINS.get(name, 0.0) for name, shape in shapes.items()
        },
        state=tuple(starting(n, rng.normal(size=(B, width))) for n, width in enumerate(widths)),
        dy=rng.normal(size=(T, B, widths[0])),
        dstate=tuple(rng.normal(size=(B, width)) for width in widths),
    )
    if return_states:
        options["return_states"] = True
        case = case._replace(dstates=tuple(rng.normal(size=(T, B, width)) for width in widths))
    return case.astype(dtype)


def starting(part: int, array: np.ndarray) -> np.ndarray:
    """These numbers as an initial part of a state: the SLSTM's n, part 2, is positive."""
    return np.abs(array) + 0.5 if part == 2 else array


def lengths_and_reset(T: int, B: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Lengths [B], T and 0 among them where B allows, and resets [T, B] in a third of the places."""
    rng = np.random.default_rng([seed, T, B])
    lengths = rng.permutation(np.append([T, 0], rng.integers(0, T + 1, B))[:B])
    return {"lengths": lengths, "reset": rng.random((T, B)) < 1 / 3}


def make_ragged(
    name: str, T: int, B: int, I: int, H: int, *, which: str = "both", seed: int = 0, **asked: Any
) -> Case:
    """As `make`, with lengths, with resets or with both; it gives the states of every step."""
    given = lengths_and_reset(T, B, seed)
    given = {key: value for key, value in given.items() if which in (key, "both")}
    return make(name, T, B, I, H, return_states=True, **given, **asked)


def with_masks(case: Case, which: str = "both", p: float | None = None) -> Case:
    """The case with zoneout, with recurrent dropout or with both; p: one number for zoneout, without masks.

    An IndRNN has zoneout alone.
    """
    T, B, _ = case.x.shape
    widths = [part.shape[1] for part in case.state]
    rng = np.random.default_rng([T, B, *widths])
    zones = [(rng.random((T, B, width)) < 0.4).astype(case.x.dtype) for width in widths]
    options = dict(case.options)
    if which != "dropout":
        options["zoneout"] = as_state(tuple(zones if p is None else [p] * len(widths)))
    if which != "zoneout" and case.cell != "indrnn":
        options["recurrent_mask"] = (rng.random((B, widths[0])) < 0.7).astype(case.x.dtype) / 0.7
    return case._replace(options=options)


def forward(module: ModuleType, case: Case) -> tuple[dict[str, np.ndarray], Any]:
    """The outputs of `<cell>_forward` by name (y, the parts of the state, and states_*), and its tape."""
    function = getattr(module, f"{case.cell}_forward")
    y, final, tape, *states = function(case.x, **case.weights, state=as_state(case.state), **case.options)
    outputs = {"y": y, **named_parts("", final)}
    for every in states:
        outputs |= named_parts("states_", every)
    return outputs, tape


def largest_scale(case: Case) -> float:
    """The largest factor by which layer normalization multiplies a number of this case; 0 without it."""
    if "ln_ih_weight" not in case.weights:
        return 0.0
    _, tape = forward(reference, case.astype(np.float64))
    scales = [scale for steps in tape.normal.values() for step in steps if step for scale in step[1].ravel()]
    return max(scales, default=1.0)


def backward(module: ModuleType, case: Case, tape: Any) -> dict[str, np.ndarray]:
    """The gradients of `<cell>_backward` by name: dx, dh (dc), and the weights' under their own names."""
    given = {"dstate": case.dstate} | ({} if case.dstates is None else {"dstates": case.dstates})
    given = {name: as_state(parts) for name, parts in given.items()}
    dx, dstate, grads = getattr(module, f"{case.cell}_backward")(tape, case.dy, **given)
    return {"dx": dx, **named_parts("d", dstate), **grads}


def run(module: ModuleType, case: Case) -> dict[str, np.ndarray]:
    """All outputs and all gradients."""
    outputs, tape = forward(module, case)
    return outputs | backward(module, case, tape)


def cell_of(case: Case) -> _core.Cell:
    """What `passes` runs."""
    return _core.Cell(case.cell, case.weights, **case.options)


def evaluate(case: Case) -> dict[str, np.ndarray]:
    """`_core.run_stack` of a stack of one pass, as `forward` gives its outputs."""
    y, final = _core.run_stack([cell_of(case)], 1, None, case.x, case.state, False)
    return {"y": y, **named_parts("", tuple(part[0] for part in final))}


def pass_forward(case: Case, *, spare: list | None = None) -> tuple[dict[str, np.ndarray], Any]:
    """`passes.pass_forward` on arrays of its own, as `forward` gives it."""
    T, B, _ = case.x.shape
    H = case.state[0].shape[1]
    y = np.full((T, B, H), np.nan, case.x.dtype)
    final = tuple(np.full_like(part, np.nan) for part in case.state)
    tape = passes.pass_forward(cell_of(case), 0, case.x, case.state, y, final, spare=spare)
    return {"y": y, **named_parts("", final)}, tape


def pass_backward(case: Case, tape: Any, *, retain: bool = False) -> dict[str, np.ndarray]:
    """`passes.pass_backward` into arrays of its own, as `backward` gives it."""
    dx = np.full_like(case.x, np.nan)
    dinitial = tuple(np.full_like(part, np.nan) for part in case.state)
    grads = passes.pass_backward(tape, case.dy, case.dstate, dx, dinitial, retain=retain)
    return {"dx": dx, **named_parts("d", dinitial), **grads}


def replaced(parts: tuple, index: int, part: np.ndarray | None) -> tuple:
    """The parts of a state with another one at this index."""
    return (*parts[:index], part, *parts[index + 1 :])


def views(array: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers laid out in other ways."""
    spaced = np.repeat(array, 2, axis=-1)[..., ::2]
    backwards = np.ascontiguousarray(array[::-1])[::-1]
    fixed = array.copy()
    fixed.flags.writeable = False
    return {"fortran": np.asfortranarray(array), "spaced": spaced, "backwards": backwards, "read-only": fixed}
