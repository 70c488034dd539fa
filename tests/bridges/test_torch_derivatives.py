"""Second derivatives through `rnnfast.torch`'s modules, and gradients of many results at once."""

from __future__ import annotations

import pytest
from helpers.arrays import as_state

torch = pytest.importorskip("torch")

from bridges.torch_models import KINDS, kernels_run, state_of, tensors_in, twins  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import rnnfast.torch  # noqa: E402


def sources_of(module, kind, T=3):
    """x and the parts of a state for 3 inputs; all want gradients."""
    lead = (2,) if kind.endswith("Cell") else (2, T) if module.batch_first else (T, 2)
    x = torch.randn(*lead, 3, dtype=torch.float64)
    return [tensor.requires_grad_() for tensor in (x, *state_of(module, 2))]


def as_function(module, **keywords):
    """The module as a function of x, the parts of the state and the parameters."""
    names = [name for name, _ in module.named_parameters()]

    def call(x, *further):
        parts, weights = further[: -len(names)], further[-len(names) :]
        given = dict(zip(names, weights, strict=True))
        return tuple(tensors_in(torch.func.functional_call(module, given, (x, as_state(parts)), keywords)))

    return call


OPTIONS = [
    ("RNN", {"nonlinearity": "tanh", "num_layers": 2, "bidirectional": True}, {}),
    ("RNN", {"nonlinearity": "sigmoid", "batch_first": True}, {"lengths": torch.tensor([3, 1])}),
    ("RNNCell", {"nonlinearity": "identity"}, {"reset": torch.tensor([False, True])}),
    ("LSTM", {"proj_size": 1, "bias": False}, {"reset": torch.tensor([[0, 0], [1, 0], [0, 1]]).bool()}),
    ("LSTM", {"peephole": True, "cell_clip": 0.2}, {}),
    ("LSTM", {"peephole": True, "coupled_gates": True, "batch_first": True}, {"checkpoint": 1}),
    ("LSTMCell", {}, {}),
    ("GRU", {"num_layers": 2, "dropout": 0.5}, {}),
    ("GRU", {"bidirectional": True}, {"lengths": torch.tensor([2, 3]), "reset": torch.ones(3, 2).bool()}),
    ("GRU", {"reset_after": False}, {}),
    ("GRUCell", {"reset_after": False, "bias": False}, {}),
]


@pytest.mark.parametrize(("kind", "options", "keywords"), OPTIONS)
def test_gradgradcheck(kind, options, keywords):
    torch.manual_seed(0)
    module = getattr(rnnfast.torch, kind)(3, 2, dtype=torch.float64, **options)
    call = as_function(module, **keywords)

    def seeded(*sources):
        torch.manual_seed(7)
        return call(*sources)

    sources = [*sources_of(module, kind), *module.parameters()]
    with kernels_run():
        assert torch.autograd.gradcheck(seeded, sources, fast_mode=True)
    assert torch.autograd.gradgradcheck(seeded, sources, fast_mode=True)


def test_gradgradcheck_of_packed_sequences():
    module = rnnfast.torch.GRU(3, 2, bidirectional=True, dtype=torch.float64)
    x = [torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (1, 3)]

    def call(*x):
        return tuple(tensors_in(module(pack_sequence(x, enforce_sorted=False))))

    assert torch.autograd.gradgradcheck(call, x)


def penalty(module, sources):
    """A loss with a gradient penalty, and its gradients."""
    x, *parts = sources
    y = tensors_in(module(x, as_state(parts)))[0]
    (dx,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    return torch.autograd.grad(dx.square().sum() + y.sum(), [*sources, *module.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_penalty_is_torchs(kind):
    plain, fast = twins(kind, 3, 5)
    sources = sources_of(fast, kind)
    want = penalty(plain, sources)
    with kernels_run(3):  # forward, and a backward pass for each of the two gradients
        got = penalty(fast, sources)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("kind", ["GRU", "LSTMCell"])
def test_third_derivatives_are_torchs(kind):
    results = []
    plain, fast = twins(kind, 3, 2)
    (x, *parts) = sources_of(fast, kind)
    for module in (plain, fast):
        found = tensors_in(module(x, as_state(parts)))[0].sin().sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(found, x, create_graph=True)
            found = gradient.square().sum()
        results.append(gradient)
    assert torch.allclose(*results, rtol=0, atol=1e-12)


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_hessian_and_jacobian_are_torchs(kind, vectorize):
    plain, fast = twins(kind, 3, 2)
    x, *parts = sources_of(fast, kind, T=2)

    def result(module, x):
        return tensors_in(module(x, as_state(parts)))[0].sin()

    with kernels_run():
        jacobian = torch.autograd.functional.jacobian(lambda x: result(fast, x), x, vectorize=vectorize)
        hessian = torch.autograd.functional.hessian(lambda x: result(fast, x).sum(), x, vectorize=vectorize)
    want = torch.autograd.functional.jacobian(lambda x: result(plain, x), x)
    assert torch.allclose(jacobian, want, rtol=0, atol=1e-12)
    want = torch.autograd.functional.hessian(lambda x: result(plain, x).sum(), x)
    assert torch.allclose(hessian, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["GRU", "LSTMCell"])
def test_a_batch_of_gradients(kind):
    _, module = twins(kind, 3, 5)
    x, *parts = sources_of(module, kind)
    y = tensors_in(module(x, as_state(parts)))[0]
    batch = torch.randn(3, *y.shape, dtype=y.dtype)
    weight = next(module.parameters())

    def grads(dy, **how):
        return torch.autograd.grad(y, (x, weight), dy, retain_graph=True, **how)

    want = [torch.stack(each) for each in zip(*map(grads, batch), strict=True)]
    for got in (grads(batch, is_grads_batched=True), torch.func.vmap(grads)(batch)):
        assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(got, want, strict=True))


def test_a_batch_of_gradients_of_packed_sequences_is_a_clear_error():
    x = torch.randn(3, 3, requires_grad=True)
    y = rnnfast.torch.GRU(3, 4)(pack_sequence([x]))[0].data
    with pytest.raises(RuntimeError, match="padded sequences with lengths="):
        torch.autograd.grad(y, x, torch.ones(2, *y.shape), is_grads_batched=True)


def test_a_second_derivative_of_rounded_products_is_a_clear_error():
    gru = rnnfast.torch.GRU(3, 4, matmul_precision="bfloat16")
    x = torch.randn(2, 2, 3, requires_grad=True)
    (dx,) = torch.autograd.grad(gru(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="set matmul_precision to 'float32', and take no autocast"):
        dx.sum().backward()


def test_create_graph_alone_computes_no_second_derivative(monkeypatch):
    monkeypatch.setattr("rnnfast.torch.derivatives.results_of", None)
    gru = rnnfast.torch.GRU(3, 4)
    x = torch.randn(2, 2, 3, requires_grad=True)
    with kernels_run(2):
        torch.autograd.grad(gru(x)[0].sum(), x, create_graph=True)
