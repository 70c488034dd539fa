"""ONNX's backend interface: RNN, LSTM and GRU nodes run here, what stands around them in ONNX's evaluator."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict
from onnx.reference import ReferenceEvaluator

from rnnfast.onnx.files import LARGEST, check_model, read_model
from rnnfast.onnx.loops import Loop, Operator, Scan
from rnnfast.onnx.node import OPERATORS, name_of, names_of, read_node
from rnnfast.onnx.recurrence import Recurrence
from rnnfast.onnx.weights import Weights

Array = np.ndarray
_log = logging.getLogger("rnnfast.onnx")


class Rnnfast(Backend):
    """The backend, for what takes a class with ONNX's names: `onnx.backend.test.BackendTest` and others."""

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto | str | os.PathLike[str], device: str = "CPU", **kwargs: Any
    ) -> Prepared:
        """Get a model ready to run, again and again.

        Parameters
        ----------
        model : onnx.ModelProto, or the path of a file
            Of opset 7 or newer. External data needs the path.
        device : str
            ``"CPU"``.
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
            The model is not valid, or has a node that cannot be run; the message names it.

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
        if isinstance(model, onnx.ModelProto):
            return Prepared(check_model(model))
        checked = read_model(model)
        try:
            return Prepared(checked)
        except ValueError as error:
            raise ValueError(f"{os.fspath(model)}: {error}") from error

    @classmethod
    def run_model(
        cls,
        model: onnx.ModelProto | str | os.PathLike[str],
        inputs: Any,
        device: str = "CPU",
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Prepare a model and run it once: `Prepared.run` says what `inputs` may be."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
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
        try:
            super().run_node(node, inputs, device, outputs_info, **kwargs)
        except onnx.checker.ValidationError as error:
            raise ValueError(f"node {name_of(node)}: {error}") from error
        given = _by_name(inputs, [name for name in node.input if name])
        for name, value in given.items():
            if not isinstance(value, list) or not all(isinstance(part, np.ndarray) for part in value):
                given[name] = _array(name, value)  # all but ONNX's sequences
        evaluator = _evaluator(node, [])
        values = evaluator.run([name for name in node.output if name], given)
        return tuple(values)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `device` is the CPU."""
        return device.split(":", 1)[0].upper() == "CPU"

    @classmethod
    def is_compatible(
        cls, model: onnx.ModelProto | str | os.PathLike[str], device: str = "CPU", **kwargs: Any
    ) -> bool:
        """Whether `prepare` takes the model."""
        try:
            cls.prepare(model, device, **kwargs)
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
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        defaults = {initializer.name for initializer in graph.initializer}
        values = sorted(graph.input, key=lambda value: value.name in defaults)  # sorting is stable
        self.inputs = [value.name for value in values]
        self.outputs = [value.name for value in graph.output]
        self._types = {value.name: value.type for value in values}
        self._named = namedtupledict("Outputs", self.outputs)
        self._defaults = frozenset(defaults)
        recurrent: list[_Recurrent] = []
        self._evaluator = _evaluator(model, recurrent)
        fixed = {name: self._evaluator.rt_inits_[name] for name in defaults - set(self.inputs)}
        size = 0
        for operator in recurrent:
            size += operator.fix_weights(fixed)
            if size > LARGEST:  # nodes may share an array, but not what is made of it
                raise ValueError(f"model: expected at most {LARGEST} bytes of weights, got more")
        names = names_of([operator.onnx_node for operator in recurrent])
        paths = [operator.recurrence.path for operator in recurrent]
        self.paths = dict(zip(names, paths, strict=True))

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
            An input is missing, unknown, or does not fit; the message names it. What the operators around the
            recurrent ones raise comes from ONNX's evaluator as it is.
        """
        given = _by_name(inputs, self.inputs, self._defaults)
        given = {name: self._checked(name, value) for name, value in given.items()}
        results = self._evaluator.run(self.outputs, given)
        return self._named(*results)

    def _checked(self, name: str, value: Any) -> Any:
        """`value` as an array, of the dtype and shape that the graph declares for this input.

        What is declared as no tensor, a sequence (a list) or an optional, goes to the evaluator as it is.
        """
        if not self._types[name].HasField("tensor_type"):
            return value
        declared = self._types[name].tensor_type
        array = _array(name, value)
        if declared.elem_type:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
            if array.dtype != dtype and dtype.kind != "O":
                raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
        if declared.HasField("shape"):
            sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in declared.shape.dim]
            fits = len(sizes) == array.ndim and all(
                size in (None, got) for size, got in zip(sizes, array.shape, strict=True)
            )
            if not fits:
                words = ", ".join(
                    str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "any"
                    for dim in declared.shape.dim
                )
                raise ValueError(f"{name}: expected shape [{words}], got {array.shape}")
        return array


class _Recurrent(Operator):
    """A recurrent node in ONNX's evaluator; `made` collects those of one model."""

    made: list[_Recurrent]

    def __init__(self, onnx_node: onnx.NodeProto, run_params: dict[str, Any]) -> None:
        self.recurrence = Recurrence(read_node(onnx_node))  # first, as it names what is wrong
        super().__init__(onnx_node, run_params)
        self.made.append(self)
        missing = self.recurrence.node.without_kernel
        if missing is None:
            _log.info("node %s: on the kernels", name_of(onnx_node))
        else:
            _log.warning("node %s: in NumPy, as no kernel has %s", name_of(onnx_node), missing)

    def fix_weights(self, fixed: Mapping[str, Array]) -> int:
        """Make the weights ready if all of them are among arrays that no run changes; how many bytes."""
        named = dict(zip(self._inputs(), self.onnx_node.input, strict=False))
        names = {key: named[key] for key in Weights._fields if named.get(key)}
        if not fixed.keys() >= set(names.values()):
            return 0
        weights = Weights(**{key: fixed[name] for key, name in names.items()})
        try:
            self.recurrence = Recurrence(self.recurrence.node, weights)
        except (TypeError, ValueError) as error:
            raise self.error(error) from error
        return weights.nbytes

    def _inputs(self) -> tuple[str, ...]:
        return _INPUTS[self.op_type]

    def _run(self, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        try:
            named: dict[str, Any] = dict(zip(self._inputs(), inputs, strict=False))
            return self.recurrence(**named)
        except (TypeError, ValueError) as error:
            raise self.error(error) from error


_INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}


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
    missing = [name for name in dict.fromkeys(names) if name not in inputs and name not in defaults]
    unknown = [name for name in inputs if name not in names]
    if missing or unknown:
        raise ValueError(f"inputs: expected {', '.join(names)}; missing: {missing}, unknown: {unknown}")
    return dict(inputs)


def _array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _evaluator(proto: onnx.ModelProto | onnx.NodeProto, made: list[_Recurrent]) -> ReferenceEvaluator:
    """ONNX's evaluator of `proto`, with operators of ours; the recurrent ones are put into `made`."""
    recurrent = [type(name, (_Recurrent,), {"made": made}) for name in OPERATORS]
    try:
        return ReferenceEvaluator(proto, new_ops=[*recurrent, Loop, Scan])
    except (
        AttributeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(f"model: {str(error).split(chr(10), 1)[0]}") from error


prepare = Rnnfast.prepare
run_model = Rnnfast.run_model
run_node = Rnnfast.run_node
supports_device = Rnnfast.supports_device
is_compatible = Rnnfast.is_compatible
