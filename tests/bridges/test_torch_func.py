"""`rnnfast.torch`'s modules under torch.func's transforms: the kernels run, and give torch's results."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import KINDS, LAYERS, kernels_run, tensors_in, twins  # noqa: E402
from torch.func import functional_call, grad, vmap  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import rnnfast.torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("error::rnnfast.torch.FallbackWarning")


def batch_axis(module):
    """The axis of x that holds the batch."""
    return 0 if getattr(module, "batch_first", True) else 1


def first(result):
    return tensors_in(result)[0]


def an_x(kind, *lead):
    return torch.randn(*lead, *(() if kind.endswith("Cell") else (4,)), 2, 3, dtype=torch.float64)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_the_batch_has_the_bits_of_a_batch(kind, batch_first):
    if batch_first and kind not in LAYERS:
        pytest.skip("a cell has no time")
    options = {"batch_first": True, "bidirectional": True, "num_layers": 2} if batch_first else {}
    _, module = twins(kind, 3, 5, **options)
    x, axis = an_x(kind), batch_axis(module)
    passes = 4 if batch_first else 1
    with torch.no_grad(), kernels_run(passes):
        got = vmap(lambda x: first(module(x)), in_dims=axis, out_dims=axis)(x)
    assert torch.equal(got, first(module(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_batches_lengths_and_resets(kind):
    _, module = twins(kind, 3, 5)
    x = an_x(kind, 3)
    keywords = {"reset": torch.rand(x.shape[:-1]) < 0.3}
    if kind in LAYERS:
        keywords["lengths"] = torch.tensor([[4, 2], [0, 3], [1, 1]])
    with torch.no_grad(), kernels_run(1):
        got = vmap(lambda x, keywords: tuple(tensors_in(module(x, **keywords))))(x, keywords)
    for n in range(3):
        want = tensors_in(module(x[n], **{name: each[n] for name, each in keywords.items()}))
        assert all(torch.equal(part[n], other) for part, other in zip(got, want, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_models(kind):
    _, module = twins(kind, 3, 5)
    others = [twins(kind, 3, 5)[1] for _ in range(3)]
    weights, _ = torch.func.stack_module_state(others)
    x = an_x(kind)
    with torch.no_grad(), kernels_run(3):
        got = vmap(lambda weights, x: first(functional_call(module, weights, (x,))), in_dims=(0, None))(
            weights, x
        )
    assert all(torch.equal(part, first(other(x))) for part, other in zip(got, others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_each_sample_are_those_of_it_alone(kind):
    plain, fast = twins(kind, 3, 5)
    axis, x = batch_axis(fast), an_x(kind)

    def loss_of(module):
        return lambda weights, x: first(functional_call(module, weights, (x,))).sin().sum()

    weights = {name: weight.detach() for name, weight in fast.named_parameters()}
    with kernels_run():
        got = vmap(grad(loss_of(fast)), in_dims=(None, axis))(weights, x)
    for n in range(2):
        want = grad(loss_of(plain))(weights, x.select(axis, n))
        for name, each in want.items():
            assert torch.allclose(got[name][n], each, rtol=0, atol=1e-12), name


@pytest.mark.parametrize("kind", KINDS)
def test_transforms_of_gradients_are_torchs(kind):
    plain, fast = twins(kind, 3, 2)
    x, shifts = an_x(kind)[:2], torch.arange(2.0, dtype=torch.float64)

    def loss(module, x):
        return first(module(x)).sin().sum()

    def close(got, want):
        return torch.allclose(got, want, rtol=0, atol=1e-12)

    with kernels_run():
        gradient = grad(lambda x: loss(fast, x))(x)
        jacobian = torch.func.jacrev(lambda x: first(fast(x)))(x)
        hessian = torch.func.jacrev(grad(lambda x: loss(fast, x)))(x)
        shifted = grad(lambda x: vmap(lambda shift: loss(fast, x + shift))(shifts).sum())(x)
    assert close(gradient, grad(lambda x: loss(plain, x))(x))
    assert close(jacobian, torch.autograd.functional.jacobian(lambda x: first(plain(x)), x))
    assert close(hessian, torch.autograd.functional.hessian(lambda x: loss(plain, x), x))
    assert close(shifted, grad(lambda x: loss(plain, x) + loss(plain, x + 1))(x))


def test_dropout_under_vmap_follows_its_randomness():
    _, module = twins("GRU", 3, 5, num_layers=2, dropout=0.5)
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64).expand(3, -1, -1, -1)

    def outputs(randomness):
        torch.manual_seed(0)
        return vmap(lambda x: module(x)[0], randomness=randomness)(x)

    same, different = outputs("same"), outputs("different")
    torch.manual_seed(0)
    assert torch.equal(same[1], module(x[1])[0])
    assert torch.equal(same[0], same[2])
    assert not torch.equal(different[0], different[2])
    with pytest.raises(RuntimeError, match="randomness"):
        outputs("error")


@pytest.mark.parametrize("shape", [(0, 4, 2, 3), (3, 0, 2, 3), (3, 4, 0, 3)])
def test_axes_without_entries(shape):
    _, module = twins("GRU", 3, 5)
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    x = torch.randn(*shape, dtype=torch.float64)

    def loss(weights, x):
        lengths = torch.full(x.shape[1:2], x.shape[0])
        return functional_call(module, weights, (x,), {"lengths": lengths})[0].sum()

    each, dx = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0))(weights, x)
    assert vmap(module)(x)[0].shape == (*shape[:-1], 5)
    assert dx.shape == shape
    for name, weight in weights.items():
        assert torch.equal(each[name], weight.new_zeros(shape[0], *weight.shape)), name


def test_packed_sequences_are_refused():
    gru = rnnfast.torch.GRU(3, 4)
    with pytest.raises(TypeError, match="expected padded sequences, with the keyword lengths"):
        grad(lambda x: gru(pack_sequence([x]))[0].data.sum())(torch.randn(4, 3))
