"""torch's transformations of `rnnfast.torch`'s modules keep every option and keyword, or say what to do."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import (  # noqa: E402
    CELLS,
    KINDS,
    LAYERS,
    an_input,
    assert_same,
    everything,
    kernels_run,
    tensors_in,
    twins,
)
from torch.nn.utils import prune  # noqa: E402

import rnnfast.torch  # noqa: E402

BEYOND = [
    ("RNN", {"nonlinearity": "sigmoid"}, "nonlinearity"),
    ("RNN", {"nonlinearity": "identity"}, "nonlinearity"),
    ("LSTM", {"peephole": True}, "peephole"),
    ("LSTM", {"coupled_gates": True}, "coupled_gates"),
    ("LSTM", {"cell_clip": 0.2}, "cell_clip"),
    ("GRU", {"reset_after": False}, "reset_after"),
]
KEYWORDS = [
    ("GRU", {"lengths": torch.tensor([5, 2])}),
    ("LSTM", {"reset": torch.zeros(5, 2, dtype=torch.bool)}),
    ("RNN", {"checkpoint": True}),
    ("GRUCell", {"reset": torch.zeros(2, dtype=torch.bool)}),
]


class Within(torch.nn.Module):
    """A model with one recurrent module, and keywords for it."""

    def __init__(self, inner, **keywords):
        super().__init__()
        self.inner = inner
        self.keywords = keywords
        self.head = torch.nn.Linear(3, 3)

    def forward(self, x):
        result = self.inner(self.head(x), **self.keywords)
        return result if isinstance(result, torch.Tensor) else result[0]


def options_are_refused():
    """The error for what torch's own code does not know."""
    return pytest.raises(
        TypeError, match=r"expected plain tensors .* as torch.nn does not know it; got torch\."
    )


# What torch's own code runs, and would drop options from


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize(("kind", "options", "name"), BEYOND)
def test_torch_jit_trace_refuses_options(kind, options, name, cell):
    kind += "Cell" if cell else ""
    model, x = Within(getattr(rnnfast.torch, kind)(3, 4, **options)), an_input(kind, torch.float32, T=5)
    with options_are_refused() as caught:
        torch.jit.trace(model, (x,))
    assert f"{name}: expected" in str(caught.value)


@pytest.mark.parametrize(("kind", "keywords"), KEYWORDS)
def test_torch_jit_trace_refuses_keywords(kind, keywords):
    model, x = Within(getattr(rnnfast.torch, kind)(3, 4), **keywords), an_input(kind, torch.float32, T=5)
    with options_are_refused():
        torch.jit.trace(model, (x,))


def test_torchs_onnx_exporter_refuses_options(tmp_path):
    pytest.importorskip("onnxscript")
    gru, x = rnnfast.torch.GRU(3, 4, reset_after=False).eval(), an_input("GRU", torch.float32, T=5)
    path = tmp_path / "gru.onnx"

    def export():
        torch.onnx.export(gru, (x,), path, dynamo=True, verbose=False)

    with pytest.raises(Exception, match="reset_after: expected"):
        export()
    assert not path.exists()
    gru.reset_after = True
    export()
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    (name,) = [each.name for each in session.get_inputs()]
    assert torch.allclose(torch.from_numpy(session.run(None, {name: x.numpy()})[0]), gru(x)[0], atol=1e-6)


@pytest.mark.parametrize(("kind", "options", "name"), BEYOND)
def test_forward_mode_refuses_options(kind, options, name):
    cell, x = getattr(rnnfast.torch, f"{kind}Cell")(3, 4, **options), torch.randn(2, 3)
    with pytest.raises(TypeError, match=f"^{name}: expected plain tensors .*; got forward-mode"):
        torch.func.jvp(cell, (x,), (x,))


@pytest.mark.parametrize("kind", ["RNN", "RNNCell"])
def test_a_nonlinearity_that_is_set_is_torchs_too(kind):
    module, x = getattr(rnnfast.torch, kind)(3, 4), an_input(kind, torch.float32, T=5)
    for nonlinearity in ("relu", "tanh"):
        module.nonlinearity = "sigmoid"
        module.nonlinearity = nonlinearity
        want = Within(module)
        program = torch.export.export(want, (x,))
        assert torch.allclose(program.module()(x), want(x), atol=1e-6)
        other = copy.deepcopy(module)
        rnnfast.torch.restore(other)
        want.inner, expected = other, want(x)
        assert torch.allclose(want(x), expected, atol=1e-6)


def test_an_rnn_whose_nonlinearity_torch_does_not_run_is_left_alone():
    rnn = torch.nn.RNN(3, 4)
    rnn.nonlinearity = "relu"  # torch still runs tanh
    assert rnnfast.torch.accelerate(rnn).left == {
        "": "torch runs its mode 'RNN_TANH', not its nonlinearity 'relu'"
    }
    rnn = torch.nn.RNN(3, 4, nonlinearity="relu")
    assert rnnfast.torch.accelerate(rnn).swapped == [""]


# What compiles, quantizes and rewrites modules


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_torch_jit_script_names_restore(kind):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = getattr(rnnfast.torch, kind)(3, 4)

        def forward(self, x):
            return self.inner(x)

    model, x = Model(), an_input(kind, torch.float32, T=5)
    fast = model.inner
    for module in (fast, model):
        with pytest.raises(TypeError, match=rf"rnnfast's {kind}; .*rnnfast\.torch\.restore"):
            torch.jit.script(module)
    assert model.inner is fast
    rnnfast.torch.restore(model)
    got, want = torch.jit.script(model)(x), model(x)
    assert all(torch.equal(a, b) for a, b in zip(tensors_in(got), tensors_in(want), strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["LSTM", "GRUCell"])
def test_quantization_says_that_it_passes_over_a_module(kind, monkeypatch):
    quantization = pytest.importorskip("torch.ao.quantization")
    monkeypatch.setattr(rnnfast.torch.fallback, "_said", set())
    model = Within(getattr(rnnfast.torch, kind)(3, 4)).eval()
    with pytest.warns(rnnfast.torch.FallbackWarning, match=r"quantization leaves .* rnnfast\.torch\.restore"):
        quantized = quantization.quantize_dynamic(model)
    assert type(quantized.inner) is type(model.inner)
    x = an_input(kind, torch.float32, T=5)
    assert torch.equal(quantized.inner(x)[0], model.inner(x)[0])
    rnnfast.torch.restore(model)
    quantized = quantization.quantize_dynamic(model)
    assert type(quantized.inner) is getattr(torch.ao.nn.quantized.dynamic, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_torch_fx_has_a_module_as_one_node(kind):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = getattr(rnnfast.torch, kind)(3, 4)

        def forward(self, x, reset):
            result = self.inner(x, reset=reset)
            y = result if kind in ("RNNCell", "GRUCell") else result[0]
            return torch.relu(y)

    model = Model()
    traced = torch.fx.symbolic_trace(model)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["inner"]
    axes = (2,) if kind.endswith("Cell") else (5, 2)
    x, reset = torch.randn(*axes, 3), torch.rand(*axes) < 0.5
    with kernels_run(2):
        assert torch.equal(traced(x, reset), model(x, reset))


@pytest.mark.parametrize("kind", KINDS)
def test_torch_fx_traces_a_state_or_a_reset_alone(kind):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = getattr(rnnfast.torch, kind)(3, 4)
            self.register_buffer("x", an_input(kind, torch.float32, T=5))

        def forward(self, h, reset):
            hx = (h, h) if kind.startswith("LSTM") else h
            first = self.inner(torch.ones_like(an_input(kind, torch.float32, T=5)), hx)
            second = self.inner(torch.ones_like(an_input(kind, torch.float32, T=5)), None, reset=reset)
            return (first, second) if kind in ("RNNCell", "GRUCell") else (first[0], second[0])

    model = Model()
    traced = torch.fx.symbolic_trace(model)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["inner"] * 2
    h = torch.randn(2, 4) if kind in CELLS else torch.randn(1, 2, 4)
    reset = torch.rand(*((2,) if kind in CELLS else (5, 2))) < 0.5
    assert all(torch.equal(a, b) for a, b in zip(traced(h, reset), model(h, reset), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_skip_init(kind):
    module = torch.nn.utils.skip_init(getattr(rnnfast.torch, kind), 8, 16)
    module.load_state_dict(getattr(torch.nn, kind)(8, 16).state_dict())
    x = torch.randn(2, 8) if kind in CELLS else torch.randn(5, 2, 8)
    with kernels_run(1):
        module(x)
    options = {"RNN": {"nonlinearity": "sigmoid"}, "LSTM": {"peephole": True}, "GRU": {"reset_after": False}}
    name = kind.removesuffix("Cell")
    other = torch.nn.utils.skip_init(
        getattr(rnnfast.torch, kind), 8, 16, dtype=torch.float64, **options[name]
    )
    assert all(parameter.dtype is torch.float64 and parameter.is_cpu for parameter in other.parameters())
    assert other.beyond_torch() == list(options[name])


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", ["LSTM", "GRUCell"])
def test_pruning_and_weight_norm(kind):
    plain, fast = twins(kind, 3, 4)
    name = "weight_hh_l0" if kind in LAYERS else "weight_hh"
    x = an_input(kind, torch.float32, T=5).double()
    for change in (
        lambda module: prune.l1_unstructured(module, name, amount=0.2),
        lambda module: prune.remove(module, name),
        lambda module: torch.nn.utils.weight_norm(module, name),
        lambda module: getattr(module, f"{name}_g").data.mul_(2),
        lambda module: torch.nn.utils.remove_weight_norm(module, name),
    ):
        change(plain)
        change(fast)
        with kernels_run(2):
            assert_same(everything(fast, x), everything(plain, x), 1e-12)
