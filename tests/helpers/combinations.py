"""Random combinations of all that a layer can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from helpers.cases import MASKED, VARIANTS, Case, lengths_and_reset, make, with_masks
from hypothesis import strategies as st

LSTM_OPTIONS = {
    "peephole": [False, True],
    "coupled_gates": [False, True],
    "cell_clip": [None, 0.2, 0.7],
    "P": [None, 1, 4],
    "layer_norm": [False, True],
}
# Layer normalization needs the reset gate after the product.
GRU_OPTIONS = [{"reset_after": False}, {"reset_after": True}, {"reset_after": True, "layer_norm": True}]
ANY_OPTIONS = {
    "lstm": st.fixed_dictionaries({name: st.sampled_from(values) for name, values in LSTM_OPTIONS.items()}),
    "gru": st.sampled_from(GRU_OPTIONS),
    "rnn": st.fixed_dictionaries({"layer_norm": st.booleans()}),
    "slstm": st.fixed_dictionaries({"heads": st.booleans()}),
}


def any_case(
    data: Any,
    sizes: dict[str, tuple[int, int]],
    dtype: str = "float64",
    variants: Sequence[str] = tuple(VARIANTS),
) -> Case:
    """A case with any options, lengths, resets, biases, direction and masks.

    `sizes` has the least and the largest of T, B, I and H.
    """
    variant = data.draw(st.sampled_from(variants), "variant")
    cell = VARIANTS[variant][0]
    asked = dict(data.draw(ANY_OPTIONS.get(cell, st.just({})), "options"))
    if asked.get("layer_norm"):  # gradients of a product of one number are zero but for rounding
        asked |= {"P": 2} if asked.get("P") == 1 else {}
        sizes = {dim: (max(low, {"I": 2, "H": 3}.get(dim, 0)), high) for dim, (low, high) in sizes.items()}
    T, B, I, H = (data.draw(st.integers(low, high), dim) for dim, (low, high) in sizes.items())
    for kind, array in lengths_and_reset(T, B, seed=data.draw(st.integers(0, 99), "seed")).items():
        if data.draw(st.booleans(), kind):
            asked[kind] = array
    flags = {name: data.draw(st.booleans(), name) for name in ("bias", "reverse", "return_states")}
    case = make(variant, T, B, I, H, dtype=dtype, **flags, **asked)
    if cell in MASKED and data.draw(st.booleans(), "masked"):
        which = data.draw(st.sampled_from(["zoneout", "dropout", "both"]), "which")
        case = with_masks(case, which, data.draw(st.sampled_from([None, 0.3]), "p"))
    return case
