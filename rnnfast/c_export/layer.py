"""One layer of a recurrent module, as cells write it: weights in the order of the slots, and products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.arithmetic import add
from rnnfast.c_export.arrays import flushed, literal
from rnnfast.c_export.products import product
from rnnfast.c_export.source import Source
from rnnfast.recurrent import Recurrent

__all__ = ["Layer"]

_OPTIONS = {"nonlinearity": "tanh", "candidate": "identity", "coupled_gates": False, "cell_clip": None}
_STATE_SLOTS = {
    "gru": "rzq",
    "gru_norm": "rzq",
    "gru_before": "rz",
    "indrnn": "",
    "mingru": "",
    "minlstm": "",
}


class Layer:
    """Layer `number` of a module, which errors call `title`; `name` makes names of C from those of the layer.

    The slots of a cell are named by letters, in the order of the table of cells. A GRU's q is the block n of
    the state's weights.
    """

    def __init__(
        self, source: Source, module: Recurrent, title: str, name: Any, number: int, precision: str
    ) -> None:
        self.source = source
        self.options: dict[str, Any] = {key: getattr(module, key, value) for key, value in _OPTIONS.items()}
        self.units, self.heads = module.hidden_size, module.num_heads
        self.outputs = module.proj_size or self.units
        self.inputs = self.outputs if number else module.input_size
        self.cell, self.normed = module.info.name, module.info.layer_norm
        self.comment: list[str] = []
        self._blocks = module.info.gates
        self._of_x = "".join(module.info.slots)
        self._of_h = _STATE_SLOTS.get(self.cell, self._of_x)
        self._slots = self._of_x + "".join(slot for slot in self._of_h if slot not in self._of_x)
        self._unbounded = self.cell == "slstm" or self.options["nonlinearity"] in ("relu", "identity")
        rates = np.broadcast_to(np.asarray(module.zoneout, np.float32), len(module.parts))
        self._rates = dict(zip(module.parts, rates.tolist(), strict=True))
        self._suffix, self._name, self._precision = f"_l{number}", name, precision
        self._title = title
        parameters = dict(module.named_parameters())
        self._weights = {
            key.removesuffix(self._suffix): flushed(parameter.data)
            for key, parameter in parameters.items()
            if key.endswith(self._suffix)
        }

    def has(self, weight: str) -> bool:
        """Whether the layer has this weight."""
        return weight in self._weights

    def equations(self, *lines: str) -> None:
        """What the comment of the function says."""
        self.comment += [f"    {line}" for line in lines]

    # Expressions

    def gate(self, slot: str) -> str:
        """Unit j of a slot."""
        offset = self._offset(slot)
        return f"gates[{offset} + j]" if offset else "gates[j]"

    def vector(self, weight: str) -> str:
        """A weight that multiplies element by element, as an array of C."""
        return self.source.array(self._named(weight), self._weights[weight], f"[{self.units}]")

    def zones(self, part: str) -> bool:
        """Whether a part of the state has zoneout."""
        return self._rates[part] > 0

    def zoned(self, part: str, x: str, before: str) -> str:
        """A part of the state after a step that computes x."""
        if not self.zones(part):
            return x
        self.source.need("zoneout")
        return f"NAME_zoned({literal(self._rates[part])}, {before}, {x})"

    # Statements

    def store_h(self, x: str) -> str:
        """Unit j of h becomes x."""
        return f"h[j] = {self.zoned('h', x, 'NAME_flushed(h[j])')};"

    def preactivations(self) -> list[str]:
        """All slots: biases and both products."""
        if self.normed:
            return self._normalized()
        x = self._rows("weight_ih", self._of_x)
        lines = [
            *self._start(self._biases()),
            self._product("weight_ih", x, "inputs", "x", self._of_x, "gates"),
        ]
        if self.heads > 1:
            return lines + [self._head_product(head) for head in range(self.heads)]
        if self._of_h:
            h = self._rows("weight_hh", self._of_h)
            lines.append(self._product("weight_hh", h, "outputs", "h", self._of_h, self._from(self._of_h)))
        return lines

    def second_product(self, m: str) -> str:
        """W_n m is added to slot n."""
        n = self._rows("weight_hh", "n")
        return self._product("weight_hn", n, "units", m, "n", "gates", of_state=True)

    def projection(self, m: str) -> list[str]:
        """h = W_hr m."""
        source, weight = self.source, self._weights["weight_hr"]
        self.source.scratch("gates", self.outputs)
        made = product(
            source,
            self._named("weight_hr"),
            weight,
            self._precision,
            sizes=("units", "outputs"),
            x=m,
            out="gates",
            columns="of h",
            bounded=True,
        )
        loop = "for (int j = 0; j < outputs; j++) {"
        return ["NAME_clear(outputs, gates);", made, loop, self.store_h("gates[j]"), "}"]

    def normalized_c(self, c: str) -> list[str]:
        """sums = N(c) gain + shift, from the units of c."""
        gain, shift = (self.vector(f"ln_c_{name}") for name in ("weight", "bias"))
        return [f"NAME_copy(units, {shift}, sums);", f"NAME_normalize(units, {c}, {gain}, sums);"]

    # How they are made

    def _named(self, weight: str) -> str:
        return self._name(weight + self._suffix)

    def _from(self, slots: str) -> str:
        """The first of these slots, as a pointer."""
        offset = self._offset(slots[0])
        return f"gates + {offset}" if offset else "gates"

    def _offset(self, slot: str) -> str:
        """Where a slot begins in gates; empty for the first."""
        place = self._slots.index(slot)
        return f"{place} * units" if place > 1 else "units" * place

    def _rows(self, weight: str, slots: str) -> NDArray:
        """The blocks of a weight or a bias for these slots. With heads, the first head's slots come first."""
        blocks = self._weights[weight].reshape(len(self._blocks), self.heads, self.units // self.heads, -1)
        chosen = blocks[[self._blocks.index("n" if slot == "q" else slot) for slot in slots]]
        return chosen.swapaxes(0, 1).reshape(len(slots) * self.units, -1)

    def _biases(
        self, input_names: tuple[str, ...] = ("bias_ih",), state_names: tuple[str, ...] = ("bias_hh",)
    ) -> Any:
        """The sum of these biases in each slot, in the order of the kernels; None without any."""
        of_state = self._of_x if self.cell == "gru_before" else self._of_h
        total = np.zeros((len(self._slots), self.units), np.float32)
        names = [(name, self._of_x) for name in input_names] + [(name, of_state) for name in state_names]
        given = [(name, slots) for name, slots in names if self.has(name)]
        for name, slots in given:
            places = [self._slots.index(slot) for slot in slots]
            with np.errstate(over="ignore"):
                sums = add(total[places], self._rows(name, slots).reshape(-1, self.units))
            total[places] = flushed(sums)
        if not np.isfinite(total).all():
            names_given = " + ".join(name + self._suffix for name, _ in given)
            raise ValueError(f"model: {self._title}: expected a finite sum {names_given}, got an overflow")
        return total if given else None

    def _start(self, total: NDArray | None) -> list[str]:
        """The slots begin at these sums."""
        self.source.scratch("gates", len(self._slots) * self.units)
        count = f"{len(self._slots)} * units"
        if total is None:
            return [f"NAME_clear({count}, gates);"]
        bias = self.source.array(
            self._named("bias"), total, f"[{len(self._slots)}][{self.units}] {self._said(self._slots)}"
        )
        return [f"NAME_copy({count}, {bias}, gates);"]

    def _said(self, slots: str) -> str:
        """What the columns of a product are."""
        heads = f"{self.heads} heads of " if self.heads > 1 else ""
        return f"{heads}slots {' '.join(slots)}"

    def _product(
        self, name: str, weight: NDArray, inner: str, x: str, slots: str, out: str, of_state: bool = False
    ) -> str:
        of_state = of_state or x == "h"
        return product(
            self.source,
            self._named(name),
            weight,
            self._precision,
            sizes=(inner, f"{len(slots)} * units" if len(slots) > 1 else "units"),
            x=x,
            out=out,
            columns=self._said(slots),
            bounded=of_state and not self._unbounded and not self.has("weight_hr"),
        )

    def _head_product(self, head: int) -> str:
        """The product of one head's units of h."""
        size = self.units // self.heads
        own = self._weights["weight_hh"].reshape(len(self._blocks), self.heads, size, size)[:, head]
        return product(
            self.source,
            self._named(f"weight_hh_head{head}"),
            own.reshape(-1, size),
            self._precision,
            sizes=("head", f"{len(self._blocks)} * head"),
            x=f"h + {head} * head",
            out=f"gates + {head * len(self._blocks)} * head",
            columns=f"slots {' '.join(self._blocks)} of head {head}",
        )

    def _normalized(self) -> list[str]:
        """The slots begin at the shifts; the normalized products, times their gains, are added."""
        self.source.need("moments")
        self.source.scratch("sums", len(self._of_x) * self.units)
        lines = self._start(self._biases(("ln_ih_bias", "bias_ih"), ("ln_hh_bias", "bias_hh")))
        for part, inner, slots in (("ih", "inputs", self._of_x), ("hh", "outputs", self._of_h)):
            count = f"{len(slots)} * units"
            name = self.source.array(
                self._named(f"ln_{part}_weight"),
                self._rows(f"ln_{part}_weight", slots),
                f"[{len(slots)}][{self.units}] {self._said(slots)}",
            )
            x = "x" if part == "ih" else "h"
            lines += [
                f"NAME_clear({count}, sums);",
                self._product(f"weight_{part}", self._rows(f"weight_{part}", slots), inner, x, slots, "sums"),
                f"NAME_normalize({count}, sums, {name}, {self._from(slots)});",
            ]
        return lines
