"""The text of a header from its parts."""

from __future__ import annotations

from itertools import groupby
from textwrap import wrap

from rnnfast.c_export.source import FLUSH, Source
from rnnfast.config import __version__

__all__ = ["header"]


def header(source: Source, model: str, inputs: int, outputs: int) -> str:
    """The text of a header, in which all names begin with NAME.

    Parameters
    ----------
    source : Source
        What the modules added.
    model : str
        What the model is, for the comment on top.
    inputs, outputs : int
        How many numbers x and y have; 0 inputs: a token.
    """
    blocks = [
        _top(source, model, inputs, outputs),
        _sizes(source, inputs, outputs),
        _state(source),
        *source.templates(of_modules=False),
        "/* ---- Weights ---- */",
        *source.arrays.values(),
        "/* ---- The modules ---- */",
        *source.templates(of_modules=True),
        *source.functions,
        "/* ---- What a program calls ---- */",
        _reset(source),
        _step(source, inputs),
        _END,
    ]
    return "\n\n".join(blocks) + "\n"


def _top(source: Source, model: str, inputs: int, outputs: int) -> str:
    reads = f"x [{inputs}]" if inputs else "a token of 0 .. " + str(source.tokens - 1)
    argument = "x" if inputs else "token"
    lines = "\n".join(f" *     {line}" for line in wrap(model, 110, break_on_hyphens=False))
    return f"""\
/* A model of rnnfast {__version__} in C11: no library, no allocation, {source.nbytes} bytes of weights.
 *
{lines}
 *
 *     NAME_state state;                  sizeof(NAME_state) bytes of memory
 *     NAME_init(&state);                 before the first step
 *     NAME_step(&state, {argument + ", y);":<17}reads {reads}, writes y [{outputs}]; they may not overlap
 *     NAME_reset(&state);                before a new sequence
 *
 * All is static: include it in one file of a program. Compile it with optimization, for a processor with a
 * fused multiply-add (x86: -O3 -mfma, or -O3 -march=native). Without one, each is several operations, with
 * the same bits. */
#ifndef NAME_HEADER
#define NAME_HEADER

#include <float.h>
#include <stddef.h>
#include <stdint.h>"""


def _sizes(source: Source, inputs: int, outputs: int) -> str:
    first = f"NAME_inputs = {inputs}" if inputs else f"NAME_tokens = {source.tokens}"
    return f"enum {{ {first}, NAME_outputs = {outputs} }};"


def _state(source: Source) -> str:
    lines = [f"    float {name}[{layers}][{width}];" for name, (layers, width) in source.parts.items()]
    if lines:
        lines.insert(0, "    /* the state: [layers][width] */")
    if source.work:
        lines += ["    struct { /* scratch memory of a step */"]
        lines += [f"        {kind} {name}[{size}];" for name, (kind, size) in source.work.items()]
        lines += ["    } work;"]
    return "\n".join(
        ["typedef struct {", *(lines or ["    char none; /* this model has no state */"]), "} NAME_state;"]
    )


def _reset(source: Source) -> str:
    clears = [f"    NAME_clear({n * width}, s->{name}[0]);" for name, (n, width) in source.parts.items()]
    return "\n".join(
        [
            "/* Sets the state to zero. s OUT. */",
            "static inline void NAME_reset(NAME_state *s)",
            "{",
            *(clears or ["    (void)s;"]),
            "}",
            "static inline void NAME_init(NAME_state *s) { NAME_reset(s); }",
        ]
    )


def _step(source: Source, inputs: int) -> str:
    lines = ["    const NAME_mode before = NAME_get_mode();"]
    mode = FLUSH
    runs = []
    for wanted, statement in source.calls:
        mode = wanted or mode
        runs.append((mode, statement))
    for mode, group in groupby(runs, key=lambda run: run[0]):
        lines.append(f"    NAME_set_mode({mode});")
        lines += [f"    {statement}" for _, statement in group]
    lines.append("    NAME_set_mode(before);")
    if not source.parts and not source.work:
        lines.insert(0, "    (void)s;")
    comment, kind, x = "s INOUT, x [NAME_inputs] IN, y [NAME_outputs] OUT.", "void", "const float *x"
    if not inputs:
        comment = (
            "s INOUT, y [NAME_outputs] OUT. Without such a token, it returns -1 and does nothing; else 0."
        )
        kind, x = "int", "int32_t token"
        lines.insert(0, "    if (token < 0 || token >= NAME_tokens) return -1;")
        lines.append("    return 0;")
    signature = f"NAME_APART {kind} NAME_step(NAME_state *s, {x}, float *y)"
    return "\n".join([f"/* One step: {comment}", _WHY_APART, signature, "{", *lines, "}"])


_WHY_APART = " * It is not inlined: compilers could move its caller's arithmetic into its mode. */"


_END = """\
#if defined(__clang__)
#pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

#endif"""
