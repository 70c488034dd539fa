"""`rnnfast train`: a model of a text, beside count models of the same text."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import rnnfast as rf
from rnnfast import _core
from rnnfast.cli import text_ladder
from rnnfast.cli.errors import INTERRUPTED, CommandError
from rnnfast.cli.files import check_apart, check_place, check_plot, check_replaced
from rnnfast.cli.options import positive, positive_integer, rate, seed, thread_count
from rnnfast.cli.sample import TEMPERATURE
from rnnfast.cli.text import (
    CHECKPOINT,
    DEFAULTS,
    build_model,
    check_training,
    load_model,
    noise_of,
    read,
    train_model,
)
from rnnfast.text import NGramScore, Text, TextModel, best_ngram, ngram_score, perplexity
from rnnfast.text.alphabets import ALPHABETS
from rnnfast.text.network import CELLS, NOISE, REGULARIZED
from rnnfast.text.scores import LONGEST, fixed
from rnnfast.text.training import symbols_needed, windows_of
from rnnfast.training import History
from rnnfast.training.weights import FORMS

__all__ = ["add_options", "run", "writes_files"]

ON_RESUME = {"lr", "epochs", "minutes"}  # options that a resumed run may change
VOCABULARY = 4000  # the default of --vocabulary


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast train`."""
    add = parser.add_argument
    add(
        "files",
        nargs="*",
        metavar="FILE",
        help="UTF-8 texts, joined in this order (default: Python's help texts)",
    )
    add("--symbols", choices=ALPHABETS, help=f"what the model predicts (default: {DEFAULTS['symbols']})")
    add(
        "--vocabulary",
        type=positive_integer,
        metavar="N",
        help=f"number of known words with --symbols words, most frequent first (default: {VOCABULARY})",
    )
    add(
        "--cell",
        choices=CELLS,
        help=f"recurrent cell, or window: tanh layers on the last symbols (default: {DEFAULTS['cell']})",
    )
    add(
        "--window",
        type=positive_integer,
        metavar="N",
        help=f"number of symbols with --cell window (default: {DEFAULTS['window']})",
    )
    add(
        "--hidden",
        type=positive_integer,
        metavar="H",
        help=f"hidden units of each layer (default: {DEFAULTS['hidden']})",
    )
    add(
        "--layers",
        type=positive_integer,
        metavar="N",
        help=f"number of layers (default: {DEFAULTS['layers']})",
    )
    add(
        "--seq-len",
        type=positive_integer,
        metavar="T",
        help=f"steps of backpropagation through time (default: {DEFAULTS['seq_len']})",
    )
    add(
        "--batch",
        type=positive_integer,
        metavar="B",
        help=f"parallel sequences that the text is divided into (default: {DEFAULTS['batch']})",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        type=positive_integer,
        metavar="N",
        help=f"epochs in total (default: {DEFAULTS['epochs']})",
    )
    length.add_argument(
        "--minutes", type=positive, metavar="X", help="minutes to train, in place of --epochs"
    )
    add(
        "--lr",
        type=positive,
        metavar="X",
        help=f"highest learning rate of Adam (default: {DEFAULTS['lr']}; --compare: one for each network)",
    )
    add("--dropout", type=rate, metavar="P", help=f"dropout rate (default: {DEFAULTS['dropout']})")
    add(
        "--zoneout",
        type=rate,
        metavar="P",
        help=f"rate at which units keep their state ({DEFAULTS['zoneout']:g})",
    )
    add(
        "--recurrent-dropout",
        type=rate,
        metavar="P",
        help=f"dropout rate of h in the products of the state ({DEFAULTS['recurrent_dropout']:g})",
    )
    add(
        "--weight-dropout",
        type=rate,
        metavar="P",
        help=f"dropout rate of the recurrent weights ({DEFAULTS['weight_dropout']:g})",
    )
    add("--layer-norm", action="store_true", default=None, help="layer normalization in the recurrent layers")
    add("--seed", type=seed, metavar="N", help=f"seed of weights and dropout (default: {DEFAULTS['seed']})")
    add(
        "--matmul-precision",
        choices=_core.TRAINABLE,
        help=f"of what products multiply; the checkpoint keeps it (default: {DEFAULTS['matmul_precision']})",
    )
    add(
        "--threads",
        type=thread_count,
        metavar="N",
        help="threads of the kernels (default: chosen by machine and work)",
    )
    add(
        "--output",
        metavar="FILE",
        help=f"checkpoint to write (default: {CHECKPOINT}; with --resume: the same file)",
    )
    add("--save", metavar="FILE", help="also write the trained model alone, to sample with, not to resume")
    add(
        "--weights",
        choices=FORMS,
        help=f"matrices in the file of --save: half (bfloat16) or a quarter (int8) of the bytes ({FORMS[0]})",
    )
    add("--resume", metavar="CHECKPOINT", help="continue a stopped run exactly, with its text and options")
    add("--plot", metavar="FILE", help="write a figure of the loss curves (needs matplotlib)")
    add(
        "--compare",
        action="store_true",
        help="print a table from count models to the LSTM, keep no model (with --cell: window and that cell)",
    )


def writes_files(options: argparse.Namespace) -> bool:
    """Whether the command writes files beside what it prints."""
    return not options.compare


def run(options: argparse.Namespace) -> int:
    """Train a model on a text: progress, held-out bits per character, a checkpoint, a sample."""
    if options.compare:
        return _compare(options)
    output = options.output or options.resume or CHECKPOINT
    _check_files(options, output)
    if options.threads is not None:
        rf.set_num_threads(options.threads)
    model, text, chosen = _model_and_text(options)
    _print_text(text)
    counts = _print_count_models(text)
    _print_plan(model, text, chosen, output)
    history = train_model(model, text, chosen, output=output, resume=options.resume)
    if options.plot:
        _plot(history, text, counts, options.plot)
    if history.interrupted:
        print(f"\nInterrupted. The checkpoint is saved. To continue: rnnfast train --resume {output}")
        return INTERRUPTED
    print(f"\n{history.step[-1]:,} steps in {history.seconds[-1]:.0f} s")
    _print_result(model, text, counts)
    check_training(model, history)
    print(f"\ncheckpoint  {output}\n            more text from it: rnnfast sample {output}")
    if options.save is not None:
        _save(model, options)
    print(f"\na sample at temperature {TEMPERATURE}:\n")
    print(model.generate(length=600, temperature=TEMPERATURE, rng=chosen["seed"]).strip("\n"))
    return 0


def _compare(options: argparse.Namespace) -> int:
    for name in ("output", "save", "weights", "resume", "plot"):
        if getattr(options, name) is not None:
            raise CommandError(f"--{name}: not with --compare, which keeps no model; train the one you want")
    if options.threads is not None:
        rf.set_num_threads(options.threads)
    text, chosen = _new_run(options)
    _print_text(text)
    wanted = text_ladder.LADDER if options.cell is None else ("window", options.cell)
    cells = [cell for cell in CELLS if cell in wanted]
    return text_ladder.compare(text, chosen | {"lr": options.lr}, cells=cells)


def _check_files(options: argparse.Namespace, output: str) -> None:
    """Refuse output files now that could not be written after the training, or are no checkpoints."""
    check_place("--resume" if options.resume and not options.output else "--output", output)
    if output != options.resume:
        check_replaced("--output", output)
    if options.save is not None:
        check_place("--save", options.save)
        check_replaced("--save", options.save)
    elif options.weights is not None:
        raise CommandError(f"--weights {options.weights}: needs --save")
    if options.plot is not None:
        check_plot(options.plot, "cli")
    check_apart({"--output": output, "--save": options.save, "--plot": options.plot})


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The options of the command line that a checkpoint keeps."""
    return {name: getattr(options, name) for name in DEFAULTS if getattr(options, name) is not None}


def _model_and_text(options: argparse.Namespace) -> tuple[TextModel, Text, dict[str, Any]]:
    """The model, its text and all options: of a new run, or on --resume of the checkpoint's."""
    if options.resume is not None:
        return _resumed_run(options)
    text, chosen = _new_run(options)
    return build_model(text.alphabet, chosen), text, chosen


def _new_run(options: argparse.Namespace) -> tuple[Text, dict[str, Any]]:
    """The text and all options: those of the command line, and defaults for the others."""
    given = _given(options)
    chosen = _combine(DEFAULTS, given)
    if chosen["symbols"] == "words":
        chosen["vocabulary"] = chosen["vocabulary"] or VOCABULARY
    elif "vocabulary" in given:
        raise CommandError(f"--vocabulary {given['vocabulary']}: needs --symbols words")
    if "window" in given and not options.compare and chosen["cell"] != "window":
        raise CommandError(f"--window {given['window']}: needs --cell window")
    used = [name for name in (*NOISE, "layer_norm") if chosen[name]]
    if chosen["cell"] not in REGULARIZED and not options.compare and used:
        value = "" if used[0] == "layer_norm" else f" {chosen[used[0]]}"
        reason = ", which has no state" if chosen["cell"] == "window" else ""
        raise CommandError(f"--{used[0].replace('_', '-')}{value}: not with --cell {chosen['cell']}{reason}")
    text = read(options.files, chosen["symbols"], chosen["vocabulary"])
    _check_length(text, chosen)
    return text, chosen


def _resumed_run(options: argparse.Namespace) -> tuple[TextModel, Text, dict[str, Any]]:
    """The model, the text and all options of a checkpoint; the command line may change some options."""
    given, model = _given(options), load_model(options.resume)
    if "fit" not in model.metadata:
        raise CommandError(f"{options.resume}: holds a model alone, and no run to resume")
    try:
        kept = {**model.options, "matmul_precision": model.model.matmul_precision}
        recorded = {name: kept[name] for name in DEFAULTS}
        files, crc32 = model.metadata["text"]["files"], model.metadata["text"]["crc32"]
    except (KeyError, TypeError) as error:
        raise CommandError(f"{options.resume}: damaged: no entry {error}") from None
    _check_recorded(options.resume, recorded, files)
    for name in given.keys() - ON_RESUME:
        if given[name] != recorded[name]:
            option = "--" + name.replace("_", "-")
            raise CommandError(f"{option} {given[name]}: {options.resume} was trained with {recorded[name]}")
    text = read(options.files or files, model.alphabet, None)
    if text.crc32 != crc32:
        raise CommandError(f"{text.name}: not the text that {options.resume} was trained on")
    chosen = _combine(recorded, given)
    _check_length(text, chosen)
    return model, text, chosen


def _check_recorded(resume: str, recorded: dict[str, Any], files: Any) -> None:
    """Refuse options that `rnnfast train` never records; `load_model` has checked those of the model."""
    for name in ("vocabulary", "seq_len", "batch", "epochs", "lr", "minutes"):
        value = recorded[name]
        kinds = (int, float) if name in ("lr", "minutes") else (int,)
        if value is None and name in ("vocabulary", "epochs", "minutes"):
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
    needed = symbols_needed(chosen["seq_len"], chosen["batch"])
    if len(text.training) < needed:
        raise CommandError(
            f"{text.name}: too short: {chosen['batch']} sequences (--batch) of {chosen['seq_len']} steps"
            f" (--seq-len) take {needed:,} {text.alphabet.unit}s,"
            f" its first nine tenths have {len(text.training):,}"
        )


def _print_text(text: Text) -> None:
    total, known = len(text.training) + len(text.held_out), len(text.alphabet.known)
    further = {
        "character": f"{known} different ones",
        "byte": f"{total:,} bytes",
        "word": f"{total:,} words, {known:,} different ones known",
    }
    print(f"text        {text.name}")
    print(f"            {len(text.content):,} characters, {further[text.alphabet.unit]}")
    print(f"            {len(text.training):,} to train on, the last {len(text.held_out):,} held out")
    if text.spelling_bits:
        unknown = (text.held_out == text.alphabet.unknown).mean()
        print(
            f"            {unknown:.1%} of the held-out words are unknown;"
            f" bits per character include {text.bits_per_character(0.0):.3f} for their spelling"
        )


def _print_count_models(text: Text) -> list[NGramScore]:
    """Print and return the scores of count models; the best Kneser-Ney model is the last."""
    counts = [ngram_score(text, order) for order in (1, 2, 5)]
    scores = "   ".join(f"{score.gram} {score.bits:.3f}" for score in counts)
    print(f"counting    {scores}   held-out bits/{text.alphabet.short}, Witten-Bell")
    best = best_ngram(text)
    print(f"            {best.gram} {best.bits:.3f}   the best order up to {LONGEST}, Kneser-Ney")
    return [*counts, best]


def _print_plan(model: TextModel, text: Text, chosen: dict[str, Any], output: str) -> None:
    length = f"{chosen['minutes']:g} minutes" if chosen["minutes"] else f"{chosen['epochs']} epochs"
    windows = windows_of(text, chosen["seq_len"], chosen["batch"])
    precision = chosen["matmul_precision"]
    products = "" if precision == "float32" else f"; products in {precision}"
    rates = f"dropout {chosen['dropout']:g}{noise_of(chosen)}"
    print(f"model       {model.name}; {model.size:,} parameters; {rates}{products}")
    print(
        f"training    {length}, {windows} windows each:"
        f" {chosen['batch']} sequences x {chosen['seq_len']} {text.alphabet.unit}s;"
        f" threads: {rf.get_num_threads()}"
    )
    replaces = " (replaces the one there)" if Path(output).exists() else ""
    print(f"checkpoint  {output}{replaces}; Ctrl-C saves it and ends\n", flush=True)


def _print_result(model: TextModel, text: Text, counts: list[NGramScore]) -> None:
    """Print the scores of the count models and the model, which reads the held-out text as one sequence."""
    unit, bits = text.alphabet.unit, model.bits_per_symbol(text.held_out_from_before)
    unigram, bigram, *longer = counts
    rows = {"unigram": unigram.bits, "bigram": bigram.bits} | {score.name: score.bits for score in longer}
    rows[model.name] = bits
    width = max(map(len, rows))
    by_character = unit == "character"
    print(f"\nheld-out bits per {unit}" + ("" if by_character else ", perplexity, bits per character"))
    for name, value in rows.items():
        print(
            f"  {name:{width}}  {fixed(value)}"
            + ("" if by_character else f"  {perplexity(value):8.2f}  {fixed(text.bits_per_character(value))}")
        )
    five, best = longer[0], min(longer, key=lambda score: score.bits)
    print(f"  {text_ladder.margin(bits, five.bits)} the {five.name}")
    if best is not five:
        print(f"  {text_ladder.margin(bits, best.bits)} the best count model, the {best.name}")


def _save(model: TextModel, options: argparse.Namespace) -> None:
    try:
        model.save(options.save, weights=options.weights or FORMS[0])
    except OSError as error:
        raise CommandError(f"--save {options.save}: {error.strerror or error}") from None
    print(f"model       {options.save}; {Path(options.save).stat().st_size:,} bytes")


def _plot(history: History, text: Text, counts: list[NGramScore], path: str) -> None:
    label = f"bits per {text.alphabet.unit}"
    try:
        lines = {counted.name: counted.bits for counted in counts[-2:]}
        history.plot(path, scale=1.0 / math.log(2), label=label, lines=lines)
    except (OSError, ValueError) as error:  # a folder without write access; a format matplotlib does not know
        raise CommandError(f"--plot {path}: {error}") from None
