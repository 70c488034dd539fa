"""What the layers and the cells have in common: options beside torch's, weights, and who runs a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from rnnfast.recurrent import Recurrent
from rnnfast.torch import autocast, dynamo, operators, transforms
from rnnfast.torch.autocast import Run
from rnnfast.torch.autograd import wants_gradient
from rnnfast.torch.fallback import (
    obstacle,
    obstacle_around,
    refuse_beyond,
    unscriptable,
    warn_of,
    warn_of_quantization,
)
from rnnfast.torch.memory import View
from rnnfast.torch.naming import text_of
from rnnfast.torch.precision import check_precision
from rnnfast.torch.tensors import shapes_of
from rnnfast.torch.weights import check_weights

__all__ = ["Accelerated", "LstmOptions", "RnnOptions", "forget_options", "misfit_of", "options_beyond_torch"]


class Accelerated(torch.nn.Module):
    """A mixin before a recurrent module of torch: it has that one's attributes and parameters, and no others.

    Attributes
    ----------
    _parts : tuple of str
        The parts of the state.
    _own : dict
        The options that torch's module lacks, with their defaults, where an instance has no attribute.
    _kind : type
        The rnnfast layer.
    _keywords : tuple of str
        The module's attributes that are its keywords. Dropout and layout follow at each call.
    """

    _parts: ClassVar[tuple[str, ...]] = ("h",)
    _own: ClassVar[dict[str, Any]] = {}
    _kind: ClassVar[type[Recurrent]]
    _keywords: ClassVar[tuple[str, ...]]
    _view: View | None = None
    _matmul_precision = "float32"  # where an instance has no such attribute

    def __init_subclass__(cls) -> None:
        for name, default in vars(cls).get("_own", {}).items():
            setattr(cls, name, default)

    def __init__(self, *args: Any, matmul_precision: str = "float32", **kwargs: Any) -> None:
        given = {name: kwargs.pop(name) for name in self._own if name in kwargs}
        super().__init__(*args, **kwargs)
        given = {name: value for name, value in given.items() if value != self._own[name]}
        if given:
            self.__dict__.update(given)
            self._reshape(self._new_layer())
            self.reset_parameters()
        self.matmul_precision = matmul_precision

    @property
    def matmul_precision(self) -> str:
        """The precision of the operands of products: "float32", "bfloat16" or "int8".

        "int8" evaluates only: call it under ``torch.no_grad()``; dropout needs ``eval()``. It may be set at
        any time. A backward pass has the precision of its forward pass. Under
        ``torch.autocast("cpu", torch.bfloat16)``, "float32" means "bfloat16".

        Raises
        ------
        ValueError
            Setting it to an unknown name, or to another than "float32" where a parameter is not float32.

        Examples
        --------
        >>> import torch, rnnfast.torch
        >>> gru = rnnfast.torch.GRU(3, 5)
        >>> gru.matmul_precision = "bfloat16"
        >>> gru
        GRU(3, 5, matmul_precision='bfloat16')
        """
        return self._matmul_precision

    @matmul_precision.setter
    def matmul_precision(self, precision: str) -> None:
        check_precision(precision, {"": self})
        if precision == "float32":
            self.__dict__.pop("_matmul_precision", None)
        else:
            self.__dict__["_matmul_precision"] = precision

    def _options(self) -> dict[str, Any]:
        """The keywords of the rnnfast layer."""
        return {name: getattr(self, name) for name in self._keywords}

    def _new_layer(self) -> Recurrent:
        """An rnnfast layer with this module's options, which it checks."""
        return self._kind(**self._options())

    def _weight_names(self) -> Sequence[str]:
        """The names of the parameters, in the order of the layer's."""
        raise NotImplementedError

    def _reshape(self, layer: Recurrent) -> None:
        """Replace the parameters that torch made by some of the layer's shapes."""
        like = next(self.parameters())
        for name in [name for name, parameter in self._parameters.items() if parameter is not None]:
            del self._parameters[name]
        for name, parameter in zip(self._weight_names(), layer.parameters(), strict=True):
            values = torch.empty(parameter.shape, dtype=like.dtype, device=like.device)
            self.register_parameter(name, torch.nn.Parameter(values))

    def _weights(self) -> list[torch.Tensor]:
        """The weights, parameters or the tensors in their place (with a parametrization, say)."""
        names, parameters = self._weight_names(), self._parameters
        try:
            return [parameters[name] for name in names]
        except KeyError:
            return [getattr(self, name) for name in names]

    def _shown(self, weights: Sequence[torch.Tensor], precision: str) -> View | None:
        """The view of an earlier call, if it is of these weights and this precision.

        Then the weights are plain tensors, of the right shapes.
        """
        view = self._view
        return view if view is not None and view.precision == precision and view.shows(weights) else None

    def _new_view(self, weights: Sequence[torch.Tensor], precision: str) -> View:
        """A view of this module's options and these weights, which multiplies in this precision."""
        last, options = self._view, self._options()
        layer = last.layer if last is not None and last.options == options else self._new_layer()
        check_weights(layer, type(self).__name__, self._weight_names(), weights, precision)
        view = self.__dict__["_view"] = View(layer, weights, options, precision)
        return view

    def _state_parts(self, hx: Any) -> tuple[torch.Tensor | None, ...]:
        """The parts of a state in torch's form."""
        if hx is None:
            return (None,) * len(self._parts)
        parts = hx if len(self._parts) > 1 else (hx,)
        if (
            not isinstance(parts, (tuple, list))
            or len(parts) != len(self._parts)
            or not all([isinstance(part, torch.Tensor) for part in parts])
        ):
            form = "a tensor" if len(self._parts) == 1 else f"a pair ({', '.join(self._parts)}) of tensors"
            raise TypeError(f"hx: expected {form}, got {type(hx).__name__}")
        return tuple(parts)

    def _state_of(self, parts: Sequence[torch.Tensor]) -> Any:
        """A state in torch's form."""
        return tuple(parts) if len(parts) > 1 else parts[0]

    def beyond_torch(self) -> list[str]:
        """Those of this module's options that torch's code does not know.

        Returns
        -------
        list of str
            Their names. Without any, torch's code gives the same results as this module in float32.
        """
        return [
            name
            for name, default in self._own.items()
            if name != "forget_bias" and getattr(self, name) != default
        ]

    def _dtypes_under(
        self, lower: torch.dtype | None, x: torch.Tensor, parts: Sequence[torch.Tensor | None], packed: bool
    ) -> tuple[torch.dtype, ...] | None:
        """The dtypes of the state's parts as torch gives them under autocast of `lower`; None without it."""
        return None if lower is None else self._state_dtypes(lower, x, parts, packed)

    def _state_dtypes(
        self, lower: torch.dtype, x: torch.Tensor, parts: Sequence[torch.Tensor | None], packed: bool
    ) -> tuple[torch.dtype, ...]:
        """Those of most modules, whose state is a sum."""
        return (autocast.carried(lower, x, parts),) * len(parts)

    def _form_of(
        self, view: View | None, lower: torch.dtype | None, x: torch.Tensor, parts: Sequence[Any]
    ) -> Any:
        """What decides whether the arguments of a call are right, to compare with `View.form`.

        None where they are to be looked at: without a view, and under autocast (of the dtype `lower`).
        """
        if view is None or lower is not None or obstacle_around() is not None:
            return None
        shapes = shapes_of((x, *parts))
        return shapes and (shapes, self.__dict__.get("batch_first"))

    def _left_to_torch(
        self,
        view: View | None,
        lower: torch.dtype | None,
        x: torch.Tensor,
        parts: Sequence[torch.Tensor | None],
        weights: Sequence[torch.Tensor],
        keywords: dict[str, Any],
        graph: bool,
        sizes: torch.Tensor | None = None,
    ) -> bool:
        """Whether torch's own forward is to run, or to say what is wrong with its arguments.

        `view` is that of the weights, if there is one. `lower` is autocast's dtype. `sizes` are the batch
        sizes of packed sequences. Arguments of the form of the last right ones are right.

        A TypeError or ValueError where torch should run, but would not know options or `keywords`.
        A graph is traced only where there is no obstacle.
        """
        form = None if sizes is not None else self._form_of(view, lower, x, parts)
        if view is not None and form is not None and form == view.form:
            return False
        cast = () if lower is None else autocast.CAST
        what = None if graph else obstacle((x, *parts, *weights), cast)
        if what is not None:
            refuse_beyond(self._beyond_torch_in(keywords), what.reason)
            warn_of(what)
            return True
        wrong = self._misfit(x, parts, (weights[0].dtype, *cast), sizes)
        if wrong is None:
            if view is not None:
                view.form = form
        elif self._beyond_torch_in(keywords):
            raise ValueError(wrong)
        return wrong is not None

    def _misfit(
        self,
        x: torch.Tensor,
        parts: Sequence[torch.Tensor | None],
        dtypes: Sequence[torch.dtype],
        sizes: torch.Tensor | None,
    ) -> str | None:
        """What is wrong with x (packed, if it has batch sizes) and the parts of the state, plain tensors."""
        raise NotImplementedError

    def _operation(
        self,
        kind: str,
        options: dict[str, Any],
        lengths: Any,
        reset: Any,
        seed: torch.Tensor | None,
        graph: bool,
    ) -> Run:
        """The operator of this layer with these options, as a function of x, the state and the weights."""
        text = text_of(kind, self._options() | options)
        lengths = None if lengths is None else torch.as_tensor(lengths)
        reset = None if reset is None else torch.as_tensor(reset)

        def run(
            x: torch.Tensor, parts: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]
        ) -> Sequence[torch.Tensor]:
            state = [part for part in parts if part is not None]
            arguments = x, state, list(weights), lengths, reset, seed, text
            if not graph:
                return transforms.forward(*arguments)
            if wants_gradient((x, *parts, *weights)) and not torch.compiler.is_exporting():
                return operators.record(*arguments)[:-1]
            return operators.forward(*arguments)

        return run

    def _beyond_torch_in(self, keywords: dict[str, Any]) -> list[str]:
        """The options and, of these keywords of a call, the given ones, that torch's code does not know."""
        precision = [] if self.matmul_precision == "float32" else ["matmul_precision"]
        given = [name for name, value in keywords.items() if value is not None]
        return [*self.beyond_torch(), *precision, *given]

    def _refuse_export(self, **keywords: Any) -> None:
        """A TypeError where torch.onnx.export would drop an option or one of these keywords of a call."""
        refuse_beyond(self._beyond_torch_in(keywords), "torch.onnx.export")

    def __prepare_scriptable__(self) -> Any:
        """What torch.jit.script asks of each module before it compiles a model."""
        raise unscriptable(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "qconfig":  # what torch.ao.quantization puts on every module of a model
            warn_of_quantization()
        self._forget_view(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._forget_view(name)  # an option of the class's default follows, or an error
        super().__delattr__(name)

    def _forget_view(self, name: str) -> None:
        """Forget the view if it, or what it knows of right calls, may not be right with another `name`."""
        if name in self._keywords or name == "proj_size":  # which a GRU and an RNN have too, as 0
            self.__dict__["_view"] = None

    def extra_repr(self) -> str:
        """torch's, and the options that torch's module lacks."""
        own = [
            f", {name}={getattr(self, name)!r}"
            for name, default in self._own.items()
            if getattr(self, name) != default
        ]
        if self.matmul_precision != "float32":
            own.append(f", matmul_precision={self.matmul_precision!r}")
        return super().extra_repr() + "".join(own)


dynamo.show(Accelerated)


def misfit_of(
    x: torch.Tensor,
    parts: Sequence[torch.Tensor | None],
    dtypes: Sequence[torch.dtype],
    width: int,
    leading: tuple[int, ...],
    widths: Sequence[int],
) -> str | None:
    """What is wrong with x's last axis, a part's shape or a dtype; None if nothing is.

    The parts are `leading` and, last, one of `widths`; x and they have one of `dtypes` each.
    """
    if x.dtype not in dtypes or x.shape[-1] != width:
        return f"input: expected {dtypes[0]} and a last axis of {width}, got {x.dtype} and {tuple(x.shape)}"
    for part, last in zip(parts, widths, strict=False):
        if part is not None and (part.dtype not in dtypes or part.shape != (*leading, last)):
            return (
                f"hx: expected {dtypes[0]} and shape {(*leading, last)}, "
                f"got {part.dtype} and {tuple(part.shape)}"
            )
    return None


def options_beyond_torch(kind: type[Accelerated]) -> tuple[str, ...]:
    """The names of the options that torch's class lacks, of those that are keywords of the rnnfast layer."""
    return tuple(kind._own)


def forget_options(module: Accelerated) -> None:
    """Remove the attributes that torch's class has no use for."""
    for name in ("_view", "_matmul_precision", *module._own):
        module.__dict__.pop(name, None)


class RnnOptions(Accelerated):
    """What an RNN and its cell have beside torch's: two more nonlinearities."""

    _nonlinearities = ("sigmoid", "identity")

    def _state_dtypes(self, lower: torch.dtype, *_: Any) -> tuple[torch.dtype, ...]:
        return (lower,)

    def beyond_torch(self) -> list[str]:
        """``["nonlinearity"]`` if it is not one of torch's."""
        return [] if self.nonlinearity in ("tanh", "relu") else ["nonlinearity"]


class LstmOptions(Accelerated):
    """What an LSTM and its cell have beside torch's."""

    _parts = ("h", "c")
    _own: ClassVar[dict[str, Any]] = {
        "forget_bias": None,
        "peephole": False,
        "coupled_gates": False,
        "cell_clip": None,
    }

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as torch does, and set the forget gate's biases where they were given."""
        super().reset_parameters()
        if self.forget_bias is not None:
            forget = slice(self.hidden_size, 2 * self.hidden_size)
            values = {"bias_ih": self.forget_bias, "bias_hh": 0.0}
            with torch.no_grad():
                for name in self._weight_names():
                    if name[:7] in values:
                        getattr(self, name)[forget] = values[name[:7]]
