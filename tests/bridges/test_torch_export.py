"""torch.export of models with `rnnfast.torch`'s modules: operators in the graph, any batch and time."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import an_input, kernels_run, operators_in, tensors_in, twins  # noqa: E402

import rnnfast.torch  # noqa: E402

CASES = [
    ("RNN", {"num_layers": 2}),
    ("RNN", {"nonlinearity": "sigmoid", "bias": False}),
    ("LSTM", {"bidirectional": True, "batch_first": True, "proj_size": 2}),
    ("LSTM", {"peephole": True, "coupled_gates": True, "cell_clip": 0.1}),
    ("GRU", {"dropout": 0.5, "num_layers": 2}),
    ("GRU", {"reset_after": False, "dtype": torch.float64}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("LSTMCell", {"cell_clip": 0.1}),
    ("GRUCell", {}),
]


def saved_and_loaded(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


def axes_of(x):
    """Both leading axes of x, or the batch alone for a cell, may change."""
    return {n: torch.export.Dim(name, min=1, max=512) for n, name in enumerate("AB"[: x.dim() - 1])}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_program_holds_the_operator_and_keeps_it(kind, options, strict):
    module = getattr(rnnfast.torch, kind)(3, 4, **options).eval()
    dtype = next(module.parameters()).dtype
    x = an_input(kind, dtype)
    program = torch.export.export(module, (x,), dynamic_shapes=(axes_of(x),), strict=strict)
    assert [node.target for node in operators_in(program)] == [torch.ops.rnnfast.forward.default]
    loaded = saved_and_loaded(program).module()
    for T, B in ((4, 2), (7, 3), (1, 1)):
        x = an_input(kind, dtype, T=T, B=B)
        want = tensors_in(module(x))
        with kernels_run():
            got = tensors_in(loaded(x))
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


class Tagger(torch.nn.Module):
    """A model that gives its module a state and keywords."""

    def __init__(self, **keywords):
        super().__init__()
        self.lstm = rnnfast.torch.LSTM(3, 4, **keywords)

    def forward(self, x, state, lengths, reset):
        y, state = self.lstm(x, state, lengths=lengths, reset=reset)
        return y, *state


def test_a_program_takes_states_lengths_and_resets():
    model, B = Tagger(), torch.export.Dim("B", min=2, max=99)

    def inputs(B):
        state = torch.randn(1, B, 4), torch.randn(1, B, 4)
        return torch.randn(5, B, 3), state, torch.randint(0, 6, (B,)), torch.rand(5, B) < 0.3

    dynamic = {1: B}, ({1: B}, {1: B}), {0: B}, {1: B}
    program = torch.export.export(model, inputs(3), dynamic_shapes=dynamic)
    given = inputs(7)
    with kernels_run(1):
        got = program.module()(*given)
    assert all(torch.equal(a, b) for a, b in zip(got, model(*given), strict=True))


def test_an_exported_program_trains():
    plain, fast = twins("GRU", 3, 4)
    x = an_input("GRU")
    exported = torch.export.export(fast, (x,)).module()
    with kernels_run(3):
        exported(x)[0].sin().sum().backward()
    plain(x)[0].sin().sum().backward()
    for name, parameter in exported.named_parameters():
        assert torch.allclose(parameter.grad, plain.get_parameter(name).grad, rtol=0, atol=1e-12)


def test_a_file_is_read_in_another_process_after_the_import(tmp_path):
    module, x = rnnfast.torch.GRU(3, 4), an_input("GRU", torch.float32)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "gru.pt2")
    torch.save({"x": x, "y": module(x)[0].detach()}, tmp_path / "want.pt")
    lines = (
        "import torch, rnnfast.torch",
        "want = torch.load('want.pt')",
        "y, _ = torch.export.load('gru.pt2').module()(want['x'])",
        "assert torch.equal(y, want['y'])",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, check=True)


def test_a_dtype_that_the_kernels_lack_is_left_to_torch():
    module = rnnfast.torch.GRU(3, 4).bfloat16()
    program = torch.export.export(module, (torch.randn(5, 2, 3).bfloat16(),))
    assert not operators_in(program)


@pytest.mark.parametrize(
    ("kind", "options"), [("LSTM", {"bidirectional": True}), ("GRU", {}), ("RNN", {"batch_first": True})]
)
def test_torchs_onnx_exporter_writes_torchs_nodes(kind, options, tmp_path):
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    plain, fast = twins(kind, 3, 4, dtype=torch.float32, **options)
    kinds = []
    for number, module in enumerate((plain.eval(), fast.eval())):
        path = tmp_path / f"{number}.onnx"
        torch.onnx.export(module, (an_input(kind, torch.float32),), path, dynamo=True, verbose=False)
        kinds.append([node.op_type for node in onnx.load(path).graph.node])
    assert kinds[0] == kinds[1]
    assert kind == "RNN" or kind in kinds[1]  # torch writes the products of an RNN
