"""torch.compile of models with `rnnfast.torch`'s modules: one graph, which holds the operators."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import shutil
import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import (  # noqa: E402
    KINDS,
    LAYERS,
    an_input,
    assert_same,
    everything,
    kernels_run,
    operators_in,
    tensors_in,
    twins,
)
from torch._dynamo.testing import CompileCounter  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import rnnfast.torch  # noqa: E402
from rnnfast.torch import dynamo  # noqa: E402

pytestmark = pytest.mark.filterwarnings("error::rnnfast.torch.FallbackWarning")


@pytest.fixture(autouse=True)
def _forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Model(torch.nn.Module):
    """Something around one recurrent module; keywords are for its call."""

    def __init__(self, inner):
        super().__init__()
        self.before = torch.nn.Linear(3, 3, dtype=next(inner.parameters()).dtype)
        self.inner = inner

    def forward(self, x, hx=None, **keywords):
        return self.inner(self.before(x).tanh(), hx, **keywords)


def compiled(module, **how):
    return torch.compile(module, **{"backend": "aot_eager", "fullgraph": True, **how})


class Wrapped(torch.nn.Module):
    """A compiled module with the names of the parameters of the one inside."""

    def __init__(self, module, **how):
        super().__init__()
        self.run = compiled(module, **how)

    def forward(self, *args, **keywords):
        return self.run(*args, **keywords)

    def named_parameters(self, *args, **keywords):
        return self.run._orig_mod.named_parameters(*args, **keywords)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_graph_has_the_bits_of_eager_mode(kind):
    plain, fast = twins(kind, 3, 4)
    model = Model(fast)
    x = an_input(kind).requires_grad_()
    want = everything(model, x)
    with kernels_run(2):
        got = everything(Wrapped(model), x)
    assert_same(got, want, 0.0)
    model.inner = plain
    assert_same(got, everything(model, x), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_itself_is_compiled(kind):
    _, module = twins(kind, 3, 4)
    x = an_input(kind)
    with torch.no_grad(), kernels_run(1):
        got = tensors_in(compiled(module)(x))
    assert all(torch.equal(a, b) for a, b in zip(got, tensors_in(module(x)), strict=True))


@pytest.mark.parametrize("kind", ["LSTM", "GRUCell"])
def test_both_graphs_hold_one_operator_each(kind):
    graphs = []

    def keep(graph, _):
        graphs.append([str(node.target) for node in operators_in(graph)])
        return graph.forward

    from torch._dynamo.backends.common import aot_autograd

    _, fast = twins(kind, 3, 4)
    x = an_input(kind)
    backend = aot_autograd(fw_compiler=keep, bw_compiler=keep)
    tensors_in(compiled(Model(fast), backend=backend)(x))[0].sum().backward()
    assert graphs == [["rnnfast.record.default"], ["rnnfast.play.default"]]


@pytest.mark.parametrize("kind", LAYERS)
def test_one_graph_takes_all_batches_and_times(kind):
    _, fast = twins(kind, 3, 4)
    counter = CompileCounter()
    run = compiled(fast, backend=counter, dynamic=True)
    for T, B in ((4, 2), (9, 3), (5, 7), (2, 31)):
        x = an_input(kind, T=T, B=B)
        with kernels_run(2):
            assert all(map(torch.equal, tensors_in(run(x)), tensors_in(fast(x))))
    assert counter.frame_count == 1
    with torch.no_grad():
        run(x)
        run(an_input(kind, T=3, B=5))
    assert counter.frame_count == 2


def test_sizes_that_change_become_dynamic_by_themselves():
    _, fast = twins("GRU", 3, 4)
    counter = CompileCounter()
    run = compiled(fast, backend=counter)
    for T in range(2, 9):
        run(an_input("GRU", T=T, B=T + 1))
    assert counter.frame_count == 2


OPTIONS = [
    ("RNN", {"nonlinearity": "sigmoid", "num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 2, "bias": False, "batch_first": True}),
    ("LSTM", {"peephole": True, "coupled_gates": True, "cell_clip": 0.1}),
    ("GRU", {"reset_after": False}),
    ("LSTMCell", {"cell_clip": 0.1, "forget_bias": 1.0}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_options(kind, options):
    module = getattr(rnnfast.torch, kind)(3, 4, dtype=torch.float64, **options)
    x = an_input(kind).requires_grad_()
    with kernels_run():
        assert_same(everything(Wrapped(module, dynamic=True), x), everything(module, x), 0.0)


def test_an_option_that_changes_is_seen():
    module, x = rnnfast.torch.LSTM(3, 4, num_layers=2), an_input("LSTM", torch.float32)
    run = compiled(module, dynamic=True)
    with torch.no_grad():
        for name, value in (
            ("cell_clip", 0.1),
            ("cell_clip", 0.05),
            ("batch_first", True),
            ("matmul_precision", "bfloat16"),
            ("matmul_precision", "int8"),
        ):
            setattr(module, name, value)
            assert torch.equal(run(x)[0], module(x)[0]), (name, value)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_lengths_resets_and_recomputation(kind):
    _, fast = twins(kind, 3, 4, num_layers=2)
    x = an_input(kind, T=5, B=3).requires_grad_()
    state = [torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    keywords = {
        "lengths": torch.tensor([5, 0, 3]),
        "reset": torch.rand(5, 3) < 0.3,
        "checkpoint": 2,
    }
    hx = tuple(state) if kind == "LSTM" else state[0]
    for dynamic in (False, True):
        got = everything(Wrapped(fast, dynamic=dynamic), x, hx, **keywords)
        assert_same(got, everything(fast, x, hx, **keywords), 0.0)
    with pytest.raises(ValueError, match="lengths"):
        compiled(fast)(x, hx, lengths=torch.tensor([5, 0, 6]))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_dropout_follows_manual_seed_and_the_mode(mode):
    _, fast = twins("GRU", 3, 4, num_layers=2, dropout=0.5)
    getattr(fast, mode)()
    x, results = an_input("GRU").requires_grad_(), []
    for module in (fast, Wrapped(fast)):
        torch.manual_seed(3)
        results.append(everything(module, x))
    assert_same(results[1], results[0], 0.0)
    assert torch.equal(fast(x)[0], fast(x)[0]) is (mode == "eval")


@pytest.mark.parametrize("kind", KINDS)
def test_autocast(kind):
    fast, x = getattr(rnnfast.torch, kind)(3, 4), an_input(kind, torch.float32)
    run, results = compiled(fast), []
    for module in (fast, run):
        fast.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), kernels_run():
            outputs = tensors_in(module(x))
        sum(output.float().sum() for output in outputs).backward()
        results.append([*outputs, *[p.grad.clone() for p in fast.parameters()]])
    for got, want in zip(*results, strict=True):
        assert got.dtype is want.dtype
        assert torch.equal(got, want)


def test_a_wrong_shape_is_torchs_error():
    fast = rnnfast.torch.GRU(3, 4)
    with pytest.raises(Exception, match=r"input.size\(-1\) must be equal to input_size"):
        compiled(fast)(torch.randn(5, 2, 2))


def test_weights_that_do_not_fit_are_an_error():
    fast = rnnfast.torch.GRU(3, 4)
    fast.weight_ih_l0 = torch.nn.Parameter(torch.randn(9, 3))
    for module in (fast, compiled(fast)):
        with pytest.raises(ValueError, match=r"weight_ih_l0: expected .* shape \(12, 3\), got .* \(9, 3\)"):
            module(torch.randn(5, 2, 3))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_precision_that_weights_cannot_have_is_an_error(precision):
    fast = rnnfast.torch.GRU(3, 4, matmul_precision=precision).double()
    for module in (fast, compiled(fast)):
        with (
            torch.no_grad(),
            pytest.raises(ValueError, match=r"matmul_precision: expected 'float32' .*float64"),
        ):
            module(torch.randn(5, 2, 3).double())


def test_a_length_that_is_no_integer_is_an_error():
    fast = rnnfast.torch.GRU(3, 4)
    for module in (fast, compiled(fast)):
        with pytest.raises(TypeError, match="lengths: expected an integer"):
            module(torch.randn(5, 3), lengths=torch.tensor(2.7))


@pytest.mark.parametrize("value", [0, 2.5])
def test_a_wrong_checkpoint_is_an_error_also_without_gradients(value):
    fast, x = rnnfast.torch.GRU(3, 4), torch.randn(5, 2, 3)
    with torch.no_grad():
        for module in (fast, compiled(fast)):
            with pytest.raises(Exception, match="checkpoint: expected"):
                module(x, checkpoint=value)


def test_copies_of_a_module_that_compiled_itself_have_their_own_weights():
    _, fast = twins("GRU", 3, 4)
    x = an_input("GRU")
    fast.compile(backend="aot_eager", fullgraph=True)
    want = fast(x)[0]
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert torch.equal(other(x)[0], want)
        with torch.no_grad():
            other.weight_hh_l0.zero_()
        assert not torch.equal(other(x)[0], want)


# What no graph holds


NO_GRAPH = "padded sequences .* float32 or float64 .* torch.func.* fullgraph=True, or .*restore"


def test_packed_sequences_are_an_error_or_a_graph_break():
    _, fast = twins("GRU", 3, 4)
    x = pack_sequence([torch.randn(n, 3, dtype=torch.float64) for n in (5, 2)])
    with pytest.raises(Exception, match=NO_GRAPH):
        compiled(fast)(x)
    with kernels_run(1):
        got = compiled(fast, fullgraph=False)(x)[0].data
    assert torch.equal(got, fast(x)[0].data)


def test_a_transform_of_torch_func_is_an_error_or_a_graph_break():
    _, fast = twins("GRU", 3, 4)
    x = an_input("GRU")

    def gradient(x):
        return torch.func.grad(lambda x: fast(x)[0].sin().sum())(x)

    with pytest.raises(Exception, match=NO_GRAPH):
        compiled(gradient)(x)
    with kernels_run(3):
        got = compiled(gradient, fullgraph=False)(x)
    assert torch.equal(got, gradient(x))


def test_a_dtype_that_the_kernels_lack_is_an_error():
    fast = rnnfast.torch.GRU(3, 4).bfloat16()
    with pytest.raises(Exception, match=NO_GRAPH):
        compiled(fast)(torch.randn(5, 2, 3).bfloat16())


def test_torchs_own_modules_are_seen_as_before():
    module = torch.nn.GRU(3, 4)
    compiled(rnnfast.torch.GRU(3, 4))(torch.randn(5, 2, 3))
    with pytest.raises(Exception, match="Dynamo does not support RNN, GRU, or LSTM"):
        compiled(module)(torch.randn(5, 2, 3))
    assert not torch._dynamo.config.allow_rnn


BUILDER = "torch._dynamo.variables.builder"


def test_a_look_at_the_compilers_file_leaves_it_to_be_opened(monkeypatch):
    monkeypatch.delitem(sys.modules, BUILDER, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    dynamo.show(torch.nn.Module)
    for _ in range(2):
        assert type(importlib.util.find_spec(BUILDER).loader).__module__ == "rnnfast.imports"


def test_a_compiler_without_the_option_or_its_method_is_left_as_it_is(monkeypatch):
    for config, names in ((SimpleNamespace(), {"wrap_module": None}), (torch._dynamo.config, {})):
        builder = SimpleNamespace(config=config, VariableBuilder=type("VariableBuilder", (), dict(names)))
        monkeypatch.setitem(sys.modules, BUILDER, builder)
        dynamo.show(torch.nn.Module)
        assert vars(builder.VariableBuilder).get("wrap_module") is None


def test_inductor_compiles_forward_and_backward():
    if shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    _, fast = twins("LSTM", 3, 4)
    model, x = Model(fast), an_input("LSTM").requires_grad_()
    want = everything(model, x)
    with kernels_run(2):
        got = everything(Wrapped(model, backend="inductor"), x)
    assert_same(got, want, 1e-12)
