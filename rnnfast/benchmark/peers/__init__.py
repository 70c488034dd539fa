"""The layer as users of other libraries run it; each library is imported when its contender is made."""

from rnnfast.benchmark.peers.jax import Jax
from rnnfast.benchmark.peers.onnxruntime import OnnxRuntime
from rnnfast.benchmark.peers.openvino import OpenVino
from rnnfast.benchmark.peers.torch import Torch

__all__ = ["PEERS"]

PEERS = (Torch, OnnxRuntime, OpenVino, Jax)
