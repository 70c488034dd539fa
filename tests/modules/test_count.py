"""`rf.count_parameters`: every trained number once."""

from __future__ import annotations

from typing import Any

import pytest

import rnnfast as rf


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (rf.RNN(3, 5), 5 * 3 + 5 * 5 + 2 * 5),
        (rf.GRU(3, 5, bias=False), 3 * (5 * 3 + 5 * 5)),
        (rf.LSTM(3, 5, num_layers=2, bidirectional=True), 2 * 4 * (5 * 3 + 25 + 10 + 5 * 10 + 25 + 10)),
        (rf.Sequential(rf.Embedding(7, 3), rf.Dropout(0.5), rf.Linear(3, 2)), 7 * 3 + 3 * 2 + 2),
        (rf.Tanh(), 0),
    ],
    ids=repr,
)
def test_it_counts_the_elements_of_all_parameters(model: Any, count: int) -> None:
    assert rf.count_parameters(model) == count


def test_shared_parameters_count_once() -> None:
    table, head = rf.Embedding(5, 3), rf.Linear(3, 5)
    head.weight = table.weight
    assert rf.count_parameters(rf.ModuleList([table, head])) == 5 * 3 + 5
    assert rf.count_parameters(rf.ModuleList([table, table])) == 5 * 3


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="model: expected a Module, got"):
        rf.count_parameters([rf.Linear(2, 2)])  # type: ignore[arg-type]
