"""How torch's tensors are read: the C functions of DLPack, and torch's Python where it lacks them."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from bridges.c_structs import assert_all_compared, assertions, check_assertions  # noqa: E402

from rnnfast import _core  # noqa: E402
from rnnfast.torch import tensors  # noqa: E402

STRUCTS = {  # ours, DLPack's, and the pairs of fields that must be at the same place
    "DlpackTensor": (
        "DLTensor",
        "data data, device_type device.device_type, device_id device.device_id, ndim ndim, code dtype.code, "
        "bits dtype.bits, lanes dtype.lanes, shape shape, strides strides, byte_offset byte_offset",
    ),
    "DlpackVersion": ("DLPackVersion", "major major, minor minor"),
    "DlpackOwned": (
        "DLManagedTensorVersioned",
        "version version, context manager_ctx, deleter deleter, flags flags, tensor dl_tensor",
    ),
    "DlpackFunctions": (
        "DLPackExchangeAPI",
        "version header.version, previous header.prev_api, allocate managed_tensor_allocator, "
        "own managed_tensor_from_py_object_no_sync, from_owned managed_tensor_to_py_object_no_sync, "
        "look dltensor_from_py_object_no_sync, stream current_work_stream",
    ),
}
CONSTANTS = {"DLPACK_MAJOR": "DLPACK_MAJOR_VERSION", "DLPACK_CPU": "kDLCPU", "DLPACK_FLOAT": "kDLFloat"}
FUNCTIONS = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
needs_functions = pytest.mark.skipif(FUNCTIONS is None, reason="torch before 2.10")
READERS = [pytest.param("C", marks=needs_functions), "Python"]


@pytest.fixture(params=READERS)
def reader(request):
    """Both readers, of which torch's version chooses one."""
    slow = tensors.PythonReader()
    return slow if request.param == "Python" else _core.TensorReader(FUNCTIONS, tensors.PLAIN, slow.array)


@needs_functions
def test_the_structs_are_those_of_the_installed_torch(tmp_path):
    header = Path(torch.__file__).parent / "include" / "ATen" / "dlpack.h"
    check_assertions(tmp_path, [str(header), "dlpack.h"], assertions(STRUCTS, CONSTANTS))


def test_every_field_of_ours_is_compared():
    assert_all_compared("dlpack.h", STRUCTS)


@needs_functions
def test_this_torch_is_read_by_its_c_functions():
    assert isinstance(tensors.array_of.__self__, _core.TensorReader)


@needs_functions
def test_functions_of_another_dlpack_are_refused():
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        _core.TensorReader(_core._C_API, tensors.PLAIN, None)


class Tensor(ctypes.Structure):
    """A DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Owned(ctypes.Structure):
    """A DLManagedTensorVersioned."""

    _fields_ = (
        ("version", ctypes.c_uint32 * 2),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


OWN = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(ctypes.c_void_p))
LOOK = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(Tensor))


class Functions(ctypes.Structure):
    """A DLPackExchangeAPI."""

    _fields_ = (
        ("version", ctypes.c_uint32 * 2),
        ("previous", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("own", OWN),
        ("from_owned", ctypes.c_void_p),
        ("look", LOOK),
        ("stream", ctypes.c_void_p),
    )


DELETER = dict(Owned._fields_)["deleter"]
OWNED = []  # for good: an array may outlive a test that failed


class Foreign:
    """A tensor that is not torch's: 2 by 3 numbers of float32, and what is special in its DLTensor."""

    def __init__(self, **special):
        self.memory = (ctypes.c_float * 8)(*range(8))
        self.sizes = (ctypes.c_int64 * 5)(2, 3, 1, 1, 1), (ctypes.c_int64 * 5)(3, 1, 0, 77, 1)
        self.fields = {
            "data": ctypes.addressof(self.memory),
            "device": (1, 0),
            "ndim": 2,
            "code": 2,
            "bits": 32,
        }
        self.fields |= {
            "lanes": 1,
            "shape": self.sizes[0],
            "strides": self.sizes[1],
            "byte_offset": 0,
        } | special
        self.freed = 0

    def is_neg(self):
        return False

    def fill(self, found):
        for name, value in self.fields.items():
            setattr(found, name, value)


@pytest.fixture
def functions():
    """The functions of a library whose tensors are `Foreign`."""

    def own(tensor, place):
        owned = Owned(deleter=DELETER(lambda _: setattr(tensor, "freed", tensor.freed + 1)))
        tensor.fill(owned.tensor)
        OWNED.append(owned)
        place[0] = ctypes.addressof(owned)
        return 0

    def look(tensor, found):
        tensor.fill(found[0])
        return 0

    return Functions((1, 0), None, None, OWN(own), None, LOOK(look), None)


def reader_of(functions):
    """A reader of `Foreign`, with None for the array of a tensor that it does not read."""
    new = ctypes.pythonapi.PyCapsule_New
    new.argtypes, new.restype = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p), ctypes.py_object
    capsule = new(ctypes.addressof(functions), b"dlpack_exchange_api", None)
    return _core.TensorReader(capsule, frozenset({Foreign}), lambda _: None)


def test_a_foreign_tensor_is_read_and_let_go_of_once(functions):
    reader, tensor, later = reader_of(functions), Foreign(), Foreign(byte_offset=8)
    array = reader.array(tensor)
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert reader.array(later).tolist() == [[2, 3, 4], [5, 6, 7]]
    assert reader.array(Foreign(ndim=4)).shape == (2, 3, 1, 1)
    assert tensor.freed == 0
    assert later.freed == 1
    part = array[1:]
    del array
    assert tensor.freed == 0
    del part
    assert tensor.freed == 1
    assert reader.forms([tensor]) == reader.forms([tensor])
    assert reader.forms([Foreign(data=tensor.fields["data"], byte_offset=4)]) != reader.forms([tensor])
    assert reader.shapes([later]) == reader.shapes([tensor])
    assert tensor.freed == 1


NOT_READ = {
    "row-major by NULL": {"strides": None},
    "five axes": {"ndim": 5},
    "on another device": {"device": (2, 0)},
    "integers": {"code": 0},
    "half": {"bits": 16},
    "vectors": {"lanes": 4},
    "without memory": {"data": None},
}


@pytest.mark.parametrize("name", NOT_READ)
def test_other_foreign_tensors_are_not_read(functions, name):
    reader, tensor = reader_of(functions), Foreign(**NOT_READ[name])
    assert reader.array(tensor) is reader.forms([tensor]) is reader.shapes([tensor]) is None
    assert tensor.freed == 0


def test_functions_for_an_older_dlpack_are_found_and_others_refused(functions):
    newer = Functions((2, 0), ctypes.addressof(functions), None, OWN(), None, LOOK(), None)
    assert reader_of(newer).array(Foreign()).tolist() == [[0, 1, 2], [3, 4, 5]]
    functions.version[0] = 0
    with pytest.raises(BufferError, match="expected the functions of DLPack 1"):
        reader_of(newer)
    with pytest.raises(BufferError, match="expected the functions of DLPack 1"):
        reader_of(Functions((1, 0), None, None, functions.own, None, LOOK(), None))


def of_several_forms() -> dict[str, torch.Tensor]:
    """Tensors that are read, by what is special about each."""
    base = torch.randn(3, 4, 5)
    return {
        "plain": base,
        "double": base.double(),
        "transposed": base.transpose(0, 2),
        "every other": base[:, ::2, 1:4:2],
        "expanded": torch.randn(4, 1).expand(4, 6),
        "a number": torch.tensor(1.5),
        "nothing": torch.empty(0, 3),
        "a parameter": torch.nn.Parameter(torch.randn(2, 3)),
        "wants a gradient": torch.randn(2, 3, requires_grad=True) * 2,
        "in the middle": base[1:, 2:],
        "five axes": torch.randn(1, 2, 1, 3, 2),
        "negated later": torch.randn(3, 2, dtype=torch.complex64).conj().imag,
    }


@pytest.mark.parametrize("name", of_several_forms())
def test_an_array_is_the_tensors_memory(reader, name):
    tensor = of_several_forms()[name]
    array = reader.array(tensor)
    assert np.array_equal(array, tensor.detach().resolve_neg().numpy())
    assert array.dtype == tensor.detach().resolve_neg().numpy().dtype
    assert array.flags.aligned
    assert not (array.size and array.flags.writeable)
    if name != "negated later" and array.size:
        assert array.__array_interface__["data"][0] == tensor.data_ptr()


def test_an_array_keeps_the_memory(reader):
    tensor = torch.full((1000,), 7.0)
    array = reader.array(tensor)
    del tensor
    gc.collect()
    others = [torch.full((1000,), 8.0) for _ in range(10)]
    assert (array == 7).all(), len(others)


def test_tensors_of_other_dtypes_are_read_too(reader):
    assert reader.array(torch.arange(4)).tolist() == [0, 1, 2, 3]
    assert reader.array(torch.ones(2, dtype=torch.float16)).dtype == np.float16
    assert reader.array(None) is None


def test_forms_differ_where_memory_or_its_meaning_does(reader):
    a = torch.randn(4, 4)
    same = a.detach()
    assert reader.forms([a]) == reader.forms([same]) is not None
    others = [a.clone(), a.T, a[:2], a[:, :2], a.view(16), a.view(2, 8), a[1:], a.view(torch.float64), None]
    for other in others:
        assert reader.forms([a]) != reader.forms([other]), other
    assert reader.forms([a, None]) != reader.forms([None, a])
    assert reader.forms([]) == reader.forms([])


def test_shapes_differ_where_dtypes_or_shapes_do(reader):
    a = torch.randn(4, 4)
    for same in (a.clone(), a.T, torch.nn.Parameter(a)):
        assert reader.shapes([a, None]) == reader.shapes([same, None]) is not None
    for other in (a.double(), a[:2], a.view(16), a[None], None):
        assert reader.shapes([a]) != reader.shapes([other]), other


class Subclass(torch.Tensor):
    """A tensor with another meaning."""


def not_read() -> dict[str, object]:
    """Tensors that are no plain floats on the CPU."""
    x = torch.randn(2, 3)
    return {
        "integers": torch.arange(3),
        "half": x.half(),
        "bfloat16": x.bfloat16(),
        "complex": x.to(torch.complex64),
        "negated later": torch.randn(3, dtype=torch.complex64).conj().imag,
        "sparse": x.to_sparse(),
        "without memory": x.to("meta"),
        "a subclass": x.as_subclass(Subclass),
        "quantized": torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        "zeros without memory": torch._efficientzerotensor((2, 3)),
        "no tensor": 3,
        "an array": x.numpy(),
    }


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
@pytest.mark.parametrize("name", not_read())
def test_others_have_no_form(reader, name):
    other = not_read()[name]
    assert reader.forms([torch.ones(2), other]) is None
    assert reader.shapes([torch.ones(2), other]) is None


def test_zeros_without_memory_have_no_array(reader):
    with pytest.raises(RuntimeError, match="expected a tensor with memory"):
        reader.array(torch._efficientzerotensor((2, 3)))


def test_tensors_within_transforms_have_no_form(reader):
    found = []

    def look(x):
        found.append((reader.forms([x]), reader.shapes([x])))
        return x.sum()

    torch.func.vmap(look)(torch.ones(2, 3))
    torch.func.grad(look)(torch.ones(3))
    assert found == [(None, None)] * 2


WITHOUT = """
import torch
del torch.Tensor.__dlpack_c_exchange_api__
import rnnfast.torch
from rnnfast.torch import tensors
assert isinstance(tensors.array_of.__self__, tensors.PythonReader)
torch.manual_seed(0)
plain, x = torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)
fast = rnnfast.torch.LSTM(3, 4)
fast.load_state_dict(plain.state_dict())
for _ in range(3):  # the third call is one whose arguments are known to be right
    for module in plain, fast:
        module.zero_grad()
        module(x)[0].square().sum().backward()
    for p, q in zip(plain.parameters(), fast.parameters()):
        assert torch.allclose(p.grad, q.grad, atol=1e-5)
        p.data.mul_(0.9), q.data.mul_(0.9)
with torch.no_grad():
    assert torch.allclose(plain(x)[0], fast(x)[0], atol=1e-6)
"""


@needs_functions
def test_a_torch_without_the_functions_trains_as_well():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
