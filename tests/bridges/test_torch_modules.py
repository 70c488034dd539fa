"""`rnnfast.torch`'s modules give what torch.nn's give: PyTorch's own inputs of them, and random ones."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import CELLS, KINDS, LAYERS, assert_same, everything, kernels_run, twins  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import rnnfast.torch  # noqa: E402

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_pytorchs_own_module_inputs(kind, dtype):
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_modules import module_db

    torch.manual_seed(0)
    infos = [info for info in module_db if info.module_cls is getattr(torch.nn, kind)]
    count = 0
    for info in infos:
        for requires_grad in (False, True):
            for case in info.module_inputs_func(info, "cpu", dtype, requires_grad, True):
                made, given = case.constructor_input, case.forward_input
                plain, fast = twins(kind, *made.args, dtype=dtype, **made.kwargs)
                want = everything(plain, *given.args, **given.kwargs)
                with kernels_run():
                    got = everything(fast, *given.args, **given.kwargs)
                assert_same(got, want, TOLERANCE[dtype])
                with torch.no_grad(), kernels_run():
                    fast(*given.args, **given.kwargs)
                count += 1
    assert count >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_pytorchs_own_module_errors(kind):
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_modules import module_db

    (info,) = [info for info in module_db if info.module_cls is getattr(torch.nn, kind)]
    for case in info.module_error_inputs_func(info, "cpu", torch.float32, False, True):
        made, given = case.module_error_input.constructor_input, case.module_error_input.forward_input
        if given is None:
            with pytest.raises(case.error_type, match=case.error_regex):
                getattr(rnnfast.torch, kind)(*made.args, **made.kwargs)
        else:
            module = getattr(rnnfast.torch, kind)(*made.args, **made.kwargs)
            with pytest.raises(case.error_type, match=case.error_regex):
                module(*given.args, **given.kwargs)


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("kind", LAYERS)
def test_random_layers(kind, seed):
    draw = random.Random(f"{kind} {seed}")
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(
            draw.random() < 0.8
        )

    I, H, L = draw.randint(1, 5), draw.randint(2, 9), draw.randint(1, 3)
    T, B = draw.randint(1, 7), draw.randint(1, 5)
    options = {
        "num_layers": L,
        "bias": draw.random() < 0.7,
        "batch_first": draw.random() < 0.5,
        "bidirectional": draw.random() < 0.4,
    }
    if kind == "RNN":
        options["nonlinearity"] = draw.choice(["tanh", "relu"])
    if kind == "LSTM" and draw.random() < 0.4:
        options["proj_size"] = draw.randint(1, H - 1)
    plain, fast = twins(kind, I, H, **options)
    form = draw.choice(["batched", "unbatched", "packed", "packed"])
    if form == "packed":
        lengths = [draw.randint(1, T) for _ in range(B)]
        enforced = draw.random() < 0.3
        lengths.sort(reverse=enforced)
        x = pack_sequence([normal(length, I).detach() for length in lengths], enforce_sorted=enforced)
        x.data.requires_grad_(draw.random() < 0.8)
    elif form == "batched":
        x = normal(B, T, I) if options["batch_first"] else normal(T, B, I)
    else:
        x = normal(T, I)
    rows = L * (2 if options["bidirectional"] else 1)
    batch = () if form == "unbatched" else (B,)
    state = None
    if draw.random() < 0.6:
        state = normal(rows, *batch, options.get("proj_size") or H)
        state = (state, normal(rows, *batch, H)) if kind == "LSTM" else state
    want = everything(plain, x, state)
    with kernels_run(2 * rows):
        got = everything(fast, x, state)
    assert_same(got, want, 1e-11)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_a_loop_of_cells(kind, bias, batched):
    plain, fast = twins(kind, 3, 7, bias=bias)
    x = torch.randn(4, *((2,) if batched else ()), 3, dtype=torch.float64)

    def loop(cell):
        state = None
        for step in x:
            state = cell(step, state)
        state = state if isinstance(state, tuple) else (state,)
        sum(part.sin().sum() for part in state).backward()
        grads = {name: parameter.grad for name, parameter in cell.named_parameters()}
        return {str(n): part.detach() for n, part in enumerate(state)} | grads

    want = loop(plain)
    with kernels_run(8):
        got = loop(fast)
    assert_same(got, want, 1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_packed_batch_keeps_its_order(kind):
    plain, fast = twins(kind, 3, 4)
    x = pack_sequence([torch.randn(n, 3, dtype=torch.float64) for n in (2, 5, 3)], enforce_sorted=False)
    (want, _), (got, _) = plain(x), fast(x)
    assert type(got) is type(want)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert torch.equal(getattr(got, name), getattr(want, name))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_weights(kind):
    torch.manual_seed(3)
    plain = getattr(torch.nn, kind)(3, 4)
    torch.manual_seed(3)
    fast = getattr(rnnfast.torch, kind)(3, 4)
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), fast.parameters(), strict=True))
    assert repr(fast) == repr(plain)


@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_obeys_manual_seed_and_train_and_eval(kind):
    _, module = twins(kind, 3, 8, num_layers=3, dropout=0.5)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    torch.manual_seed(1)
    with kernels_run(9):
        first, second = everything(module, x), module(x)[0]
    torch.manual_seed(1)
    assert_same(everything(module, x), first, 0.0)
    assert not torch.equal(first["output 0"], second)
    with torch.no_grad():
        torch.manual_seed(1)
        assert torch.equal(module(x)[0], first["output 0"])
    with torch.device("meta"):  # where new tensors go, and no numbers are drawn
        module(x)
    module.dropout = 0.0
    without = module(x)[0]
    assert torch.equal(without, module.eval()(x)[0])
    module.dropout = 0.5
    assert torch.equal(without, module(x)[0])


def test_dropout_is_differentiated():
    _, module = twins("GRU", 2, 3, num_layers=2, dropout=0.4)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

    def seeded(x):
        torch.manual_seed(7)
        return module(x)

    assert torch.autograd.gradcheck(seeded, (x,))


@pytest.mark.parametrize("kind", LAYERS)
def test_layout_and_dropout_may_change_between_calls(kind):
    plain, fast = twins(kind, 3, 4)
    x = torch.randn(5, 5, 3, dtype=torch.float64)
    for first in (True, False, True):
        plain.batch_first = fast.batch_first = first
        assert_same(everything(fast, x), everything(plain, x), 1e-12)


def test_strided_inputs():
    plain, fast = twins("LSTM", 3, 4)
    x = torch.randn(5, 2, 6, dtype=torch.float64)[..., ::2].requires_grad_()
    state = tuple(torch.randn(1, 4, 2, dtype=torch.float64).transpose(1, 2) for _ in "hc")
    assert_same(everything(fast, x, state), everything(plain, x, state), 1e-12)
    x = torch.randn(1, 2, 3, dtype=torch.float64).expand(5, 2, 3)
    assert_same(everything(fast, x, state), everything(plain, x, state), 1e-12)
