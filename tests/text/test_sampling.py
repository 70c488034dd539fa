"""Drawing symbols: each rule by hand, and beam search against all continuations there are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import rnnfast as rf
from rnnfast.text.sampling import Beam, beam_search, distribution, generate

P = np.array([0.1, 0.4, 0.2, 0.3])
LOGITS = np.log(P) + 5.0  # softmax does not see the 5


@pytest.fixture(params=["rnn", "gru", "lstm", "window"])
def model(request):
    """A small model of four symbols that is sure of something."""
    if request.param == "window":
        small = rf.baselines.window_model(4, 3, embedding=3, hidden=6, rng=0)
    else:
        cell = {"rnn": rf.RNN, "gru": rf.GRU, "lstm": rf.LSTM}[request.param]
        small = rf.Sequential(rf.Embedding(4, 3, rng=0), cell(3, 6, 2, rng=1), rf.Linear(6, 4, rng=2))
    small.parameters()[-2].data *= 12
    return small


def test_temperature():
    np.testing.assert_allclose(distribution(LOGITS), P)
    np.testing.assert_allclose(distribution(LOGITS, temperature=0.5), P**2 / (P**2).sum())
    assert distribution(LOGITS, temperature=0).tolist() == [0, 1, 0, 0]
    assert distribution([1.0, 3.0, 3.0], temperature=0).tolist() == [0, 1, 0]
    np.testing.assert_allclose(distribution(LOGITS.astype(np.float32), temperature=1e6), 0.25, atol=1e-5)


def test_top_k():
    np.testing.assert_allclose(distribution(LOGITS, top_k=2), [0, 4 / 7, 0, 3 / 7])
    np.testing.assert_allclose(distribution(LOGITS, top_k=9), P)
    np.testing.assert_allclose(distribution([2.0, 2.0, 1.0], top_k=1), [0.5, 0.5, 0])


def test_top_p():
    for top_p, kept in ((0.05, [1]), (0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.8, [1, 2, 3])):
        p = distribution(LOGITS, top_p=top_p)
        assert np.flatnonzero(p).tolist() == kept, top_p
        np.testing.assert_allclose(p[kept], P[kept] / P[kept].sum())
    np.testing.assert_allclose(distribution(LOGITS, top_p=1.0), P)
    # Equals are taken in their order: four of 1/8 make a half.
    assert np.flatnonzero(distribution(np.zeros(8), top_p=0.5)).tolist() == [0, 1, 2, 3]


def test_rules_together():
    # The temperature first: P**2 is 1, 16, 4, 9; then top-k leaves 16, 9, 4; then 25/29 are more than 0.8.
    p = distribution(LOGITS, temperature=0.5, top_k=3, top_p=0.8)
    np.testing.assert_allclose(p, [0, 16 / 25, 0, 9 / 25])
    np.testing.assert_allclose(distribution(LOGITS, exclude=[1]), [1 / 6, 0, 2 / 6, 3 / 6])
    np.testing.assert_allclose(distribution(LOGITS, top_k=1, exclude=[1, 3]), [0, 0, 1, 0])


def test_frequencies_are_the_distributions():
    constant = rf.Sequential(rf.Embedding(4, 2, rng=0), rf.Linear(2, 4, rng=1))
    constant.parameters()[1].data[:] = 0
    constant.parameters()[2].data[:] = LOGITS
    drawn = np.bincount(list(generate(constant, [0], 20_000, rng=0)), minlength=4) / 20_000
    np.testing.assert_allclose(drawn, P, atol=0.015)
    drawn = list(generate(constant, [0], 500, top_p=0.6, exclude=[1], rng=0))
    assert set(drawn) == {2, 3}  # 1/6, 2/6 and 3/6 are left


def test_each_symbol_is_drawn_given_all_before_it(model):
    drawn = list(generate(model, [2, 0], 12, temperature=0.7, rng=5))
    rng = np.random.default_rng(5)
    read = [2, 0]
    for symbol in drawn:
        y, _ = model(np.array(read)[:, np.newaxis])
        p = np.exp(y[-1, 0].astype(float) / 0.7)
        assert rng.choice(4, p=p / p.sum()) == symbol
        read.append(symbol)
    assert drawn == list(generate(model, [2, 0], 12, temperature=0.7, rng=5))
    assert drawn != list(generate(model, [2, 0], 12, temperature=0.7, rng=6))


def log_probability(model, prompt, symbols):
    y, _ = model(np.array([*prompt, *symbols[:-1]])[:, np.newaxis])
    y = y[len(prompt) - 1 :, 0].astype(float)
    return sum(y[t, symbol] - np.log(np.exp(y[t]).sum()) for t, symbol in enumerate(symbols))


@pytest.mark.parametrize("exclude", [(), (3,)])
def test_a_beam_as_wide_as_the_tree_finds_the_likeliest(model, exclude):
    symbols = [symbol for symbol in range(4) if symbol not in exclude]
    every = [list(tree) for tree in itertools.product(symbols, repeat=4)]
    expected = sorted(every, key=lambda tree: -log_probability(model, [1, 2], tree))
    found = beam_search(model, [1, 2], 4, len(symbols) ** 3, exclude=exclude)
    assert found[0].symbols == expected[0]
    assert len(found) == len(symbols) ** 3
    assert all(isinstance(beam, Beam) for beam in found)
    for beam in found:
        assert np.isclose(beam.log_probability, log_probability(model, [1, 2], beam.symbols), atol=1e-5)
    assert [beam.log_probability for beam in found] == sorted(
        (beam.log_probability for beam in found), reverse=True
    )
    wider = beam_search(model, [1, 2], 4, 300, exclude=exclude)
    assert sorted(beam.symbols for beam in wider) == sorted(every)  # all, and none twice


def test_a_narrow_beam_is_the_search_it_says(model):
    kept = [([], 0.0)]
    for _ in range(6):
        grown = [
            ([*symbols, symbol], log_probability(model, [0], [*symbols, symbol]))
            for symbols, _ in kept
            for symbol in range(4)
        ]
        kept = sorted(grown, key=lambda pair: -pair[1])[:3]
    found = beam_search(model, [0], 6, 3)
    assert [beam.symbols for beam in found] == [symbols for symbols, _ in kept]
    assert found == beam_search(model, [0], 6, 3)
    greedy = list(generate(model, [0], 6, temperature=0))
    assert beam_search(model, [0], 6, 1)[0].symbols == greedy


def test_nothing_to_draw(model):
    assert list(generate(model, [0], 0)) == []
    assert beam_search(model, [0], 0, 3) == [Beam([], 0.0)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": -1.0}, ValueError, r"temperature: expected a number from 0, got -1\.0"),
        ({"temperature": "x"}, TypeError, "temperature: expected a number"),
        ({"top_k": 0}, ValueError, "top_k: expected at least 1, got 0"),
        ({"top_p": 0.0}, ValueError, r"top_p: expected a number above 0, at most 1, got 0\.0"),
        ({"top_p": 1.5}, ValueError, "top_p: expected"),
    ],
)
def test_rules_out_of_range(model, options, error, message):
    with pytest.raises(error, match=message):
        distribution(LOGITS, **options)
    with pytest.raises(error, match=message):
        generate(model, [0], 3, **options)  # at once, not when it is first read


def test_other_mistakes(model):
    with pytest.raises(ValueError, match=r"logits: expected shape \[V\], got \(1, 4\)"):
        distribution(LOGITS[np.newaxis])
    with pytest.raises(ValueError, match=r"exclude: expected symbols in 0\.\.3, got 4"):
        distribution(LOGITS, exclude=[4])
    with pytest.raises(ValueError, match="exclude: expected at least one symbol to be left, got none"):
        distribution(LOGITS, exclude=range(4))
    with pytest.raises(TypeError, match=r"exclude: expected a sequence of symbols, got array\(3\)"):
        distribution(LOGITS, exclude=np.array(3))
    for call in (generate, lambda *arguments: beam_search(*arguments, 2)):
        with pytest.raises(ValueError, match=r"prompt: expected shape \[N\] with at least one symbol"):
            call(model, [], 3)
        with pytest.raises(TypeError, match="prompt: expected integers, got float64"):
            call(model, [0.5], 3)
        with pytest.raises(ValueError, match="length: expected at least 0, got -1"):
            call(model, [0], -1)
    with pytest.raises(ValueError, match="beams: expected at least 1, got 0"):
        beam_search(model, [0], 3, 0)


def test_scores_that_are_no_numbers_are_refused():
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^logits: expected numbers"):
            rf.sampling.distribution([0.0, wrong])
