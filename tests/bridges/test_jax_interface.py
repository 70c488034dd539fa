"""The interface between XLA and rnnfast: both headers agree, and calls that do not fit are refused."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from bridges.c_structs import assert_all_compared, assertions, check_assertions, compile_c
from bridges.jax_programs import jax
from helpers.arrays import normal

import rnnfast as rf
from rnnfast import _core
from rnnfast.jax import calls

STRUCTS = {  # ours, XLA's, and the pairs of fields that must be at the same place
    "XlaExtension": ("XLA_FFI_Extension_Base", "size struct_size, type type, next next"),
    "XlaVersion": (
        "XLA_FFI_Api_Version",
        "size struct_size, extension extension_start, major major_version, minor minor_version",
    ),
    "XlaMetadata": ("XLA_FFI_Metadata", "size struct_size, version api_version, traits traits"),
    "XlaMetadataRequest": ("XLA_FFI_Metadata_Extension", "base extension_base, metadata metadata"),
    "XlaErrorArguments": (
        "XLA_FFI_Error_Create_Args",
        "size struct_size, extension extension_start, message message, code errc",
    ),
    "XlaFunctions": (
        "XLA_FFI_Api",
        "size struct_size, extension extension_start, version api_version, internal internal_api, "
        "create_error XLA_FFI_Error_Create",
    ),
    "XlaBuffer": (
        "XLA_FFI_Buffer",
        "size struct_size, extension extension_start, dtype dtype, data data, rank rank, dims dims",
    ),
    "XlaBuffers": (
        "XLA_FFI_Args",
        "size struct_size, extension extension_start, count size, types types, buffers args",
    ),
    "XlaBuffers ": ("XLA_FFI_Rets", "size struct_size, count size, types types, buffers rets"),
    "XlaName": ("XLA_FFI_ByteSpan", "text ptr, length len"),
    "XlaScalar": ("XLA_FFI_Scalar", "dtype dtype, value value"),
    "XlaAttributes": (
        "XLA_FFI_Attrs",
        "size struct_size, extension extension_start, count size, types types, names names, values attrs",
    ),
    "XlaCall": (
        "XLA_FFI_CallFrame",
        "size struct_size, extension extension_start, functions api, context ctx, stage stage, "
        "arguments args, results rets, attributes attrs",
    ),
}
GROWN = {"XlaMetadata", "XlaFunctions", "XlaCall"}  # XLA's has further fields, which are not used
CONSTANTS = {
    "XLA_MAJOR": "XLA_FFI_API_MAJOR",
    "XLA_METADATA": "XLA_FFI_Extension_Metadata",
    "XLA_SCALAR": "XLA_FFI_AttrType_SCALAR",
    "XLA_BOOL": "XLA_FFI_DataType_PRED",
    "XLA_S32": "XLA_FFI_DataType_S32",
    "XLA_S64": "XLA_FFI_DataType_S64",
    "XLA_F32": "XLA_FFI_DataType_F32",
    "XLA_F64": "XLA_FFI_DataType_F64",
    "XLA_INVALID_ARGUMENT": "XLA_FFI_Error_Code_INVALID_ARGUMENT",
    "XLA_OUT_OF_MEMORY": "XLA_FFI_Error_Code_RESOURCE_EXHAUSTED",
    "XLA_UNIMPLEMENTED": "XLA_FFI_Error_Code_UNIMPLEMENTED",
}


INCLUDE = f"-I{jax.ffi.include_dir()}"


def test_the_structs_are_those_of_the_installed_jaxlib(tmp_path):
    lines = assertions(STRUCTS, CONSTANTS, GROWN)
    lines.append("sizeof(XlaCall) <= XLA_FFI_CallFrame_STRUCT_SIZE")  # what a handler checks
    check_assertions(tmp_path, ["xla/ffi/api/c_api.h", "xla.h"], lines, INCLUDE)


def test_every_field_of_ours_is_compared():
    assert_all_compared("xla.h", STRUCTS)


CALLER = """
#include <stdio.h>
#include "xla.h"

static char text[512];

static void *create_error(XlaErrorArguments *arguments)
{
    snprintf(text, sizeof text, "%d %s", arguments->code, arguments->message);
    return text;
}

/* The error of a call of this size, from an XLA of this major version; "" for none. */
const char *error_of(void *(*handler)(XlaCall *), int major, size_t size)
{
    XlaFunctions functions = {.create_error = create_error, .version = {.major = major, .minor = 7}};
    XlaCall call = {.size = size, .functions = &functions};
    return handler(&call) ? text : "";
}

/* The minor version that a handler tells. */
int minor_of(void *(*handler)(XlaCall *))
{
    XlaMetadata metadata = {0};
    XlaMetadataRequest request = {{sizeof request, XLA_METADATA, NULL}, &metadata};
    XlaCall call = {.size = sizeof call, .extension = &request.base};
    return handler(&call) || metadata.version.major ? -1 : metadata.version.minor;
}
"""


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A library that calls handlers as an XLA of another version would."""
    folder = tmp_path_factory.mktemp("caller")
    (folder / "caller.c").write_text(CALLER)
    compile_c(folder / "caller.c", INCLUDE, "-shared", "-fPIC", "-o", str(folder / "caller.so"))
    library = ctypes.CDLL(str(folder / "caller.so"))
    library.error_of.restype = ctypes.c_char_p
    library.error_of.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.minor_of.argtypes = (ctypes.c_void_p,)
    return library


def addresses(minor: int) -> list[int]:
    """Both handlers, for an XLA of this minor version."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return [pointer(capsule, None) for capsule in _core.xla_handlers(minor).values()]


@pytest.mark.parametrize(("major", "size", "got"), [(1, 500, "1.7 and 500"), (0, 80, "0.7 and 80")])
def test_an_xla_of_another_version_gets_an_error(caller, major, size, got):
    for handler in addresses(calls.minor_version()):
        message = caller.error_of(handler, major, size).decode()
        assert message.startswith("12 rnnfast: expected version 0.x of XLA's interface")
        assert f"got version {got} bytes; install another jaxlib" in message


def test_handlers_tell_the_version_of_the_installed_jaxlib_or_the_newest_they_know(caller):
    for minor, told in ((1, 1), (2, 2), (99, 3), (calls.minor_version(), min(3, calls.minor_version()))):
        assert [caller.minor_of(handler) for handler in addresses(minor)] == [told] * 2


def forward_call(operands=None, attributes=None, results=None):
    """Run the forward handler of a small LSTM, with other operands, attributes or results."""
    params = rf.LSTM(3, 4, rng=1).state_dict()
    given = (normal(5, 2, 3), *params.values())
    what = calls.Pass(
        layer="lstm",
        options=(("coupled_gates", False), ("layer_norm", False)),
        weights=tuple(name.removesuffix("_l0") for name in params),
        state=False,
        lengths=False,
        reset=False,
        nonlinearity="tanh",
        cell_clip=float("inf"),
        reverse=False,
        precision="float32",
        batch_first=False,
    )
    attributes = {**what.attributes(given), "save": np.int64(0), **(attributes or {})}
    attributes = {name: value for name, value in attributes.items() if value is not None}
    results = calls.forward_results(what, given, False) if results is None else results
    call = jax.ffi.ffi_call("rnnfast_forward", results)
    return jax.block_until_ready(
        jax.jit(lambda *arrays: call(*arrays, **attributes))(*(given if operands is None else operands))
    )


PARAMS = tuple(rf.LSTM(3, 4, rng=1).state_dict().values())
X = normal(5, 2, 3)
Y, STATE = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((5, 2, 4), (2, 4)))
UNFIT = [  # what the error says, and what the call has in place of what it should have
    ("x: expected a float32 or float64 array", {"operands": (X[0], *PARAMS)}),
    ("x: expected a float32 or float64 array", {"operands": (X.astype(np.float16), *PARAMS)}),
    ("x: expected a float32 or float64 array", {"operands": (X[:, :, :0], *PARAMS)}),
    (
        "weight_hh: expected 64 entries of XLA's dtype 11, got 63",
        {"operands": (X, PARAMS[0], np.zeros(63, np.float32), *PARAMS[2:])},
    ),
    ("bias_hh: expected a buffer, got only 4 of them", {"operands": (X, *PARAMS[:-1])}),
    ("arguments: expected 5, got 6", {"operands": (X, *PARAMS, X)}),
    ("y: expected 40 entries of XLA's dtype 11, got 8", {"results": (STATE, STATE, STATE)}),
    ("results: expected 3, got 4", {"results": (Y, STATE, STATE, STATE)}),
    (
        "final state: expected 8 entries of XLA's dtype 11, got 8 of 4",
        {"results": (Y, STATE, jax.ShapeDtypeStruct((2, 4), np.int32))},
    ),
    ("attribute cell: expected a scalar", {"attributes": {"cell": None}}),
    ("attribute cell: expected a scalar", {"attributes": {"cell": np.float64(1)}}),
    (r"attribute cell: expected 0 to \d+, got 99", {"attributes": {"cell": np.int64(99)}}),
    ("attribute hidden_size: expected 1 to", {"attributes": {"hidden_size": np.int64(0)}}),
    ("weight_ih: expected 60 entries", {"attributes": {"hidden_size": np.int64(5)}}),
    ("attribute weights: expected those of the cell, got 2", {"attributes": {"weights": np.int64(2)}}),
    (
        "attribute precision: expected one that",
        {"attributes": {"precision": np.int64(_core.PRECISIONS["int8"] - 2)}},
    ),
    (
        "products in int8 have no gradient",
        {
            "attributes": {"precision": np.int64(_core.PRECISIONS["int8"]), "save": np.int64(1)},
            "results": (Y, STATE, STATE, *(jax.ShapeDtypeStruct((n,), np.float32) for n in (160, 40))),
        },
    ),
]


@pytest.mark.parametrize(("match", "wrong"), UNFIT)
def test_a_handler_refuses_what_does_not_fit(match, wrong):
    """A program that rnnfast.jax did not write gets an error, not a read outside its buffers."""
    forward_call()
    before = _core.runs_so_far()
    with pytest.raises((ValueError, RuntimeError), match=match):
        forward_call(**wrong)
    assert _core.runs_so_far() == before


def test_a_backward_call_without_the_memory_of_its_tape_is_refused():
    params = rf.GRU(3, 4, rng=1).state_dict()
    x = normal(5, 2, 3)
    what = calls.Pass(
        "gru", (), tuple(n.removesuffix("_l0") for n in params), False, False, False, "tanh", float("inf"),
        False, "float32", False,
    )  # fmt: skip
    operands = (x, *params.values())
    shapes = [(160,), (2, 4)]
    call = jax.ffi.ffi_call("rnnfast_backward", [jax.ShapeDtypeStruct(s, np.float32) for s in shapes])
    attributes = {name: np.int64(0) for name in calls.Wanted._fields} | what.attributes(operands)
    y, gates = np.zeros((5, 2, 4), np.float32), np.zeros(160, np.float32)
    with pytest.raises(
        jax.errors.JaxRuntimeError, match="gates: expected an argument that shares the memory"
    ):
        jax.block_until_ready(jax.jit(lambda *a: call(*a, **attributes))(*operands, gates, y))
