"""`rnnfast train`: a character model of a text, beside count models of the same text."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import rnnfast as rf
from rnnfast.baselines import NGram
from rnnfast.cli.charmodel import CELLS, KIND, build, generate, load
from rnnfast.cli.errors import INTERRUPTED, CommandError
from rnnfast.cli.files import check_place, check_plot, check_replaced
from rnnfast.cli.options import positive, positive_integer, rate, seed, thread_count
from rnnfast.cli.text import Streams, Text, read_text
from rnnfast.nn import losses, optim, schedules
from rnnfast.training.fit import evaluate, fit
from rnnfast.training.history import History
from rnnfast.training.run import Run

__all__ = ["CHECKPOINT", "add_options", "run"]

CHECKPOINT = (
    "rnnfast-model.npz"  # where the checkpoint goes, in the current directory, unless --output says otherwise
)
DEFAULTS: dict[str, Any] = {
    "cell": "lstm",
    "hidden": 320,
    "layers": 1,
    "dropout": 0.25,
    "seq_len": 64,
    "batch": 16,
    "lr": 0.005,
    "epochs": 12,
    "minutes": None,
    "seed": 0,
}
ON_RESUME = {"lr", "epochs", "minutes"}  # what a resumed run may change; the rest stays as it was
WARMUP = 0.03  # the part of the run over which the learning rate rises; then it falls along a cosine
CLIP_NORM = 1.0
VALIDATION_STREAMS = 8  # the held-out text is read in so many streams after each epoch, and in one at the end


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast train`."""
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="UTF-8 text, several are joined (Python's own help texts)")
    add("--cell", choices=CELLS, help=f"recurrent cell ({DEFAULTS['cell']})")
    add(
        "--hidden",
        type=positive_integer,
        metavar="H",
        help=f"units of each recurrent layer ({DEFAULTS['hidden']})",
    )
    add("--layers", type=positive_integer, metavar="N", help=f"recurrent layers ({DEFAULTS['layers']})")
    add(
        "--seq-len",
        type=positive_integer,
        metavar="T",
        help=f"steps that gradients flow back ({DEFAULTS['seq_len']})",
    )
    add(
        "--batch",
        type=positive_integer,
        metavar="B",
        help=f"streams of the text read side by side ({DEFAULTS['batch']})",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        type=positive_integer,
        metavar="N",
        help=f"readings of the text, in total ({DEFAULTS['epochs']})",
    )
    length.add_argument("--minutes", type=positive, metavar="X", help="train for so long instead")
    add("--lr", type=positive, metavar="X", help=f"highest learning rate of Adam ({DEFAULTS['lr']})")
    add("--dropout", type=rate, metavar="P", help=f"rate of dropout ({DEFAULTS['dropout']})")
    add("--seed", type=seed, metavar="N", help=f"of weights and dropout ({DEFAULTS['seed']})")
    add(
        "--threads",
        type=thread_count,
        metavar="N",
        help="threads of the kernels (by the machine and the work)",
    )
    add("--output", metavar="FILE", help=f"the checkpoint ({CHECKPOINT}; on --resume, the one resumed)")
    add("--resume", metavar="CHECKPOINT", help="go on exactly where it stopped, with its text and options")
    add("--plot", metavar="FILE", help="draw the loss curves (needs matplotlib)")


def run(options: argparse.Namespace) -> int:
    """Train a character model on a text: progress, held-out bits per character, a checkpoint, a sample."""
    output = options.output or options.resume or CHECKPOINT
    _check_files(output, options.resume, options.plot)
    if options.threads is not None:
        rf.set_num_threads(options.threads)
    text, chosen = _text_and_options(options)
    training = Streams(text.training, chosen["seq_len"], chosen["batch"])
    _check_length(text, chosen)

    model = build(
        len(text.alphabet), **{name: chosen[name] for name in ("cell", "hidden", "layers", "dropout", "seed")}
    )
    _print_text(text)
    counts = _print_count_models(text)
    _print_plan(model, chosen, training, output)
    history = _fit(model, text, chosen, training, output, options.resume)
    if history.interrupted:
        print(f"\nInterrupted. The checkpoint is saved; to go on: rnnfast train --resume {output}")
    else:
        print(f"\n{history.step[-1]:,} steps in {history.seconds[-1]:.0f} s")
        _print_result(model, text, chosen, counts)
        print(f"\ncheckpoint  {output}\n            more text from it: rnnfast sample {output}")
        print("\na sample at temperature 0.8:\n")
        print("".join(generate(model, text.alphabet, length=600, seed=chosen["seed"])).strip("\n"))
    if options.plot:
        _plot(history, counts, options.plot)
    return INTERRUPTED if history.interrupted else 0


def _check_files(output: str, resume: str | None, plot: str | None) -> None:
    """What would fail only after the training, or write over other things than checkpoints, fails before."""
    check_place("--output", output)
    if output != resume:
        check_replaced("--output", output)
    if plot is not None:
        check_plot(plot, "cli")


def _text_and_options(options: argparse.Namespace) -> tuple[Text, dict[str, Any]]:
    """The text and all options: the command line's, and on --resume the checkpoint's where that is silent."""
    given = {name: getattr(options, name) for name in DEFAULTS if getattr(options, name) is not None}
    if options.resume is None:
        return read_text(options.files), _combine(DEFAULTS, given)

    _, _, metadata = load(options.resume)
    try:
        recorded = {name: metadata["options"][name] for name in DEFAULTS}
        files, crc32 = metadata["text"]["files"], metadata["text"]["crc32"]
        metadata["fit"]
    except (KeyError, TypeError) as error:
        raise CommandError(f"{options.resume}: damaged: no entry {error}") from None
    _check_recorded(options.resume, recorded, files)
    for name in given.keys() - ON_RESUME:
        if given[name] != recorded[name]:
            option = "--" + name.replace("_", "-")
            raise CommandError(f"{option} {given[name]}: {options.resume} was trained with {recorded[name]}")
    text = read_text(options.files or files)
    if text.crc32 != crc32:
        raise CommandError(f"{text.name}: not the text that {options.resume} was trained on")
    return text, _combine(recorded, given)


def _check_recorded(resume: str, recorded: dict[str, Any], files: Any) -> None:
    """Refuse what `rnnfast train` never records; `load` has checked what the model is built of."""
    for name in ("seq_len", "batch", "epochs", "lr", "minutes"):
        value = recorded[name]
        kinds = (int, float) if name in ("lr", "minutes") else (int,)
        if value is None and name in ("epochs", "minutes"):
            continue
        if type(value) not in kinds or not 0 < value < math.inf:
            raise CommandError(f"{resume}: damaged: {name} {value!r}")
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise CommandError(f"{resume}: damaged: files {files!r}")


def _combine(basis: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if "epochs" in given or "minutes" in given:
        basis = basis | {"epochs": None, "minutes": None}
    return basis | given


def _check_length(text: Text, chosen: dict[str, Any]) -> None:
    needed = chosen["batch"] * chosen["seq_len"] + 1
    if len(text.training) < needed:
        raise CommandError(
            f"{text.name}: too short: {chosen['batch']} streams (--batch) of {chosen['seq_len']} steps"
            f" (--seq-len) take {needed:,} characters, its first nine tenths have {len(text.training):,}"
        )


def _fit(
    model: rf.Sequential,
    text: Text,
    chosen: dict[str, Any],
    training: Streams,
    output: str,
    resume: str | None,
) -> History:
    length = chosen["minutes"] or chosen["epochs"] * len(training)
    schedule = schedules.warmup(WARMUP * length, then=schedules.cosine((1.0 - WARMUP) * length))
    held_out = text.held_out_from_before
    streams = max(1, min(VALIDATION_STREAMS, len(held_out) // chosen["seq_len"]))
    try:
        return fit(
            model,
            losses.cross_entropy,
            training,
            optim.Adam(model.parameters(), lr=chosen["lr"]),
            epochs=chosen["epochs"],
            minutes=chosen["minutes"],
            stateful=True,
            validation=Streams(held_out, chosen["seq_len"], streams),
            schedule=schedules.in_minutes(schedule) if chosen["minutes"] else schedule,
            clip_norm=CLIP_NORM,
            checkpoint=output,
            metadata={
                "kind": KIND,
                "options": chosen,
                "alphabet": text.alphabet.characters,
                "text": {"name": text.name, "files": text.files, "crc32": text.crc32},
            },
            resume=resume,
            describe=_describe,
            rng=chosen["seed"],
        )
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from None
    except FloatingPointError as error:
        raise CommandError(f"{error}; a lower --lr may help") from None
    except ValueError as error:
        if resume is None or not str(error).startswith(f"{resume}: "):
            raise
        raise CommandError(str(error)) from None


def _describe(run: Run) -> str:
    text = f"loss {run.mean:.2f}  {run.mean / math.log(2):.3f} bits/char  {run.rate / 1000:.1f}k chars/s"
    return text if run.validation is None else f"{text}  held out {run.validation / math.log(2):.3f}"


def _print_text(text: Text) -> None:
    print(f"text        {text.name}")
    print(f"            {len(text.content):,} characters, {len(text.alphabet.characters)} different ones")
    print(f"            {len(text.training):,} to train on, the last {len(text.held_out):,} held out")


def _print_count_models(text: Text) -> dict[str, float]:
    """Held-out bits per character of count models, printed and returned."""
    counts = {
        name: NGram(text.training, len(text.alphabet), order).bits_per_symbol(text.held_out)
        for name, order in (("unigram", 1), ("bigram", 2), ("5-gram", 5))
    }
    print(
        "counting    "
        + "   ".join(f"{name} {bits:.3f}" for name, bits in counts.items())
        + "   held-out bits/char"
    )
    return counts


def _print_plan(model: rf.Sequential, chosen: dict[str, Any], training: Streams, output: str) -> None:
    size = sum(parameter.size for parameter in model.parameters())
    length = f"{chosen['minutes']:g} minutes" if chosen["minutes"] else f"{chosen['epochs']} epochs"
    print(f"model       {_name(chosen)}; {size:,} parameters; dropout {chosen['dropout']:g}")
    print(
        f"training    {length}, {len(training)} windows each:"
        f" {chosen['batch']} streams x {chosen['seq_len']} characters; threads: {rf.get_num_threads()}"
    )
    replaces = " (replaces the one there)" if Path(output).exists() else ""
    print(f"checkpoint  {output}{replaces}; Ctrl-C saves it and ends\n", flush=True)


def _print_result(model: rf.Sequential, text: Text, chosen: dict[str, Any], counts: dict[str, float]) -> None:
    """Under the count models' figures the model's own, over the held-out text read from end to end."""
    held_out = Streams(text.held_out_from_before, seq_len=2000, batch=1)
    bits = evaluate(model, losses.cross_entropy, held_out, stateful=True) / math.log(2)
    rows = {("5-gram, Witten-Bell" if name == "5-gram" else name): value for name, value in counts.items()}
    rows[_name(chosen)] = bits
    width = max(map(len, rows))
    print("\nheld-out bits per character")
    for name, value in rows.items():
        print(f"  {name:{width}}  {value:.3f}")
    difference = counts["5-gram"] - bits
    print(f"  {abs(difference):.3f} bits {'below' if difference > 0 else 'above'} the 5-gram")


def _name(chosen: dict[str, Any]) -> str:
    layers = "" if chosen["layers"] == 1 else f"{chosen['layers']} layers of "
    return f"{chosen['cell'].upper()}, {layers}{chosen['hidden']} units"


def _plot(history: History, counts: dict[str, float], path: str) -> None:
    try:
        history.plot(
            path, scale=1.0 / math.log(2), label="bits per character", lines={"5-gram": counts["5-gram"]}
        )
    except (OSError, ValueError) as error:  # a folder without write access; a format matplotlib does not know
        raise CommandError(f"--plot {path}: {error}") from None
