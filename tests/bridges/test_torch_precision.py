"""`matmul_precision` of `rnnfast.torch`: where it is set, what keeps it, its bits, and what refuses it."""

from __future__ import annotations

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch")
from bridges.torch_models import (  # noqa: E402
    CELLS,
    KINDS,
    LAYERS,
    an_input,
    assert_same,
    everything,
    functional_results,
    kernels_run,
    tensors_in,
)
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402

ROUNDED = {"matmul_precision": "bfloat16"}
LOWER = [name for name in rnnfast._core.PRECISIONS if name != "float32"]


def rounded_module(kind, *args, **options):
    return getattr(rnnfast.torch, kind)(*(args or (3, 4)), **options, **ROUNDED)


def an_input_and_state(kind):
    x = an_input(kind, torch.float32).requires_grad_()
    shape = (2, 4) if kind in CELLS else (1, 2, 4)
    parts = [torch.randn(shape, requires_grad=True) for _ in range(1 + kind.startswith("LSTM"))]
    return x, tuple(parts) if len(parts) > 1 else parts[0]


def weight_of(kind):
    return "weight_hh" if kind in CELLS else "weight_hh_l0"


# The numbers


@pytest.mark.parametrize("kind", KINDS)
def test_results_and_gradients_have_the_bits_of_functional(kind):
    module = rounded_module(kind)
    x, hx = an_input_and_state(kind)
    with kernels_run(2):
        got = tensors_in(module(x, hx))
        gradients = [torch.randn_like(tensor) for tensor in got]
        torch.autograd.backward(got, gradients)
    results, grads = functional_results(module, x, hx, gradients, "bfloat16")
    assert all(map(torch.equal, got, results))
    inputs = [*tensors_in((x, hx)), *module.parameters()]
    assert all(torch.equal(tensor.grad, grad) for tensor, grad in zip(inputs, grads, strict=True))
    single, _ = functional_results(module, x, hx, gradients, "float32")
    assert not any(map(torch.equal, got, single))
    with torch.no_grad():
        assert all(map(torch.equal, tensors_in(module(x, hx)), got))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_stack_has_the_bits_of_rnnfasts_layer(kind):
    stack = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    module = rounded_module(kind, 3, 5, **stack)
    layer = getattr(rnnfast, kind)(3, 5, **stack, **ROUNDED)
    layer.load_state_dict({name: p.detach().numpy() for name, p in module.named_parameters()})
    x, lengths = torch.randn(3, 5, 3), torch.tensor([4, 1, 3])
    want = torch.from_numpy(layer(x.numpy(), lengths=lengths.numpy())[0])
    assert torch.equal(module(x, lengths=lengths)[0], want)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, _ = pad_packed_sequence(module(packed)[0], batch_first=True)
    assert torch.equal(y, want[:, :4])


@pytest.mark.parametrize(
    ("kind", "options"),
    [("RNN", {"nonlinearity": "sigmoid"}), ("LSTM", {"peephole": True}), ("GRU", {"reset_after": False})],
)
def test_options_beside_it(kind, options):
    module = rounded_module(kind, 3, 4, **options)
    layer = getattr(rnnfast, kind)(3, 4, **options, **ROUNDED)
    layer.load_state_dict({name: p.detach().numpy() for name, p in module.named_parameters()})
    x = an_input(kind, torch.float32)
    assert torch.equal(module(x)[0], torch.from_numpy(layer(x.numpy())[0]))
    assert all(f"{name}={value!r}" in repr(module) for name, value in (options | ROUNDED).items())


@pytest.mark.parametrize(
    ("kind", "how"), [*((kind, {}) for kind in KINDS), *((kind, {"checkpoint": 2}) for kind in LAYERS)]
)
def test_backward_has_the_precision_of_forward(kind, how):
    module = rounded_module(kind)
    x, hx = an_input_and_state(kind)
    for before, after in (("bfloat16", "float32"), ("float32", "bfloat16")):
        module.matmul_precision = before
        want = everything(module, x, hx, **how)
        inputs = [*module.parameters(), *tensors_in((x, hx))]
        outputs = tensors_in(module(x, hx, **how))
        module.matmul_precision = after
        module(x, hx, **how)
        weights = [torch.linspace(-1, 2, tensor.numel()).view_as(tensor) for tensor in outputs]
        grads = torch.autograd.grad(outputs, inputs, weights)
        assert all(map(torch.equal, grads, list(want.values())[len(outputs) :]))


def test_dropout_in_training():
    module = rounded_module("GRU", 3, 4, num_layers=2, dropout=0.5)
    x = an_input("GRU", torch.float32)
    found = []
    for precision in ("bfloat16", "float32"):
        module.matmul_precision = precision
        torch.manual_seed(0)
        found.append(module(x)[0])
    assert not torch.equal(*found)
    assert torch.allclose(*found, atol=0.02)
    module.eval()
    assert not torch.equal(module(x)[0], found[1])


# Where it is set


@pytest.mark.parametrize("kind", KINDS)
def test_the_property_acts_at_the_next_call(kind):
    module = getattr(rnnfast.torch, kind)(3, 4)
    assert module.matmul_precision == "float32"
    assert "matmul_precision" not in repr(module)
    x = an_input(kind, torch.float32)
    single = tensors_in(module(x))[0]
    state = module.state_dict()
    module.matmul_precision = "bfloat16"
    assert module.state_dict().keys() == state.keys()
    assert "matmul_precision='bfloat16'" in repr(module)
    other = rounded_module(kind)
    other.load_state_dict(state)
    assert other.matmul_precision == "bfloat16"
    for _ in range(2):
        assert torch.equal(tensors_in(module(x))[0], tensors_in(other(x))[0])
    assert not torch.equal(tensors_in(module(x))[0], single)
    module.matmul_precision = "float32"
    assert torch.equal(tensors_in(module(x))[0], single)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_keyword_alone(kind):
    with pytest.raises(TypeError):
        getattr(rnnfast.torch, kind)(3, 4, 1, True, False, 0.0, False, 0, None, None, "bfloat16")
    torch.manual_seed(0)
    want = getattr(torch.nn, kind)(3, 4)
    torch.manual_seed(0)
    got = rounded_module(kind)
    assert_same(dict(got.named_parameters()), dict(want.named_parameters()), 0)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_keep_it(kind, used):
    module = rounded_module(kind)
    x = an_input(kind, torch.float32)
    want = tensors_in(copy.deepcopy(module)(x))
    if used:
        module(x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for each in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ):
        assert each.matmul_precision == "bfloat16"
        assert all(map(torch.equal, tensors_in(each(x)), want))


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_of_before_the_option_has_float32(kind):
    module = getattr(rnnfast.torch, kind)(3, 4)
    x = an_input(kind, torch.float32)
    want = tensors_in(module(x))
    module.matmul_precision = "bfloat16"
    state = {name: value for name, value in module.__dict__.items() if "precision" not in name}
    assert len(state) == len(module.__dict__) - 1
    old = type(module).__new__(type(module))
    old.__setstate__(state)
    for each in (old, copy.deepcopy(old), pickle.loads(pickle.dumps(old))):
        assert each.matmul_precision == "float32"
        assert "matmul_precision" not in repr(each)
        assert all(map(torch.equal, tensors_in(each(x)), want))
    old.matmul_precision = "bfloat16"
    assert not torch.equal(tensors_in(old(x))[0], want[0])


# What refuses it


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_names_are_refused(kind):
    module = rounded_module(kind)
    for wrong in ("half", "Float32", 16, None, torch.bfloat16):
        with pytest.raises(ValueError, match=r"matmul_precision: expected one of float32, bfloat16.*, got "):
            getattr(rnnfast.torch, kind)(3, 4, matmul_precision=wrong)
        with pytest.raises(ValueError, match="matmul_precision: expected one of "):
            module.matmul_precision = wrong
        assert module.matmul_precision == "bfloat16"


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_for_float32_modules(kind, dtype, precision):
    message = f"matmul_precision: expected 'float32' .*{kind} of {dtype}, got '{precision}'"
    with pytest.raises(ValueError, match=message):
        getattr(rnnfast.torch, kind)(3, 4, dtype=dtype, matmul_precision=precision)
    module = getattr(rnnfast.torch, kind)(3, 4, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        module.matmul_precision = precision
    module.matmul_precision = "float32"
    assert module.matmul_precision == "float32"


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("kind", KINDS)
def test_float64_inputs_and_modules_that_became_float64_are_refused(kind, precision):
    module = getattr(rnnfast.torch, kind)(3, 4, matmul_precision=precision)
    x = an_input(kind, torch.float32)
    with torch.no_grad():
        module(x)
        with kernels_run(0), pytest.raises(ValueError, match=r"input: expected torch.float32 .*float64"):
            module(x.double())
        module.double()
        for autocast in (False, True):
            with (
                torch.autocast("cpu", torch.bfloat16, enabled=autocast),
                kernels_run(0),
                pytest.raises(ValueError, match=r"matmul_precision: expected 'float32' .*torch.float64"),
            ):
                module(x.double())
        module.matmul_precision = "float32"
        assert tensors_in(module(x.double()))[0].dtype is torch.float64


def in_bfloat16(module, x):
    copy.deepcopy(module).bfloat16()(x.bfloat16())


def on_meta(module, x):
    copy.deepcopy(module).to("meta")(x.to("meta"))


def in_a_dispatch_mode(module, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False):
        module(x)


def traced(module, x):
    torch.jit.trace(module, (x,))


@pytest.mark.filterwarnings("ignore::rnnfast.torch.FallbackWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "way",
    [in_bfloat16, on_meta, in_a_dispatch_mode, traced],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("kind", ["LSTM", "GRUCell"])
def test_torchs_code_does_not_run_in_its_place(kind, way):
    module = rounded_module(kind)
    x = an_input(kind, torch.float32)
    message = r"matmul_precision: expected plain tensors .*set it to 'float32' to have torch's own code run"
    with kernels_run(0), pytest.raises(TypeError, match=message):
        way(module, x)
    module.matmul_precision = "float32"
    way(module, x)


def test_wrong_inputs_are_refused_by_name():
    gru = rounded_module("GRU")
    for x, hx in (
        (torch.ones(5, 2, 2), None),
        (torch.ones(3), None),
        (torch.ones(5, 2, 3), torch.ones(1, 3, 4)),
    ):
        with kernels_run(0), pytest.raises(ValueError, match=r"(input|hx): expected"):
            gru(x, hx)


# accelerate and restore


def a_model():
    return torch.nn.ModuleDict(
        {
            "lstm": torch.nn.LSTM(3, 4),
            "cell": torch.nn.GRUCell(3, 4),
            "fast": rnnfast.torch.RNN(3, 4),
            "head": torch.nn.Linear(4, 2, dtype=torch.float64),
        }
    )


def test_accelerate_sets_it_on_what_it_swaps():
    model = a_model()
    plain = copy.deepcopy(model)
    model["patched"] = torch.nn.GRU(3, 4, dtype=torch.float64)
    model["patched"].forward = model["patched"].forward
    report = rnnfast.torch.accelerate(model, matmul_precision="bfloat16")
    assert report == (["lstm", "cell"], {"patched": "it has a forward of its own"})
    assert model["lstm"].matmul_precision == model["cell"].matmul_precision == "bfloat16"
    assert model["fast"].matmul_precision == "float32"
    assert not hasattr(model["patched"], "matmul_precision")
    x = an_input("LSTM", torch.float32)
    rounded = rounded_module("LSTM")
    rounded.load_state_dict(plain["lstm"].state_dict())
    assert torch.equal(model["lstm"](x)[0], rounded(x)[0])
    del model["patched"]
    assert rnnfast.torch.restore(model) == (["lstm", "cell", "fast"], {})
    for name in ("lstm", "cell"):
        assert type(model[name]) is type(plain[name])
        assert sorted(vars(model[name])) == sorted(vars(plain[name]))
    assert torch.equal(model["lstm"](x)[0], plain["lstm"](x)[0])
    assert rnnfast.torch.accelerate(model).swapped == ["lstm", "cell", "fast"]
    assert {model[name].matmul_precision for name in ("lstm", "cell", "fast")} == {"float32"}


def test_accelerate_swaps_nothing_where_a_module_cannot_have_it():
    model = a_model()
    model["wide"] = torch.nn.GRU(3, 4, dtype=torch.float64)
    kinds = [type(module) for module in model.modules()]
    for precision in LOWER:
        with pytest.raises(ValueError, match=r"matmul_precision: .*GRU 'wide' of torch.float64, got"):
            rnnfast.torch.accelerate(model, matmul_precision=precision)
    with pytest.raises(ValueError, match="matmul_precision: expected one of"):
        rnnfast.torch.accelerate(model, matmul_precision="half")
    with pytest.raises(ValueError, match="matmul_precision: expected one of"):
        rnnfast.torch.accelerate(torch.nn.Linear(3, 4), matmul_precision="half")
    assert [type(module) for module in model.modules()] == kinds
    assert "wide" in rnnfast.torch.accelerate(model).swapped


def test_accelerate_leaves_an_attribute_of_its_name_alone():
    lstm = torch.nn.LSTM(3, 4)
    lstm.matmul_precision = "high"  # its owner's, who means something else
    assert "matmul_precision" in rnnfast.torch.accelerate(lstm).left[""]
    assert type(lstm) is torch.nn.LSTM


# autocast


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_a_precision_of_its_own_wins(kind):
    module = rounded_module(kind)
    x, _ = an_input_and_state(kind)
    want = tensors_in(module(x))
    for lower in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", lower), kernels_run(1):
            got = tensors_in(module(x))
        assert all(torch.equal(a, b.to(a.dtype)) for a, b in zip(got, want, strict=True))
    lower = copy.deepcopy(module).bfloat16()
    module.load_state_dict(lower.state_dict())
    with torch.autocast("cpu", torch.bfloat16), kernels_run(2):
        assert all(map(torch.equal, tensors_in(lower(x)), tensors_in(module(x))))


def test_outside_of_autocast_float32_is_float32_again():
    module = rnnfast.torch.LSTM(3, 4)
    x = an_input("LSTM", torch.float32)
    single = module(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module(x)[0]
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(module(x)[0], single)
    assert torch.equal(module(x)[0], single)
    assert not torch.equal(rounded, single.bfloat16())
    assert module.matmul_precision == "float32"


# Precisions without a gradient


@pytest.fixture(params=["bfloat16", "int8"])
def forward_only(request, monkeypatch):
    """A precision that evaluates only; the rule is the same for any."""
    others = tuple(name for name in rnnfast._core.TRAINABLE if name != request.param)
    monkeypatch.setattr(rnnfast._core, "TRAINABLE", others)
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_gradient_evaluation_works(kind, forward_only):
    module = getattr(rnnfast.torch, kind)(3, 4, matmul_precision=forward_only)
    x, hx = an_input_and_state(kind)
    with torch.no_grad(), kernels_run(1):
        want = tensors_in(module(x, hx))
    with torch.inference_mode(), kernels_run(1):
        assert all(map(torch.equal, tensors_in(module(x, hx)), want))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), kernels_run(1):
        got = tensors_in(module(x, hx))
        assert all(torch.equal(a, b.to(a.dtype)) for a, b in zip(got, want, strict=True))
    module.requires_grad_(False)
    constant = tuple(part.detach() for part in hx) if isinstance(hx, tuple) else hx.detach()
    with kernels_run(1):
        assert all(map(torch.equal, tensors_in(module(x.detach(), constant)), want))


@pytest.mark.parametrize("wanted", ["input", "state", "parameter"])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_where_a_gradient_is_wanted_but_missing_nothing_is_computed(kind, autocast, wanted, forward_only):
    module = getattr(rnnfast.torch, kind)(3, 4, matmul_precision=forward_only).requires_grad_(False)
    x, hx = an_input_and_state(kind)
    for tensor in tensors_in((x, hx)):
        tensor.requires_grad_(False)
    of = {"input": x, "state": tensors_in(hx)[-1], "parameter": getattr(module, weight_of(kind))}
    of[wanted].requires_grad_()
    message = rf"matmul_precision: got '{forward_only}', which has no gradient.*torch\.no_grad\(\), or set"
    before = torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), kernels_run(0):
        with pytest.raises(ValueError, match=message):
            module(x, hx)
    assert torch.equal(torch.get_rng_state(), before)
    module.matmul_precision = "float32"
    sum(tensor.sum() for tensor in tensors_in(module(x, hx))).backward()
    assert of[wanted].grad is not None


def test_without_a_gradient_there_is_no_dropout(forward_only):
    module = rnnfast.torch.GRU(3, 4, num_layers=2, dropout=0.5, matmul_precision=forward_only)
    x = an_input("GRU", torch.float32)
    with torch.no_grad():
        with (
            kernels_run(0),
            pytest.raises(ValueError, match=r"matmul_precision: .* dropout .* call eval\(\)"),
        ):
            module(x)
        with kernels_run(2):
            module.eval()(x)


@pytest.mark.parametrize("kind", LAYERS)
def test_int8_has_the_bits_of_rnnfasts_layer(kind):
    options = {"num_layers": 2, "matmul_precision": "int8"}
    module = getattr(rnnfast.torch, kind)(3, 5, **options)
    layer = getattr(rnnfast, kind)(3, 5, **options)
    layer.load_state_dict({name: p.detach().numpy() for name, p in module.named_parameters()})
    x = an_input(kind, torch.float32)
    with torch.no_grad():
        assert torch.equal(module(x)[0], torch.from_numpy(layer(x.numpy())[0]))
