"""The bridge to ONNX: its backend interface, layers from model files, model files from modules.

    import rnnfast.onnx

    prepared = rnnfast.onnx.prepare("model.onnx")
    y = prepared.run([x])["y"]                        # prepared.paths: which nodes run on the kernels
    layers = rnnfast.onnx.load_layers("model.onnx")   # its recurrent nodes, to be trained on
    rnnfast.onnx.export(model, "model.onnx")          # for onnxruntime and others

It needs the package onnx: ``pip install "rnnfast[onnx]"``.
"""

try:
    import onnx as _onnx  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise ImportError('rnnfast.onnx needs the package onnx: pip install "rnnfast[onnx]"') from error

from rnnfast.onnx.backend import (
    Prepared,
    Rnnfast,
    is_compatible,
    prepare,
    run_model,
    run_node,
    supports_device,
)
from rnnfast.onnx.export import export
from rnnfast.onnx.load import load_layers

__all__ = [
    "Prepared",
    "Rnnfast",
    "export",
    "is_compatible",
    "load_layers",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]
