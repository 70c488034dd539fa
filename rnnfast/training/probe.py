"""How far gradients reach: what one real backward pass says of a model's recurrent layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import _core, checks
from rnnfast.functional import passes
from rnnfast.nn.composite import Composite
from rnnfast.nn.last import Last
from rnnfast.nn.module import Module
from rnnfast.nn.tape import Tape
from rnnfast.recurrent import Recurrent
from rnnfast.training.grad import Loss, apply_loss, as_loss, check_keywords, within_lengths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PassProbe", "Probe", "probe"]

NEAR = 0.05  # a gate this close to an end, as a share of its range, counts as saturated


@dataclass(frozen=True)
class PassProbe:
    """One layer in one direction.

    Attributes
    ----------
    name : str
        Its parameters' suffix after the module's place: ``"0.l0"``, ``"0.l0_reverse"``; ``"l0"`` for a layer
        that is the whole model.
    norms : ndarray [T]
        The norm of dL/dh_t over batch and units, at each t: of the loss in all later steps, and in its own.
    share : ndarray [T]
        How far the gradient of a loss at one step reaches: what share of its norm over all steps is found so
        many steps away from it, in the direction in which the pass goes back: the mean over `origins`. In a
        model with `Last` it is the loss of each sequence's end, and empty if a layer is bidirectional.
    spectral_radius : dict of str to float
        Of each gate's block of the recurrent weight (projected: of its product with ``weight_hr``): its
        largest eigenvalue in magnitude. Empty for a layer without a recurrent weight.
    orthogonality_defect : dict of str to float
        Of each block W: the norm of W^T W - 1, over that of 1; 0 for an orthogonal matrix.
    saturation : dict of str to float
        The share of each gate's activations within 5% of an end of its range. Empty for an LSTM or GRU with
        layer normalization, whose tape has products in place of gates.
    """

    name: str
    norms: np.ndarray
    share: np.ndarray
    spectral_radius: dict[str, float]
    orthogonality_defect: dict[str, float]
    saturation: dict[str, float]


@dataclass(frozen=True)
class Probe:
    """What :func:`rnnfast.probe` found.

    Attributes
    ----------
    loss : float
    grad_norm : float
        The norm of all parameters' gradients.
    passes : list of PassProbe
        Each layer and direction, in the order of the parameters.
    """

    loss: float
    grad_norm: float
    passes: list[PassProbe]

    def plot(self) -> Figure:
        """Draw the gradient's norm over time, its share by distance, and the gates' saturation.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError('plot needs matplotlib: pip install "rnnfast[cli]"') from error
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        over_time, by_distance, gates = figure.subplots(1, 3)
        tiny = np.finfo(float).tiny
        labels, heights = [], []
        for found in self.passes:
            over_time.semilogy(np.maximum(found.norms, tiny), label=found.name)
            by_distance.semilogy(np.maximum(found.share, tiny), label=found.name)
            labels += [f"{found.name} {gate}" for gate in found.saturation]
            heights += list(found.saturation.values())
        over_time.set(xlabel="t", ylabel="norm of dL/dh at t", title="gradient over time")
        by_distance.set(xlabel="steps away", ylabel="share", title="gradient of one step's loss")
        for axes in (over_time, by_distance):
            heights_there = np.concatenate([line.get_ydata() for line in axes.lines])
            axes.set_ylim(bottom=max(heights_there[heights_there > tiny].min(initial=1) / 3, 1e-30))
            axes.legend(fontsize="small")
        gates.barh(range(len(labels)), heights, color="0.5")
        gates.set(
            yticks=range(len(labels)), yticklabels=labels, xlim=(0, 1), title="share of gates at an end"
        )
        gates.invert_yaxis()
        return figure


def probe(
    model: Module,
    loss: Loss,
    x: Any,
    targets: Any,
    state: Any = None,
    *,
    origins: int = 8,
    **keywords: Any,
) -> Probe:
    """Run one forward and backward pass, and look at its gradients; `.grad` stays as it is.

    Parameters
    ----------
    model : Module
        A recurrent layer, or a `Sequential` with recurrent layers in it.
    loss : callable or str
        As for :func:`rnnfast.loss_and_grad`.
    x, targets : array_like
        One batch. x has at least one step.
    state : optional
        The model's initial state.
    origins : int
        From how many steps, evenly spread, the gradient of one step's loss is followed.
    **keywords
        ``mask``, and keywords of the model's forward: ``training``, ``lengths``, ``reset``, ``rng``.

    Returns
    -------
    Probe
        With a method `plot`.

    Raises
    ------
    TypeError, ValueError
        If the model has no recurrent layer, or an argument does not fit.

    Notes
    -----
    The gradient of one step's loss is followed by a backward pass of its own for each origin: a probe costs
    about as much as ``2 * origins`` training passes. Why gradients vanish and explode: Bengio, Simard and
    Frasconi 1994; Pascanu, Mikolov and Bengio 2013.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> x = np.random.default_rng(0).normal(size=(50, 4, 3))
    >>> rnn = rf.RNN(3, 8, nonlinearity="sigmoid", rng=0)
    >>> found = rf.probe(rnn, rf.losses.mse, x, np.zeros((50, 4, 8))).passes[0]
    >>> bool(found.share[0] > 0.5), bool(found.share[20] < 1e-6)
    (True, True)
    """
    if not isinstance(model, Module) or not any(isinstance(own, Recurrent) for own in model.modules()):
        raise TypeError(f"model: expected one with a recurrent layer, got {type(model).__name__}")
    loss = as_loss(loss)
    check_keywords(model, keywords, {"mask"})
    if keywords.pop("checkpoint", None):
        raise ValueError("checkpoint: expected None (a probe reads the gates of all steps)")
    mask = within_lengths(model, x, keywords.get("lengths"), keywords.pop("mask", None))
    calls = [(module, module.mask_calls) for module in model.modules()]
    try:
        y, _, tape = model.forward(x, state, **keywords)
    finally:
        for module, count in calls:  # the next pass draws the masks that it would have drawn
            module.mask_calls = count
    passes = list(_passes(model, tape, ""))
    if not passes:
        raise TypeError(
            "model: expected a recurrent layer, or a Sequential that holds one, "
            f"got {type(model).__name__} (the tape of a module of one's own is not looked into)"
        )
    if len(passes[0][2].y) == 0:
        raise ValueError("x: expected at least one step, got none")
    value, dy = apply_loss(loss, y, targets, mask)
    grads: dict[str, np.ndarray] = {}
    norms = [np.sqrt(squares.sum(axis=1)) for squares in _squares(model, tape, passes, dy, grads)]
    total = np.sqrt(sum(float((gradient.astype(float) ** 2).sum()) for gradient in grads.values()))
    shares = _shares(model, tape, passes, y, dy, checks.positive("origins", origins))
    found = [
        PassProbe(name, norm, share, *_weight_figures(layer, own), _saturation(layer, own))
        for (name, layer, own), norm, share in zip(passes, norms, shares, strict=True)
    ]
    return Probe(float(value), float(total), found)


Pass = tuple[str, Recurrent, _core.Tape]


def _passes(model: Module, tape: Tape, prefix: str) -> Iterator[Pass]:
    """The name, the layer and the tape of every pass that `tape` has."""
    if not isinstance(tape, Tape):  # a module of a user's own
        return
    saved = tape.saved_for(model)
    if isinstance(model, Composite):
        for (name, module), own in zip(model.members(), saved.tapes, strict=True):
            yield from _passes(module, own, f"{prefix}{name}.")
    elif isinstance(model, Recurrent):
        for suffix, own in zip(model.suffixes, saved.tapes, strict=True):
            yield prefix + suffix.removeprefix("_"), model, own


def _squares(
    model: Module, tape: Tape, passes: list[Pass], dy: np.ndarray, grads: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """For each pass the square of the norm of dL/dh at every t and row, [T, B]; the tape is kept."""
    every = []
    for _, _, own in passes:
        T, B, _ = own.y.shape
        own.dh_steps = np.zeros((T, B, own.cell.widths[0]), own.y.dtype)
        every.append(own.dh_steps)
    try:
        model.backward(tape, dy, retain=True, grads=grads)
        return [(dh.astype(float) ** 2).sum(axis=2) for dh in every]
    finally:
        for _, _, own in passes:
            own.dh_steps = None


def _shares(
    model: Module, tape: Tape, passes: list[Pass], y: np.ndarray, dy: np.ndarray, origins: int
) -> list[np.ndarray]:
    """For each pass the gradient's share by distance, [T]."""
    T = len(passes[0][2].y)
    modules = model.modules()
    if any(isinstance(module, Last) for module in modules):
        if any(getattr(module, "bidirectional", False) for module in modules):
            return [np.zeros(0) for _ in passes]  # both ends of the time have a part in each y
        lengths = _lengths(passes[0][2])
        return [_share(_from_ends(squares, lengths)) for squares in _squares(model, tape, passes, dy, {})]
    axis = int(y.ndim == 3 and any(getattr(module, "batch_first", False) for module in modules))
    sums = [np.zeros(T) for _ in passes]
    counts = [0] * len(passes)
    for time in np.unique(np.linspace(0, T - 1, 2 * origins).round().astype(int)):
        one = np.zeros_like(dy)
        np.moveaxis(one, axis, 0)[time] = np.moveaxis(dy, axis, 0)[time]
        for number, squares in enumerate(_squares(model, tape, passes, one, {})):
            reverse = passes[number][2].cell.reverse
            # Only from the half of the time from which it is further to the end of the pass.
            if (2 * time < T - 1) != reverse and T > 1:
                continue
            away = squares[time:] if reverse else squares[: time + 1][::-1]
            if away.any():
                sums[number][: len(away)] += _share(away.sum(axis=1))
                counts[number] += 1
    return [total / max(1, count) for total, count in zip(sums, counts, strict=True)]


def _from_ends(squares: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The sum over rows of [T, B] squares, counted back from each row's own last step: [T]."""
    away = np.zeros(len(squares))
    for b, length in enumerate(lengths):
        away[:length] += squares[:length, b][::-1]
    return away


def _share(squares: np.ndarray) -> np.ndarray:
    """Norms from their squares, over their sum."""
    norms = np.sqrt(squares)
    return norms / max(norms.sum(), np.finfo(float).tiny)


def _weight_figures(layer: Recurrent, own: _core.Tape) -> tuple[dict[str, float], dict[str, float]]:
    """Spectral radius and orthogonality defect of each gate's block of weight_hh; none without it."""
    radius: dict[str, float] = {}
    defect: dict[str, float] = {}
    weights, gates = own.cell.weights, layer.info.gates
    if "weight_hh" not in weights:
        return radius, defect
    for gate, block in zip(gates, np.split(weights["weight_hh"].astype(float), len(gates)), strict=True):
        if "weight_hr" in weights:
            block = block @ weights["weight_hr"].astype(float)
        if block.ndim == 1:  # IndRNN: its recurrent weight is a diagonal
            block = np.diag(block)
        if layer.num_heads > 1:
            block = _block_diagonal(block)
        H = len(block)
        finite = bool(np.isfinite(block).all())
        radius[gate] = float(np.abs(np.linalg.eigvals(block)).max()) if finite else float("nan")
        defect[gate] = float(np.linalg.norm(block.T @ block - np.eye(H)) / H**0.5)
    return radius, defect


def _block_diagonal(block: np.ndarray) -> np.ndarray:
    """A gate's rows of a weight with heads, [H, D], as the matrix [H, H] that multiplies h."""
    H, D = block.shape
    head = np.arange(H) // D
    own = head[:, np.newaxis] == head
    return np.where(own, np.tile(block, H // D), 0)


def _saturation(layer: Recurrent, own: _core.Tape) -> dict[str, float]:
    """The share of each gate's activations near an end of its range."""
    T, B, _ = own.y.shape
    H, S = own.cell.hidden_size, own.cell.slots
    there = np.arange(T)[:, np.newaxis] < np.sort(_lengths(own))[::-1]
    heads = layer.num_heads
    gates = own.gates[: T * B * S * H].reshape(T, B, heads, S, H // heads)[there]  # as a pass counts rows
    nonlinearity = getattr(layer, "nonlinearity", None)
    if nonlinearity is not None:  # of the cell's one gate, whose activation is h before zoneout
        ends = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}.get(nonlinearity)
        h = passes.own_columns(own.y, own.number, H)[np.arange(T)[:, np.newaxis] < _lengths(own)]
        return {} if ends is None else {"a": _near(gates[:, :, 0] if layer.zoneout else h, *ends)}
    if layer.info.layer_norm:  # the tape has products in place of gates
        return {}
    exponential = "if" if layer.cell == "slstm" else ""  # these have no ends
    centred = "z" if layer.cell == "slstm" else "gn"
    return {
        gate: _near(gates[:, :, slot], -1.0 if gate in centred else 0.0, 1.0)
        for slot, gate in enumerate(layer.info.slots)
        if gate not in exponential and gate != "h"  # the candidate h need not have a range
    }


def _lengths(own: _core.Tape) -> np.ndarray:
    """How many steps each sequence has, [B]."""
    T, B, _ = own.y.shape
    lengths = None if own.sequences is None else own.sequences.lengths
    return np.full(B, T) if lengths is None else lengths


def _near(values: np.ndarray, low: float, high: float) -> float:
    """The share of values within 5% of the range from either end."""
    margin = NEAR * (high - low)
    return float(((values < low + margin) | (values > high - margin)).mean()) if values.size else 0.0
