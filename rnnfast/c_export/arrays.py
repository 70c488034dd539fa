"""Arrays of NumPy as arrays of C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["array_of_c", "flushed", "literal"]

_TYPES = {"float32": "float", "int8": "int8_t", "uint16": "uint16_t"}
_PER_LINE = {"float32": 8, "int8": 24, "uint16": 16}


def flushed(array: NDArray) -> NDArray:
    """A float32 array with subnormal numbers as zero, as the kernels read it.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.c_export.arrays import flushed
    >>> flushed(np.float32([1.0, -1e-40])).tolist()
    [1.0, -0.0]
    """
    tiny = np.abs(array) < np.finfo(np.float32).tiny
    return np.where(tiny, np.copysign(np.float32(0), array), array)


def array_of_c(name: str, values: NDArray, comment: str) -> str:
    """The definition of a static array with these values, in one dimension, below a comment.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.c_export.arrays import array_of_c
    >>> print(array_of_c("model_bias", np.float32([0.5, 3]), "[2]"))
    /* [2] */
    static const float model_bias[2] = {
        0.5f, 3.0f,
    };
    """
    kind = values.dtype.name
    flat = values.reshape(-1).tolist()
    texts = [literal(number) for number in flat] if kind == "float32" else [str(number) for number in flat]
    step = _PER_LINE[kind]
    lines = ["    " + ", ".join(texts[k : k + step]) + "," for k in range(0, len(texts), step)]
    opening = f"static const {_TYPES[kind]} {name}[{len(flat)}] = {{"
    return "\n".join([f"/* {comment} */", opening, *lines, "};"])


def literal(number: float) -> str:
    """A float32 as a constant of C, in up to 9 digits, which say every float32 exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.c_export.arrays import literal
    >>> literal(np.float32(0.1)), literal(2.0)
    ('0.100000001f', '2.0f')
    """
    text = f"{number:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")
