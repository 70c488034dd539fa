"""ONNX's backend interface: recurrent nodes run here, most others in ONNX's evaluator."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from rnnfast import checks
from rnnfast.files import file_name
from rnnfast.onnx.files import Model, check_model, read_model
from rnnfast.onnx.graphs import NodeError, check_node, failure_of
from rnnfast.onnx.plan import Plan, evaluator_of

__all__ = ["Prepared", "Rnnfast", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]

Array = np.ndarray


class Rnnfast(Backend):
    """The backend, for what takes a class with ONNX's names: `onnx.backend.test.BackendTest` and others."""

    @classmethod
    def prepare(
        cls,
        model: onnx.ModelProto | str | os.PathLike[str],
        device: str = "CPU",
        *,
        matmul_precision: str | None = None,
        **kwargs: Any,
    ) -> Prepared:
        """Get a model ready to run, again and again.

        Parameters
        ----------
        model : onnx.ModelProto, or the path of a file
            Of opset 7 or newer. External data needs the path.
        device : str
            ``"CPU"``.
        matmul_precision : {"float32", "bfloat16", "int8"}, optional
            Of the products of RNN, LSTM and GRU nodes, and of float32 MatMul and Gemm nodes whose second
            input is a matrix, wherever they are in the model. "bfloat16" and "int8" round the operands of
            these products, int8 with a scale for each row; all arrays keep their dtype. By default, products
            are float32, but a DynamicQuantizeLSTM multiplies in int8 with its own integers.
        **kwargs
            ONNX's interface has them; none has a meaning here.

        Returns
        -------
        Prepared

        Raises
        ------
        OSError
            The file cannot be read.
        ValueError
            The model is not valid, or has a node that cannot be run; the message names it. So does that of a
            float64 recurrent node with another `matmul_precision` than "float32".

        Examples
        --------
        >>> import os, tempfile, numpy as np, rnnfast as rf, rnnfast.onnx
        >>> gru = rf.GRU(3, 5, rng=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "gru.onnx")
        ...     rnnfast.onnx.export(gru, path)
        ...     prepared = rnnfast.onnx.prepare(path)
        >>> prepared.paths
        {'GRU': 'kernels'}
        >>> x = np.ones((7, 2, 3), np.float32)
        >>> bool((prepared.run([x])["y"] == gru(x)[0]).all())
        True
        """
        if not cls.supports_device(device):
            raise ValueError(f"device: expected 'CPU', got {device!r}")
        _check_precision(matmul_precision)
        if isinstance(model, onnx.ModelProto):
            return Prepared(check_model(model), matmul_precision)
        path = file_name(model)
        checked = read_model(path)
        try:
            return Prepared(checked, matmul_precision)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def run_model(
        cls,
        model: onnx.ModelProto | str | os.PathLike[str],
        inputs: Any,
        device: str = "CPU",
        *,
        matmul_precision: str | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Prepare a model, as `prepare` does, and run it once: `Prepared.run` says what `inputs` may be."""
        return cls.prepare(model, device, matmul_precision=matmul_precision, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        *,
        matmul_precision: str | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one node.

        Parameters
        ----------
        node : onnx.NodeProto
            Any operator that ONNX's evaluator has; RNN, LSTM and GRU run here.
        inputs : sequence or mapping of arrays
            Those that the node names, in its order, or by name.
        device : str
            ``"CPU"``.
        outputs_info
            Not needed: what the outputs are follows from the inputs.
        matmul_precision : {"float32", "bfloat16", "int8"}, optional
            As `prepare` has it.
        **kwargs
            ``opset_version``, for the check of the node: by default the newest that onnx has.

        Returns
        -------
        tuple of numpy.ndarray
            The outputs that the node names.

        Raises
        ------
        ValueError, TypeError
            The node is not valid or cannot be run, or an input does not fit.

        Examples
        --------
        >>> import numpy as np, onnx, rnnfast.onnx
        >>> node = onnx.helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=1, activations=["Relu"])
        >>> one = np.ones((1, 1, 1))
        >>> rnnfast.onnx.run_node(node, [np.ones((3, 1, 1)), one, one])[0].ravel().tolist()
        [1.0, 2.0, 3.0]
        """
        if not cls.supports_device(device):
            raise ValueError(f"device: expected 'CPU', got {device!r}")
        _check_precision(matmul_precision)
        check_node(node, {"": kwargs.get("opset_version", onnx.defs.onnx_opset_version())})
        given = _by_name(inputs, [name for name in node.input if name])
        for name, value in given.items():
            if not isinstance(value, list) or not all(isinstance(part, np.ndarray) for part in value):
                given[name] = _array(name, value)  # all but ONNX's sequences
        evaluator = evaluator_of(node, [], matmul_precision)
        try:
            values = evaluator.run([name for name in node.output if name], given)
        except (NodeError, MemoryError):
            raise
        except Exception as error:  # operators raise anything
            raise failure_of(node, list(given.values()), error) from error
        return tuple(values)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `device` is the CPU."""
        return device.split(":", 1)[0].upper() == "CPU"

    @classmethod
    def is_compatible(
        cls,
        model: onnx.ModelProto | str | os.PathLike[str],
        device: str = "CPU",
        *,
        matmul_precision: str | None = None,
        **kwargs: Any,
    ) -> bool:
        """Whether `prepare` takes the model, with this `matmul_precision`."""
        _check_precision(matmul_precision)
        try:
            cls.prepare(model, device, matmul_precision=matmul_precision, **kwargs)
        except ValueError:
            return False
        return True


class Prepared(BackendRep):
    """A model that is ready to run.

    Attributes
    ----------
    inputs, outputs : list of str
        The graph's, in order; inputs that have a default value last.
    paths : dict of str to str
        Where each recurrent node runs, by its name (by its first output's, if it has none of its own):
        ``"kernels"`` or ``"numpy"``. The logger ``rnnfast.onnx`` says so too: a node on the kernels at level
        INFO, one in NumPy, with the reason, as a WARNING.
    matmul_precision : str or None
        That of its products; None is the default of `prepare`.
    """

    def __init__(self, model: Model, matmul_precision: str | None = None) -> None:
        graph = model.graph
        given = {value.name for value in graph.input}
        self._defaults = {name: array for name, array in model.arrays.items() if name in given}
        values = sorted(graph.input, key=lambda value: value.name in self._defaults)  # sorting is stable
        self.inputs = [value.name for value in values]
        self.outputs = [value.name for value in graph.output]
        self._declared = {value.name: _Declared(value) for value in values}
        self._named = namedtupledict("Outputs", self.outputs)
        self.matmul_precision = matmul_precision
        self._plan = Plan(model, model.arrays, matmul_precision)
        self._model: Any = model if self._defaults else None  # for runs that bring values in place of them
        self._open_plan: Plan | None = None
        self.paths = self._plan.paths

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run the model.

        Parameters
        ----------
        inputs : sequence or mapping of arrays, or one array
            In the order of `inputs`, or by name. Those with a default value may be left out.

        Returns
        -------
        tuple of numpy.ndarray
            In the order of `outputs`; each can be had by its name too: ``result["y"]``.

        Raises
        ------
        TypeError, ValueError
            An input is missing, unknown, or does not fit; the message names it. Or a node cannot run on what
            it gets; the message names the node, its operator and its inputs.
        """
        given = _by_name(inputs, self.inputs, self._defaults)
        for name, value in given.items():
            given[name] = self._declared[name].checked(name, value)
        run = self._plan.run if self._defaults.keys().isdisjoint(given) else self._run_without_defaults
        return self._named(*run(given))

    def _run_without_defaults(self, given: dict[str, Any]) -> list[Any]:
        """A run that brings values in place of defaults: by a plan that takes none of them for a constant."""
        if self._open_plan is None:
            arrays = self._model.arrays.items()
            fixed = {name: array for name, array in arrays if name not in self._defaults}
            self._open_plan = Plan(self._model, fixed, self.matmul_precision)
        return self._open_plan.run({**self._defaults, **given})


class _Declared:
    """What the graph declares of one of its inputs."""

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        declared = value.type.tensor_type
        self.is_tensor = value.type.HasField("tensor_type") or not value.HasField("type")
        self.dtype: np.dtype | None = None
        if declared.elem_type:
            try:
                dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
            except KeyError:
                raise ValueError(
                    f"{value.name}: expected a dtype that ONNX has, got {declared.elem_type}"
                ) from None
            self.dtype = dtype if dtype.kind != "O" else None
        self.sizes: list[int | str] | None = None
        if declared.HasField("shape"):
            self.sizes = [
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "any"
                for dim in declared.shape.dim
            ]
        sizes = enumerate(self.sizes or ())
        self._numbers = [(axis, size) for axis, size in sizes if not isinstance(size, str)]

    def checked(self, name: str, value: Any) -> Any:
        """`value` as an array of this dtype and shape.

        What is declared as no tensor, a sequence (a list) or an optional, stays as it is.
        """
        if not self.is_tensor:
            return value
        array = _array(name, value)
        if self.dtype is not None and array.dtype != self.dtype:
            raise TypeError(f"{name}: expected dtype {self.dtype}, got {array.dtype}")
        if self.sizes is not None:
            shape = array.shape
            if len(shape) != len(self.sizes) or any(shape[axis] != size for axis, size in self._numbers):
                words = ", ".join(map(str, self.sizes))
                raise ValueError(f"{name}: expected shape [{words}], got {shape}")
        return array


def _by_name(inputs: Any, names: Sequence[str], defaults: Collection[str] = ()) -> dict[str, Any]:
    """The inputs, a mapping or in the order of `names`; all of these but what is among `defaults`."""
    if isinstance(inputs, np.ndarray):
        inputs = [inputs]
    if not isinstance(inputs, Mapping):
        if not isinstance(inputs, (list, tuple)):
            raise TypeError(f"inputs: expected arrays in order or by name, got {type(inputs).__name__}")
        if len(inputs) > len(names):
            raise ValueError(f"inputs: expected at most {len(names)} arrays, got {len(inputs)}")
        inputs = dict(zip(names, inputs, strict=False))
    if inputs.keys() == set(names):
        return dict(inputs)
    missing = [name for name in dict.fromkeys(names) if name not in inputs and name not in defaults]
    unknown = [name for name in inputs if name not in names]
    if missing or unknown:
        raise ValueError(f"inputs: expected {', '.join(names)}; missing: {missing}, unknown: {unknown}")
    return dict(inputs)


def _check_precision(precision: Any) -> None:
    if precision is not None:
        checks.precision("matmul_precision", precision, np.dtype(np.float32))


def _array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


prepare = Rnnfast.prepare
run_model = Rnnfast.run_model
run_node = Rnnfast.run_node
supports_device = Rnnfast.supports_device
is_compatible = Rnnfast.is_compatible
