"""Calls of `rnnfast.torch` after calls that were right: nothing is taken as known that has changed since."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import pytest

torch = pytest.importorskip("torch")
from bridges.torch_models import KINDS, LAYERS, an_input, kernels_run, state_of, tensors_in, twins  # noqa: E402

import rnnfast.torch  # noqa: E402


def called(module, *arguments):
    """The results of a call, or the error."""
    try:
        return [tensor.detach() for tensor in tensors_in(module(*arguments))]
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        return type(error), str(error)


def assert_like_a_first_call(module, *arguments):
    """A call gives what a copy of the module gives, which has not been called."""
    want, got = called(copy.deepcopy(module), *arguments), called(module, *arguments)
    if isinstance(want, tuple):
        assert got == want
    else:
        assert len(got) == len(want)
        assert all(map(torch.equal, got, want)), (got, want)
    return want


def used(kind, **options):
    """A module after calls that were right, and the arguments of these."""
    module = getattr(rnnfast.torch, kind)(3, 4, **options)
    parts = state_of(module, 2)
    arguments = an_input(kind, torch.float32), tuple(parts) if len(parts) > 1 else parts[0]
    for _ in range(3):
        module(*arguments)
        with torch.no_grad():
            module(*arguments)
    return module, *arguments


FORMS = {
    "narrow": lambda tensor: tensor[..., :-1],
    "another batch": lambda tensor: tensor[..., :1, :],
    "no batch": lambda tensor: tensor[..., :0, :],
    "one axis more": lambda tensor: tensor[None],
    "one axis less": lambda tensor: tensor[0],
    "five axes": lambda tensor: tensor.reshape(*[1] * (5 - tensor.dim()), *tensor.shape),
    "float64": torch.Tensor.double,
    "integers": torch.Tensor.int,
    "no memory": lambda tensor: tensor.to("meta"),
    "sparse": torch.Tensor.to_sparse,
    "negated later": lambda tensor: torch.complex(tensor, tensor).conj().imag,
    "repeated": lambda tensor: tensor[..., :1].expand(tensor.shape),
    "no tensor": torch.Tensor.tolist,
}


@pytest.mark.filterwarnings("ignore::rnnfast.torch.FallbackWarning")
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_other_arguments_after_right_calls(kind, name):
    module, x, hx = used(kind)
    form = FORMS[name]
    each = tuple(map(form, hx)) if isinstance(hx, tuple) else form(hx)
    last = (*hx[:-1], form(hx[-1])) if isinstance(hx, tuple) else form(hx)
    for arguments in ((form(x),), (form(x), hx), (x, each), (x, last), (form(x), each), (x,), (x, hx)):
        assert_like_a_first_call(module, *arguments)


OPTIONS = [
    ("batch_first", True),
    ("proj_size", 2),
    ("hidden_size", 5),
    ("input_size", 2),
    ("num_layers", 2),
    ("bidirectional", True),
    ("bias", False),
    ("matmul_precision", "bfloat16"),
]


@pytest.mark.parametrize(("option", "value"), OPTIONS)
@pytest.mark.parametrize("kind", LAYERS)
def test_another_option_after_right_calls(kind, option, value):
    module, x, hx = used(kind)
    setattr(module, option, value)
    want = assert_like_a_first_call(module, x, hx)
    assert option == "matmul_precision" or isinstance(want, tuple)  # the arguments or the weights do not fit


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_an_option_deleted_after_right_calls(kind):
    module, x, hx = used(kind, cell_clip=0.01)
    clipped = called(module, x, hx)
    del module.cell_clip  # the class's default is None
    assert not torch.equal(assert_like_a_first_call(module, x, hx)[0], clipped[0])


def test_another_modules_state_after_right_calls():
    module, x, _ = used("GRU")
    other = torch.nn.GRU(3, 6)
    module.__setstate__(other.__getstate__())
    with kernels_run(1), torch.no_grad():
        assert torch.allclose(module(x)[0], other(x)[0], atol=1e-6)


def test_threads_with_other_shapes_share_a_module():
    module, *_ = used("LSTM")
    inputs = [torch.randn(T, 2, 3) for T in range(2, 6)]
    wanted = [called(module, x) for x in inputs]
    wrong = []

    def call(x, want):
        for n in range(50):
            if not all(map(torch.equal, called(module, x), want)):
                wrong.append(x)
            if called(module, x[..., :2])[0] is not RuntimeError:
                wrong.append("no error")
            if n % 10 == 0:
                module.hidden_size = 4  # forgets what is known

    threads = [threading.Thread(target=call, args=pair) for pair in zip(inputs, wanted, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# What a module that was called holds


@pytest.mark.parametrize("kind", KINDS)
def test_torch_can_swap_weights_that_were_read(kind):
    plain, module = twins(kind, 3, 4, dtype=torch.float32)
    x = an_input(kind, torch.float32)
    module(x)
    weights = list(module.parameters())
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        module.double()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert all(map(lambda a, b: a is b, module.parameters(), weights))
    got, want = tensors_in(module(x.double()))[0], tensors_in(plain.double()(x.double()))[0]
    assert torch.allclose(got, want, atol=1e-12)


def test_a_module_does_not_hold_the_graph_of_its_last_weights():
    module, x, _ = used("GRU")
    held = []

    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            ctx.large = threading.Event()
            held.append(weakref.ref(ctx.large))
            return 2 * weight

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    def call():
        weights = {name: Made.apply(weight) for name, weight in module.named_parameters()}
        torch.func.functional_call(module, weights, (x,))[0].sum().backward()

    call()
    gc.collect()
    assert held
    assert not any(reference() for reference in held)


def test_a_hook_that_knows_its_module_does_not_keep_it():
    module, x, _ = used("GRU")
    module.weight_ih_l0.register_hook(lambda gradient, module=module: None)
    module(x)[0].sum().backward()
    reference = weakref.ref(module)
    del module
    gc.collect()
    assert reference() is None


# Tensors that have no memory


def freed(shape):
    tensor = torch.randn(shape)
    tensor.untyped_storage().resize_(0)
    return tensor


@pytest.mark.parametrize("empty", [freed, torch._efficientzerotensor])
@pytest.mark.parametrize("kind", ["GRU", "GRUCell"])
def test_tensors_without_memory_are_refused(kind, empty):
    module, x, h = used(kind)
    for _ in range(2):
        for arguments in ((empty(x.shape), h), (x, empty(h.shape))):
            with pytest.raises(RuntimeError, match="expected a tensor with memory"):
                module(*arguments)
    y = tensors_in(module(x, h))[0]
    with pytest.raises(RuntimeError, match="expected a tensor with memory"):
        y.backward(empty(y.shape))
    next(module.parameters()).untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="expected a tensor with memory"):
        module(x, h)
