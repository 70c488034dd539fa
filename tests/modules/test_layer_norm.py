"""Layer normalization in the layers: parameters, and equations and gradients against PyTorch and Keras."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers.tolerances import assert_close, assert_same_bits

import rnnfast as rf
from rnnfast import _core

LAYERS = {
    "rnn": (rf.RNN, {}),
    "lstm": (rf.LSTM, {}),
    "lstm-all": (
        rf.LSTM,
        {"peephole": True, "coupled_gates": True, "cell_clip": 0.5, "proj_size": 3},
    ),
    "gru": (rf.GRU, {}),
}
all_layers = pytest.mark.parametrize("name", LAYERS)


def layer_of(name: str, *sizes: int, **keywords) -> rf.nn.module.Module:
    """A layer with layer normalization, whose parameters are all random."""
    make, options = LAYERS[name]
    layer = make(*sizes, layer_norm=True, rng=0, **options, **keywords)
    rng = np.random.default_rng(1)
    for parameter_name, parameter in layer.named_parameters():
        if parameter_name.startswith("ln_"):
            parameter.data[...] += rng.uniform(-0.3, 0.3, parameter.data.shape)
    return layer


def arrays(value) -> list[np.ndarray]:
    return list(value) if isinstance(value, tuple) else [value]


def test_parameters_have_the_documented_names_shapes_and_values():
    layer = rf.LSTM(3, 5, num_layers=2, bidirectional=True, layer_norm=True, bias=False, rng=0)
    shapes = {name: parameter.data.shape for name, parameter in layer.named_parameters()}
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        for part, n in (("ih", 20), ("hh", 20), ("c", 5)):
            for kind, value in (("weight", 1), ("bias", 0)):
                name = f"ln_{part}_{kind}{suffix}"
                assert shapes[name] == (n,)
                assert (layer.state_dict()[name] == value).all()
    assert not any(name.startswith("bias") for name in shapes)
    plain = rf.LSTM(3, 5, num_layers=2, bidirectional=True, bias=False, rng=0)
    assert_same_bits({name: layer.state_dict()[name] for name in plain.state_dict()}, plain.state_dict())
    names = [name for name, _ in rf.GRU(3, 5, layer_norm=True).named_parameters()]
    assert not any("ln_c" in name for name in names)


@pytest.mark.parametrize("reset_after", [True, False])
def test_the_gru_needs_reset_after(reset_after):
    if reset_after:
        assert rf.GRU(3, 5, layer_norm=True, reset_after=True).layer_norm
        return
    with pytest.raises(ValueError, match=r"^layer_norm: expected False with reset_after=False"):
        rf.GRU(3, 5, layer_norm=True, reset_after=False)


def test_a_layer_without_it_refuses_its_parameters():
    weights = {"weight_ih": np.ones((5, 3)), "weight_hh": np.eye(5)}
    x = np.ones((2, 1, 3))
    with pytest.raises(ValueError, match=r"^ln_ih_bias: expected an array"):
        rf.functional.rnn_forward(x, **weights, ln_ih_weight=np.ones(5))
    with pytest.raises(ValueError, match=r"^ln_hh_weight: expected an array"):
        rf.reference.rnn_forward(x, **weights, ln_ih_weight=np.ones(5), ln_ih_bias=np.ones(5))
    norm = {f"ln_{part}_{kind}": np.ones(15) for part in ("ih", "hh") for kind in ("weight", "bias")}
    weights = {"weight_ih": np.ones((15, 3)), "weight_hh": np.ones((15, 5))}
    for module in (rf.functional, rf.reference):
        with pytest.raises(ValueError, match=r"^ln_ih_weight: expected None with reset_after=False"):
            module.gru_forward(x, **weights, **norm, reset_after=False)
    with pytest.raises(ValueError, match=r"^ln_hh_bias: expected shape \[15\]"):
        rf.functional.gru_forward(x, **weights, **norm | {"ln_hh_bias": np.ones(5)})


def torch_steps(torch, layer, weights, x, state):
    """The outputs of one layer in torch's operations, after Ba, Kiros and Hinton."""

    def norm(part, a):
        own = (weights[f"ln_{part}_{kind}_l0"] for kind in ("weight", "bias"))
        return torch.nn.functional.layer_norm(a, a.shape[-1:], *own)

    steps = []
    for x_t in x:
        from_x = norm("ih", x_t @ weights["weight_ih_l0"].T) + weights["bias_ih_l0"]
        from_h = norm("hh", state[0] @ weights["weight_hh_l0"].T) + weights["bias_hh_l0"]
        if isinstance(layer, rf.RNN):
            state = [torch.tanh(from_x + from_h)]
        elif isinstance(layer, rf.GRU):
            (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3, 1), from_h.chunk(3, 1)
            r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
            state = [(1 - z) * torch.tanh(x_n + r * h_n) + z * state[0]]
        else:
            coupled, peephole = layer.coupled_gates, layer.peephole
            *first, g, o = (from_x + from_h).chunk(3 if coupled else 4, 1)
            c = state[1]
            seen = (weights["weight_ci_l0"] * c, weights.get("weight_cf_l0", 0) * c) if peephole else (0, 0)
            i = torch.sigmoid(first[0] + seen[0])
            f = 1 - i if coupled else torch.sigmoid(first[1] + seen[1])
            c = f * c + i * torch.tanh(g)
            if layer.cell_clip:
                c = c.clamp(-layer.cell_clip, layer.cell_clip)
            o = torch.sigmoid(o + (weights["weight_co_l0"] * c if peephole else 0))
            h = o * torch.tanh(norm("c", c))
            state = [h @ weights["weight_hr_l0"].T if layer.proj_size else h, c]
        steps.append(state[0])
    return torch.stack(steps), state


@all_layers
def test_equations_and_gradients_are_those_of_torch_autograd(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    layer = layer_of(name, 4, 9, dtype="float64")
    widths = layer.state_form.widths
    x, dy = rng.normal(size=(7, 5, 4)), rng.normal(size=(7, 5, widths[0]))
    state, dstate = ([rng.normal(size=(1, 5, width)) for width in widths] for _ in range(2))
    given = (tuple(state), tuple(dstate)) if len(widths) > 1 else (state[0], dstate[0])
    y, final, tape = layer.forward(x, given[0])
    dx, d_initial = layer.backward(tape, dy, given[1])

    weights = {key: torch.tensor(w.data, requires_grad=True) for key, w in layer.named_parameters()}
    inputs = torch.tensor(x, requires_grad=True)
    initial = [torch.tensor(part[0], requires_grad=True) for part in state]
    outputs, last = torch_steps(torch, layer, weights, inputs, initial)
    total = torch.sum(outputs * torch.tensor(dy))
    for part, gradient in zip(last, dstate, strict=True):
        total = total + torch.sum(part * torch.tensor(gradient[0]))
    total.backward()
    want = {"y": outputs.detach().numpy()}
    want |= {f"state {n}": part.detach().numpy()[None] for n, part in enumerate(last)}
    got = {"y": y, **{f"state {n}": part for n, part in enumerate(arrays(final))}}
    assert_close(got, want, 13, 10.0)
    want = {"dx": inputs.grad.numpy(), **{key: weight.grad.numpy() for key, weight in weights.items()}}
    want |= {f"dstate {n}": part.grad.numpy()[None] for n, part in enumerate(initial)}
    got = {"dx": dx, **{key: weight.grad for key, weight in layer.named_parameters()}}
    got |= {f"dstate {n}": part for n, part in enumerate(arrays(d_initial))}
    assert_close(got, want, 13, 10.0)


def test_outputs_are_those_of_keras_layer_normalization():
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(2)
    layer = layer_of("lstm", 4, 16)
    weights = layer.state_dict()
    norms = {}
    for part, n in (("ih", 64), ("hh", 64), ("c", 16)):
        norms[part] = keras.layers.LayerNormalization(epsilon=1e-5)
        norms[part].build((None, n))
        norms[part].set_weights([weights[f"ln_{part}_{kind}_l0"] for kind in ("weight", "bias")])
    x = rng.normal(size=(5, 3, 4)).astype("float32")
    h, c = np.zeros((2, 3, 16), "float32")
    y, _ = layer(x)
    for x_t, y_t in zip(x, y, strict=True):
        from_x = keras.ops.convert_to_numpy(norms["ih"](x_t @ weights["weight_ih_l0"].T))
        from_h = keras.ops.convert_to_numpy(norms["hh"](h @ weights["weight_hh_l0"].T))
        a = from_x + from_h + weights["bias_ih_l0"] + weights["bias_hh_l0"]
        i, f, g, o = np.split(a.astype("float64"), 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = (f * c + i * np.tanh(g)).astype("float32")
        h = (o * np.tanh(keras.ops.convert_to_numpy(norms["c"](c)))).astype("float32")
        np.testing.assert_allclose(y_t, h, atol=2e-5)


@all_layers
def test_a_stack_gives_the_same_bits_in_any_way(name):
    layer = layer_of(name, 4, 9, num_layers=2)
    x = np.random.default_rng(3).normal(size=(12, 5, 4)).astype("float32")
    y, final = layer(x)
    trained, _, tape = layer.forward(x)
    assert_same_bits({"y": trained}, {"y": y})
    step = layer.stream(batch=5)
    assert_same_bits({"y": np.stack([step(x_t) for x_t in x])}, {"y": y})
    for mine, part in zip(arrays(step.state), arrays(final), strict=True):
        assert_same_bits({"state": mine}, {"state": part})
    for b in range(5):
        assert_same_bits({"y": layer(x[:, b : b + 1])[0]}, {"y": y[:, b : b + 1]})
    copy = pickle.loads(pickle.dumps(layer))
    assert_same_bits({"y": copy(x)[0]}, {"y": y})
    dy = np.ones_like(y)
    dx, _ = layer.backward(tape, dy)
    *_, again = layer.forward(x, checkpoint=5)
    assert_same_bits({"dx": layer.backward(again, dy)[0]}, {"dx": dx})


@all_layers
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_lower_precisions_stay_near(name, precision):
    layer = layer_of(name, 4, 33, bidirectional=True)
    x = np.random.default_rng(3).normal(size=(12, 5, 4)).astype("float32")
    lengths = np.array([12, 0, 5, 7, 1])
    y, _ = layer(x, lengths=lengths)
    layer.matmul_precision = precision
    near, _ = layer(x, lengths=lengths)
    assert 0 < np.abs(near - y).max() < {"bfloat16": 0.03, "int8": 0.2}[precision]


def test_an_embedded_input_gives_the_same_bits():
    layer = layer_of("lstm", 6, 9)
    model = rf.Sequential(rf.Embedding(11, 6, rng=1), layer)
    tokens = np.random.default_rng(4).integers(0, 11, (9, 4))
    y, _, tape = model.forward(tokens)
    vectors = model[0](tokens)[0]
    want, _, plain = layer.forward(vectors)
    assert_same_bits({"y": y}, {"y": want})
    model.zero_grad()
    model.backward(tape, np.ones_like(y))
    got = {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    layer.backward(plain, np.ones_like(y))
    assert_close(got, {name: parameter.grad for name, parameter in layer.named_parameters()}, 60, 10.0)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_gradients_have_the_same_bits_for_any_threads_and_split(name, restored):
    layer = layer_of(name, 5, 33)
    x = np.random.default_rng(5).normal(size=(9, 7, 5)).astype("float32")
    results = []
    for threads, split in ((1, None), (2, "rows"), (2, "units"), (3, "rows"), (3, "units")):
        rf.set_num_threads(threads)
        _core.force_split(split)
        layer.zero_grad()
        y, _, tape = layer.forward(x)
        dx, _ = layer.backward(tape, np.ones_like(y))
        results.append({"y": y, "dx": dx, **{key: p.grad.copy() for key, p in layer.named_parameters()}})
    for result in results[1:]:
        assert_same_bits(result, results[0])
