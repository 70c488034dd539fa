"""Training: one loss and its gradients, the training loop, checkpoints. It builds on the layers."""

from rnnfast.training.bptt import truncated_bptt
from rnnfast.training.checkpoint import load, model_arrays, read_checkpoint, save, write_checkpoint
from rnnfast.training.evaluation import evaluate
from rnnfast.training.fit import fit
from rnnfast.training.grad import loss_and_grad
from rnnfast.training.gradcheck import check_gradients
from rnnfast.training.history import History
from rnnfast.training.probe import probe
from rnnfast.training.quantization import ModuleDifference, quantization_error
from rnnfast.training.run import Run
from rnnfast.training.sweep import Sweep, SweepRow, sweep

__all__ = [
    "History",
    "ModuleDifference",
    "Run",
    "Sweep",
    "SweepRow",
    "check_gradients",
    "evaluate",
    "fit",
    "load",
    "loss_and_grad",
    "model_arrays",
    "probe",
    "quantization_error",
    "read_checkpoint",
    "save",
    "sweep",
    "truncated_bptt",
    "write_checkpoint",
]
