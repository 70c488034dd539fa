"""The operators of `rnnfast.torch` keep torch's rules for operators."""

from __future__ import annotations

from itertools import compress

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import kernels_run, operators_in, state_of  # noqa: E402

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402
from rnnfast.torch.naming import named, text_of  # noqa: E402

SIZES = {"input_size": 3, "hidden_size": 4, "matmul_precision": "float32"}

# kind, options, whether with lengths and resets, whether with a state
CASES = [
    ("RNN", {}, False, False),
    ("RNN", {"nonlinearity": "relu", "bias": False}, True, True),
    ("LSTM", {"batch_first": True, "dtype": torch.float32}, True, True),
    ("LSTM", {"proj_size": 2, "bidirectional": True, "num_layers": 2}, True, True),
    ("LSTM", {"peephole": True, "cell_clip": 0.1}, False, True),
    ("GRU", {"batch_first": True, "num_layers": 2, "bidirectional": True}, False, False),
    ("GRU", {"dropout": 0.5, "num_layers": 2}, True, False),
    ("RNNCell", {"dtype": torch.float32}, False, True),
    ("LSTMCell", {"bias": False}, True, True),
    ("GRUCell", {"reset_after": False}, True, False),
]


def arguments(kind, options, ragged, started):
    """The arguments of `rnnfast::forward` for a random call; all floats want gradients."""
    torch.manual_seed(0)
    module = getattr(rnnfast.torch, kind)(3, 4, **{"dtype": torch.float64, **options})
    weights, cell = list(module.parameters()), kind.endswith("Cell")
    lead = (2,) if cell else (2, 3) if module.batch_first else (3, 2)
    x = torch.randn(*lead, 3, dtype=weights[0].dtype)
    (node,) = operators_in(torch.export.export(module, (x,)))
    state = state_of(module, 2) if started else []
    lengths = torch.tensor([3, 1]) if ragged and not cell else None
    reset = torch.rand(x.shape[:-1]) < 0.4 if ragged else None
    seed = torch.tensor(7) if options.get("dropout") else None
    for tensor in (x, *state):
        tensor.requires_grad_()
    return x, state, weights, lengths, reset, seed, node.args[-1]


@pytest.mark.parametrize(("kind", "options", "ragged", "started"), CASES)
def test_opcheck(kind, options, ragged, started):
    given = arguments(kind, options, ragged, started)
    with kernels_run():
        torch.library.opcheck(torch.ops.rnnfast.forward.default, given)
    results = torch.ops.rnnfast.forward(*given)
    some = [True] * len(results)
    some[-1] = len(results) == 1  # the last part of the state has no gradient
    gradients = [torch.randn_like(result) for result in compress(results, some)]
    wanted = [True] * (1 + len(given[1]) + len(given[2]))
    wanted[-1] = False
    with torch.set_grad_enabled(kind == "GRUCell"):  # second derivatives of others are slow to trace
        torch.library.opcheck(torch.ops.rnnfast.backward.default, (gradients, *given, some, wanted))


@pytest.mark.parametrize(("kind", "options", "ragged", "started"), [CASES[1], CASES[-1]])
def test_opcheck_with_a_tape(kind, options, ragged, started):
    given = arguments(kind, options, ragged, started)
    torch.library.opcheck(torch.ops.rnnfast.record.default, given)
    with torch.no_grad():
        *results, key = torch.ops.rnnfast.record(*given)
        flags = [True] * len(results), [True] * (1 + len(given[1]) + len(given[2]))
        inputs = key, results[0], [torch.randn_like(result) for result in results], *given, *flags
        torch.library.opcheck(torch.ops.rnnfast.play.default, inputs)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("GRU", ""),
        ("GRU()", ""),
        ("Linear(input_size=3)", ""),
        ("GRU(input_size=3, matmul_precision=float32)", "hidden_size"),
        ("GRU(input_size=3, hidden_size=4, matmul_precision=half)", "matmul_precision: .* got 'half'"),
        (text_of("GRU", SIZES | {"checkpoint": 0}), "checkpoint: expected at least 1, got 0"),
        (text_of("GRU", SIZES | {"checkpoint": 2.5}), "checkpoint: .* got 2.5"),
    ],
)
def test_an_unknown_layer_is_refused(text, reason):
    with pytest.raises(ValueError, match=f"layer: expected such as .*{reason}"):
        torch.ops.rnnfast.forward(torch.ones(2, 3), [], [], None, None, None, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, weights: (x, weights[:2]), "GRU: expected 4 parameters, got 2"),
        (
            lambda x, weights: (x, [weights[0][:9], *weights[1:]]),
            "weight_ih: .* shape .12, 3., got .* .9, 3.",
        ),
        (lambda x, weights: (x, [weights[0], weights[1].double(), *weights[2:]]), "weight_hh: expected .*32"),
        (lambda x, weights: (x.double(), weights), "x: expected torch.float32, .* got torch.float64"),
        (lambda x, weights: (x.int(), [weight.int() for weight in weights]), "weight_ih: .* got torch.int32"),
    ],
)
def test_tensors_that_do_not_fit_the_layer_are_refused(change, message):
    x, weights = change(torch.ones(2, 3), [p.detach() for p in torch.nn.GRUCell(3, 4).parameters()])
    text = text_of("GRUCell", SIZES)
    with pytest.raises(ValueError, match=message):
        torch.ops.rnnfast.forward(x, [], weights, None, None, None, text)
    given = [torch.ones(2, 4)], x, [], weights, None, None, None, text, [True], [True] * 5
    with pytest.raises(ValueError, match=message):
        torch.ops.rnnfast.backward(*given)


def test_a_named_layer_takes_no_memory_for_weights():
    layer = named(text_of("LSTM", SIZES | {"num_layers": 2})).layer
    assert [p.shape for p in layer.parameters()] == [p.shape for p in rnnfast.LSTM(3, 4, 2).parameters()]
    assert not any(any(p.data.strides) for p in layer.parameters())


def test_a_text_keeps_every_bit_of_a_float():
    options = {"input_size": 3, "hidden_size": 4, "dropout": 0.1, "cell_clip": 1 / 3}
    others = {"num_layers": 2, "matmul_precision": "bfloat16", "checkpoint": 3}
    name = named(text_of("LSTM", options | others))
    assert (name.layer.dropout, name.layer.cell_clip, name.layer.num_layers) == (0.1, 1 / 3, 2)
    assert (name.step, name.precision, name.checkpoint) == (False, "bfloat16", 3)
