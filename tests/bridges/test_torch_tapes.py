"""Tapes of compiled training: played where they are, made again where they are not, gone with the graph."""

from __future__ import annotations

import gc

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import KINDS, an_input, kernels_run, tensors_in, twins  # noqa: E402


@pytest.fixture(autouse=True)
def _forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(module):
    return torch.compile(module, backend="aot_eager", fullgraph=True)


def tapes():
    """How many tapes there are: a layer's has one of the kernels inside."""
    gc.collect()
    return sum(type(thing).__name__ == "Tape" for thing in gc.get_objects()) / 2


def gradients(module, loss, **how):
    found = torch.autograd.grad(loss, list(module.parameters()), **how)
    return [gradient.clone() for gradient in found]


@pytest.mark.parametrize("kind", KINDS)
def test_a_backward_pass_may_be_repeated_where_the_graph_stays(kind):
    _, module = twins(kind, 3, 4)
    x = an_input(kind)
    want = gradients(module, tensors_in(module(x))[0].square().sum())
    run = compiled(module)
    with kernels_run(3):
        loss = tensors_in(run(x))[0].square().sum()
        first = gradients(module, loss, retain_graph=True)
        second = gradients(module, loss)
    assert all(map(torch.equal, first, want))
    assert all(map(torch.equal, second, want))


def test_a_tape_ends_with_its_backward_pass_or_with_its_results():
    _, module = twins("LSTM", 3, 4)
    run, x = compiled(module), an_input("LSTM")
    tensors_in(run(x))[0].sum().backward()
    before = tapes()
    results = [run(x) for _ in range(5)]
    assert tapes() == before + 5
    tensors_in(results.pop())[0].sum().backward()
    assert tapes() == before + 4
    del results
    assert tapes() == before
    with torch.no_grad():
        kept = run(x)
    assert tapes() == before, kept


class Twice(torch.nn.Module):
    """One module over the same input twice: a graph may merge its calls."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0].sin() * self.inner(x)[0].cos()


def test_equal_calls_of_a_graph_have_their_gradients():
    _, inner = twins("GRU", 3, 4)
    model, x = Twice(inner), an_input("GRU")
    want = gradients(model, model(x).sum())
    got = gradients(model, compiled(model)(x).sum())
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("lost", ["key", "first", "x", "weights"])
def test_without_the_tape_the_forward_pass_runs_again(lost):
    _, module = twins("GRU", 3, 4)
    (node,) = [
        node
        for node in torch.export.export(module, (an_input("GRU"),)).graph.nodes
        if "rnnfast" in str(node.target)
    ]
    layer = node.args[-1]
    x, weights = an_input("GRU"), [weight.detach() for weight in module.parameters()]
    y, h, key = torch.ops.rnnfast.record(x, [], weights, None, None, None, layer)
    dy, dh = torch.randn_like(y), torch.randn_like(h)
    flags = [True] * 2, [True] * 5
    with kernels_run(1):
        want = torch.ops.rnnfast.play(key, y, [dy, dh], x, [], weights, None, None, None, layer, *flags)
    there = {"key": key, "first": y, "x": x, "weights": weights}
    there[lost] = [weight.clone() for weight in weights] if lost == "weights" else there[lost].clone()
    key, y, x, weights = there.values()
    with kernels_run(2):
        got = torch.ops.rnnfast.play(key, y, [dy, dh], x, [], weights, None, None, None, layer, *flags)
    assert all(map(torch.equal, got, want))


def test_weights_that_changed_before_the_backward_pass_are_an_error():
    _, module = twins("GRU", 3, 4)
    loss = compiled(module)(an_input("GRU"))[0].sum()
    with torch.no_grad():
        module.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
