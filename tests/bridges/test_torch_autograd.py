"""`rnnfast.torch`'s modules in torch's graph: every way in which gradients are asked for, or cannot be."""

from __future__ import annotations

import weakref
from functools import partial

import pytest
from helpers.arrays import as_state, parts
from helpers.threads import run_together

torch = pytest.importorskip("torch")

from bridges.torch_models import KINDS, LAYERS, assert_same, everything, kernels_run, tensors_in, twins  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402


def input_and_state(kind: str, T: int = 4, B: int = 2):
    """x (a cell's is one step) and a state, for 3 inputs and 5 hidden units; all want gradients."""
    steps, rows = ((), ()) if kind.endswith("Cell") else ((T,), (1,))
    x = torch.randn(*steps, B, 3, dtype=torch.float64, requires_grad=True)
    parts = [torch.randn(*rows, B, 5, dtype=torch.float64, requires_grad=True) for _ in "hc"]
    return x, tuple(parts) if kind.startswith("LSTM") else parts[0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    _, module = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    hidden = parts(hx)
    names, weights = zip(*module.named_parameters(), strict=True)

    def call(x, *further):
        state, weights = as_state(further[: -len(names)]), further[-len(names) :]
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, state))

    def flat(*arguments):
        return tuple(tensors_in(call(*arguments)))

    with kernels_run():
        assert torch.autograd.gradcheck(flat, (x, *hidden, *weights))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", ["x", "state", "one weight", "weights", "no weights"])
def test_only_some_gradients_are_wanted(kind, wanted):
    plain, fast = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    hidden = parts(hx)
    x.requires_grad_(wanted in ("x", "no weights"))
    for part in hidden:
        part.requires_grad_(wanted in ("state", "no weights"))
    grads = []
    for module in (plain, fast):
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(wanted == "weights" or (wanted == "one weight" and "weight_hh" in name))
        for tensor in (x, *hidden):
            tensor.grad = None
        sum(tensor.sin().sum() for tensor in tensors_in(module(x, hx))).backward()
        tensors = {
            "x": x,
            **{str(n): part for n, part in enumerate(hidden)},
            **dict(module.named_parameters()),
        }
        grads.append({name: tensor.grad for name, tensor in tensors.items()})
    want, got = grads
    assert {name for name in got if got[name] is None} == {name for name in want if want[name] is None}
    kept = [name for name in want if want[name] is not None]
    assert kept
    assert_same({name: got[name] for name in kept}, {name: want[name] for name in kept}, 1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_only_some_outputs_get_a_gradient(kind):
    plain, fast = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    for n in range(len(tensors_in(plain(x, hx)))):
        want = torch.autograd.grad(tensors_in(plain(x, hx))[n].sin().sum(), (x, *plain.parameters()))
        got = torch.autograd.grad(tensors_in(fast(x, hx))[n].sin().sum(), (x, *fast.parameters()))
        assert_same(dict(enumerate(got)), dict(enumerate(want)), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_backward_twice(kind):
    _, module = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    results = tensors_in(module(x, hx))
    loss = sum(tensor.sin().sum() for tensor in results)
    loss.backward(retain_graph=True)
    first = x.grad.clone()
    with kernels_run(1):
        loss.backward()
    assert torch.equal(x.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    a, b = (tensor.sin().sum() for tensor in (tensors_in(module(x, hx))[0], tensors_in(module(x, hx))[-1]))
    x.grad = None
    (a + b).backward()
    together, x.grad = x.grad, None
    results = tensors_in(module(x, hx))
    results[0].sin().sum().backward(retain_graph=True)
    results[-1].sin().sum().backward()
    assert torch.allclose(x.grad, together, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_grad_and_inference_mode(kind):
    plain, fast = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    want = tensors_in(plain(x, hx))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), kernels_run(1):
            got = tensors_in(fast(x, hx))
            assert_same(dict(enumerate(got)), dict(enumerate(want)), 1e-12)
            got[0].add_(1)  # the caller's own, to be written
        assert not any(tensor.requires_grad for tensor in got)
        assert all(tensor.is_inference() for tensor in got) is (mode is torch.inference_mode)


@pytest.mark.parametrize("kind", KINDS)
def test_writing_into_saved_tensors_is_an_error(kind):
    _, module = twins(kind, 3, 5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x, hx = input_and_state(kind)
    loss = sum(tensor.sum() for tensor in tensors_in(module(x, hx)))
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    loss = sum(tensor.sum() for tensor in tensors_in(module(x, hx)))
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    sum(tensor.sum() for tensor in tensors_in(module(x, hx))).backward()


def test_writing_into_a_saved_output_is_an_error():
    _, module = twins("GRU", 3, 5)
    x, hx = input_and_state("GRU")
    y, h = module(x, hx)
    h = h.mul_(2)  # its own memory
    h.sum().backward()
    y, h = module(x, hx)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    packed = torch.nn.utils.rnn.pack_sequence([x[:, 0], x[:2, 1]])
    module(packed)[0].data.mul_(2).sum().backward()  # a copy
    cell = twins("GRUCell", 3, 5)[1]
    cell(x[0]).mul_(2).sum().backward()


def test_backward_frees_the_saved_memory():
    _, module = twins("GRU", 3, 5)
    x, hx = input_and_state("GRU")
    y, _ = module(x, hx)
    node = y.grad_fn
    inner = weakref.ref(node.places)
    tape = node.tape
    y.sum().backward(retain_graph=True)
    assert inner() is not None
    y.sum().backward()
    assert inner() is None
    assert "used up" in repr(tape)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_whose_memory_moved_are_refused(kind):
    _, module = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    loss = sum(tensor.sum() for tensor in tensors_in(module(x, hx)))
    module.share_memory()
    with pytest.raises(RuntimeError, match="moved in memory"):
        loss.backward()
    with kernels_run(2):
        sum(tensor.sum() for tensor in tensors_in(module(x, hx))).backward()


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("kind", KINDS)
def test_create_graph_with_first_derivatives_alone(kind):
    plain, fast = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    grads = []
    for module in (plain, fast):
        for _ in range(2):
            tensors_in(module(x, hx))[0].sin().sum().backward(create_graph=True)
        torch.optim.SGD(module.parameters(), lr=0.1).step()
        grads.append({name: p.grad.detach() for name, p in module.named_parameters() if p.grad is not None})
        module.zero_grad()
        x.grad = None
    assert_same(grads[1], grads[0], 1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_hooks(kind):
    plain, fast = twins(kind, 3, 5)
    x, hx = input_and_state(kind)
    seen = {}
    for module in (plain, fast):
        calls = seen[module] = []
        module.register_forward_pre_hook(lambda m, args, calls=calls: calls.append("forward pre"))
        module.register_forward_hook(lambda m, args, out, calls=calls: calls.append("forward"))
        module.register_full_backward_hook(lambda m, gi, go, calls=calls: calls.append("backward"))
        module.weight_hh_l0.register_hook(lambda g, calls=calls: calls.append("weight"))
        module.weight_ih_l0.register_post_accumulate_grad_hook(lambda p, calls=calls: calls.append("stored"))
        sum(tensor.sum() for tensor in tensors_in(module(x, hx))).backward()
    assert sorted(seen[fast]) == sorted(seen[plain])
    assert len(seen[fast]) == 5


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_under_torchs_checkpoint_and_saved_tensor_hooks(use_reentrant):
    plain, fast = twins("LSTM", 3, 5)
    x, hx = input_and_state("LSTM")
    want = everything(plain, x, hx)
    results = checkpoint(
        lambda x, h, c: tuple(tensors_in(fast(x, (h, c)))), x, *hx, use_reentrant=use_reentrant
    )
    assert torch.allclose(results[0], want["output 0"])
    loss = sum((t * torch.linspace(-1, 2, t.numel()).to(t).view_as(t)).sum() for t in results)
    loss.backward()
    assert torch.allclose(x.grad, want["input 0"])
    with torch.autograd.graph.save_on_cpu():
        assert_same(everything(fast, x, hx), want, 1e-12)


def test_anomaly_mode_and_a_frozen_module():
    _, module = twins("GRU", 3, 5)
    module.requires_grad_(False)
    with kernels_run(1):
        y, _ = module(torch.randn(4, 2, 3, dtype=torch.float64))
    assert not y.requires_grad
    module.requires_grad_(True)
    with torch.autograd.set_detect_anomaly(True):
        module(torch.randn(4, 2, 3, dtype=torch.float64))[0].sum().backward()


@pytest.mark.parametrize("kind", LAYERS)
def test_several_threads_share_a_module(kind):
    plain, fast = twins(kind, 3, 5, dtype=torch.float32)
    inputs = [torch.randn(6, n + 1, 3) for n in range(4)]
    want = [everything(plain, x) for x in inputs]
    failures = []

    def work(x, expected):
        try:
            for _ in range(20):
                assert_same(everything(fast, x), expected, 1e-5)
        except BaseException as error:
            failures.append(error)

    run_together(*[partial(work, *pair) for pair in zip(inputs, want, strict=True)])
    assert not failures


def test_the_optimizers_steps_are_seen_and_training_is_torchs():
    torch.manual_seed(0)
    plain, fast = twins("LSTM", 3, 5, num_layers=2)
    x, target = torch.randn(6, 4, 3, dtype=torch.float64), torch.randn(6, 4, 5, dtype=torch.float64)
    losses = []
    for module in (plain, fast):
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            loss = (module(x)[0] - target).square().mean()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
