"""A text model: a network and its alphabet, which generate text and score it; its file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.files import file_name
from rnnfast.nn import Sequential, losses
from rnnfast.nn.count import count_parameters
from rnnfast.text import sampling
from rnnfast.text.alphabets import ALPHABETS, Alphabet, restored
from rnnfast.text.network import CELLS, NOISE, REGULARIZED, name_of, network, parameters_at_least
from rnnfast.text.reading import streams
from rnnfast.training.checkpoint import PRECISIONS, model_arrays, precisions_of, read_checkpoint, save
from rnnfast.training.evaluation import evaluate

__all__ = ["KIND", "TextBeam", "TextModel", "build", "load"]

KIND = "text model"  # metadata["kind"] of the files
KINDS = (KIND, "character model")  # the second is of older files, which have characters only
NOT_IN_THOSE = {
    "symbols": "characters",
    "vocabulary": None,
    "window": 8,
    **dict.fromkeys(NOISE, 0.0),
    "layer_norm": False,
}  # may be missing there
BUILT_FROM = {"symbols", "cell", "window", "hidden", "layers", "dropout", "seed"}  # what `build` chooses
CHUNK = 2000  # steps that are evaluated at a time


class TextBeam(NamedTuple):
    """A continuation of a prompt that beam search found.

    Attributes
    ----------
    text : str
        The continuation, without the prompt.
    symbols : list of int
        The numbers of its symbols.
    log_probability : float
        The sum of the symbols' log probabilities (natural logarithm), each given the prompt and the symbols
        before it.
    """

    text: str
    symbols: list[int]
    log_probability: float


class TextModel:
    """A network that predicts the next symbol of a text, with the alphabet of the text.

    :func:`rnnfast.text.build` makes one to be trained, :func:`rnnfast.text.load` reads a trained one.

    Parameters
    ----------
    model : Sequential
        From integers [T, B] to logits [T, B, V], with V the size of the alphabet.
    alphabet : Alphabet
    options : mapping, optional
        The arguments with which :func:`build` made the network. Without them the model can be neither saved
        nor loaded, but `rf.save` can save the network.

    Attributes
    ----------
    model : Sequential
        The network.
    alphabet : Alphabet
    options : dict
        The settings with which the network was built and trained.
    metadata : dict
        The contents of its file beside the weights: ``metadata["options"]``, ``metadata["alphabet"]``, and
        the name, files and CRC-32 of the text that it was trained on, ``metadata["text"]``.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.

    Examples
    --------
    A network of one's own as a text model:

    >>> import rnnfast as rf
    >>> alphabet = rf.text.Characters("abc ")
    >>> network = rf.Sequential(rf.Embedding(5, 4, rng=0), rf.GRU(4, 8, rng=1), rf.Linear(8, 5, rng=2))
    >>> model = rf.text.TextModel(network, alphabet)
    >>> len(model.generate("ab", length=10, rng=0))
    10
    """

    def __init__(
        self, model: Sequential, alphabet: Alphabet, options: Mapping[str, Any] | None = None
    ) -> None:
        self.model = checks.instance("model", model, Sequential)
        self.alphabet = checks.instance("alphabet", alphabet, Alphabet)
        options = {} if options is None else checks.instance("options", options, Mapping)  # type: ignore[type-abstract]
        self.metadata: dict[str, Any] = {
            "kind": KIND,
            "options": dict(options),
            "alphabet": alphabet.recorded,
        }

    @property
    def options(self) -> dict[str, Any]:
        """What the network was built and trained with."""
        options: dict[str, Any] = self.metadata["options"]
        return options

    @property
    def name(self) -> str:
        """A short name, such as "LSTM, 320 units"."""
        return name_of(self.options) if self.options.keys() >= BUILT_FROM else type(self.model).__name__

    @property
    def size(self) -> int:
        """The number of parameters."""
        return count_parameters(self.model)

    def generate(
        self,
        prompt: str = "",
        length: int = 500,
        *,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        rng: checks.Rng = None,
    ) -> str:
        """A random continuation of a prompt.

        The defaults are those of ``rnnfast sample``, and so is the text for the same seed.

        Parameters
        ----------
        prompt : str, default ""
            What the model reads first. For an empty prompt it reads a newline, or the alphabet's first symbol
            if the alphabet has no newline.
        length : int, default 500
            How many symbols to draw.
        temperature, top_k, top_p
            As for :func:`rnnfast.sampling.distribution`.
        rng : int, numpy.random.Generator or None
            The same seed gives the same text.

        Returns
        -------
        str
            The continuation, without the prompt.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind or out of range, or the prompt has symbols that the model does
            not know.

        Examples
        --------
        See :func:`rnnfast.text.train`.
        """
        return "".join(
            self.pieces(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, rng=rng)
        )

    def pieces(
        self,
        prompt: str = "",
        length: int = 500,
        *,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        rng: checks.Rng = None,
    ) -> Iterator[str]:
        """The same continuation as :meth:`generate`, piece by piece as it is drawn.

        Parameters
        ----------
        prompt, length, temperature, top_k, top_p, rng
            As for :meth:`generate`.

        Returns
        -------
        iterator of str
            It draws as it is read. A piece is mostly the text of one symbol.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`generate`.

        Examples
        --------
        >>> import rnnfast as rf
        >>> model = rf.text.build(rf.text.Characters("abc\\n"), cell="gru", hidden=8, rng=0)
        >>> "".join(model.pieces("ab", 20, rng=1)) == model.generate("ab", 20, rng=1)
        True
        """
        numbers = sampling.generate(
            self.model,
            self._read_first(prompt),
            length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            exclude=self._without_text(),
            rng=rng,
        )
        return self.alphabet.decode(numbers)

    def beam_search(self, prompt: str = "", length: int = 500, beams: int = 8) -> list[TextBeam]:
        """The most likely continuations of a prompt that beam search finds.

        Parameters
        ----------
        prompt, length
            As for :meth:`generate`.
        beams : int, default 8
            How many continuations the search keeps at each step.

        Returns
        -------
        list of TextBeam
            At most `beams`, the most likely first.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`generate`.

        Examples
        --------
        >>> import rnnfast as rf
        >>> model = rf.text.build(rf.text.Characters("abc\\n"), cell="gru", hidden=8, rng=0)
        >>> model.beam_search("ab", 20, beams=1)[0].text == model.generate("ab", 20, temperature=0)
        True
        """
        found = sampling.beam_search(
            self.model, self._read_first(prompt), length, beams, exclude=self._without_text()
        )
        return [TextBeam("".join(self.alphabet.decode(beam.symbols)), *beam) for beam in found]

    def bits_per_symbol(self, text: str | ArrayLike) -> float:
        """The mean of -log2 p over the symbols of a text: the size to which the model could compress it.

        Parameters
        ----------
        text : str, or array_like of int, shape [N]
            The text, or the numbers of its symbols; at least two symbols. The first symbol is read and not
            predicted. ``Text.held_out_from_before`` gives the score of the whole held-out part.

        Returns
        -------
        float
            Bits per symbol.

        Raises
        ------
        TypeError, ValueError
            If `text` is of the wrong kind, has fewer than two symbols, or numbers outside the alphabet.

        Examples
        --------
        >>> import numpy as np, rnnfast as rf
        >>> model = rf.text.build(rf.text.Characters("abc"), cell="gru", hidden=8, rng=0)
        >>> text = "abcabcabc"
        >>> model.bits_per_symbol(text) == model.bits_per_symbol(model.alphabet.encode(text))
        True
        """
        symbols = self.alphabet.encode(text) if isinstance(text, str) else checks.as_array("text", text)
        if symbols.ndim != 1 or len(symbols) < 2:
            raise ValueError(f"text: expected at least two symbols, [N], got shape {symbols.shape}")
        if symbols.dtype.kind not in "iu":
            raise TypeError(f"text: expected a str or integers, got dtype {symbols.dtype}")
        if symbols.min() < 0 or symbols.max() >= len(self.alphabet):
            came = f"{symbols.min()}..{symbols.max()}"
            raise ValueError(f"text: expected symbols in 0..{len(self.alphabet) - 1}, got {came}")
        data = streams(symbols, 1)
        return evaluate(self.model, losses.cross_entropy, data, truncate=(CHUNK, CHUNK)) / math.log(2)

    def save(self, path: str | os.PathLike[str], *, weights: str = "float32") -> None:
        """Write the model to a file, which :func:`rnnfast.text.load` and ``rnnfast sample`` read.

        Parameters
        ----------
        path : str or path-like
            The file, by convention ``*.npz``. It is written whole or not at all.
        weights : {"float32", "bfloat16", "int8"}
            How matrices are stored, as for :func:`rnnfast.save`. In bfloat16 and int8 they take half or a
            quarter of the bytes.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the network is not one of :func:`rnnfast.text.build`, the alphabet is of a class that is not
            this library's, or `weights` is unknown.

        Examples
        --------
        See :func:`rnnfast.text.load`.
        """
        self.check_built()
        metadata = {key: self.metadata[key] for key in self.metadata if key != "fit"}
        save(path, self.model, weights=weights, metadata=metadata)

    def check_built(self) -> None:
        """Raise a ValueError if :func:`load` could not build the network or the alphabet again."""
        if ALPHABETS.get(self.alphabet.symbols) is not type(self.alphabet):
            raise ValueError(
                "alphabet: expected Characters, Bytes or Words, which load makes again, got "
                f"{checks.shown(self.alphabet)}; rf.save saves any network"
            )
        if not self.options.keys() >= BUILT_FROM:
            raise ValueError(
                "options: expected those of rf.text.build, from which load builds the network again, got "
                f"{checks.shown(self.options)}; rf.save saves any network"
            )

    def _read_first(self, prompt: str) -> NDArray[np.int64]:
        """The numbers of the prompt; for an empty prompt, of the text that is read instead."""
        missing = self.alphabet.missing(checks.string("prompt", prompt))
        if missing:
            unit, came = self.alphabet.unit, ", ".join(map(repr, missing))
            raise ValueError(f"prompt: expected {unit}s that the model knows, got {came}")
        if prompt:
            return self.alphabet.encode(prompt)
        return np.zeros(1, np.int64) if self.alphabet.missing("\n") else self.alphabet.encode("\n")

    def _without_text(self) -> tuple[int, ...]:
        """The symbols that have no text and are never drawn."""
        return () if self.alphabet.unknown is None else (self.alphabet.unknown,)

    def __repr__(self) -> str:
        return f"TextModel({self.name}; {len(self.alphabet)} symbols)"


def build(
    alphabet: Alphabet,
    *,
    cell: str = "lstm",
    window: int = 8,
    hidden: int = 320,
    layers: int = 1,
    dropout: float = 0.25,
    zoneout: float = 0.0,
    recurrent_dropout: float = 0.0,
    weight_dropout: float = 0.0,
    layer_norm: bool = False,
    rng: checks.Rng = None,
) -> TextModel:
    """A text model to be trained: the network that ``rnnfast train`` trains.

    Parameters
    ----------
    alphabet : Alphabet
        That of the text, ``text.alphabet``.
    cell : {"lstm", "gru", "minlstm", "mingru", "rnn", "slstm", "window"}
        The recurrent cell, or "window": tanh layers on the last symbols (:func:`window_model`).
    window : int, default 8
        The number of symbols that the cell "window" reads. The other cells ignore it.
    hidden : int, default 320
        Hidden units of each layer.
    layers : int, default 1
    dropout : float, default 0.25
        The rate of dropout before, between and after the recurrent layers.
    zoneout, recurrent_dropout, weight_dropout : float, default 0.0
        Those of the recurrent layers, as for :class:`rnnfast.LSTM`. The cells lstm, gru and rnn have them.
    layer_norm : bool, default False
        Whether the recurrent layers have layer normalization, likewise.
    rng : int, numpy.random.Generator or None
        Seeds the weights and the dropout masks.

    Returns
    -------
    TextModel

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> import rnnfast as rf
    >>> text = rf.text.Text("what is written twice is easily read twice. " * 50)
    >>> rf.text.build(text.alphabet, cell="gru", hidden=32, rng=0)
    TextModel(GRU, 32 units; 16 symbols)
    """
    checks.instance("alphabet", alphabet, Alphabet)
    checks.check_rng(rng)
    noise = {"zoneout": zoneout, "recurrent_dropout": recurrent_dropout, "weight_dropout": weight_dropout}
    layer_norm = checks.flag("layer_norm", layer_norm)
    given = [name for name, rate in {**noise, "layer_norm": layer_norm}.items() if rate != 0]
    if checks.one_of("cell", cell, CELLS) not in REGULARIZED and given:
        expected, got = (0, noise[given[0]]) if given[0] in noise else (False, True)
        raise ValueError(f"{given[0]}: expected {expected} for the cell {cell!r}, got {got}")
    options = {
        "symbols": alphabet.symbols,
        "vocabulary": None,
        "cell": cell,
        "window": checks.positive("window", window),
        "hidden": checks.positive("hidden", hidden),
        "layers": checks.positive("layers", layers),
        "dropout": checks.probability("dropout", dropout),
        **{name: checks.probability(name, rate) for name, rate in noise.items()},
        "layer_norm": layer_norm,
        "seed": checks.seed(np.random.default_rng() if rng is None else rng),
    }
    return TextModel(network(len(alphabet), options), alphabet, options)


def load(path: str | os.PathLike[str]) -> TextModel:
    """Read a text model from a file of ``rnnfast train``, :func:`rnnfast.text.train` or `TextModel.save`.

    Parameters
    ----------
    path : str or path-like
        The file; ``rnnfast train`` writes ``rnnfast-model.npz`` by default.

    Returns
    -------
    TextModel
        Its ``metadata`` is all that the file keeps beside the weights. Its network, ``model.model``, has the
        `matmul_precision` with which the file was written.

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    ValueError
        If the file is damaged, or holds something else. The message opens with the path.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf
    >>> model = rf.text.build(rf.text.Characters("abc\\n"), cell="gru", hidden=8, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     model.save(path)
    ...     loaded = rf.text.load(path)
    >>> loaded
    TextModel(GRU, 8 units; 5 symbols)
    >>> loaded.generate("ab", 20, rng=1) == model.generate("ab", 20, rng=1)
    True
    """
    arrays, metadata = read_checkpoint(path)
    name = file_name(path)
    if metadata.get("kind") not in KINDS:
        raise ValueError(f"{name}: an rnnfast checkpoint, but not one of `rnnfast train`")
    try:
        options = NOT_IN_THOSE | metadata["options"]
        alphabet = restored(options["symbols"], metadata["alphabet"])
        weights = model_arrays(arrays)
        held = sum(array.size for array in weights.values())
        if (least := parameters_at_least(len(alphabet), options)) > held:
            raise ValueError(
                f"options: expected a network of {held:,} parameters, got one of at least {least:,}"
            )
        sequential = network(len(alphabet), options)
        sequential.load_state_dict(weights)
        sequential.load_matmul_precisions(precisions_of(arrays.get(PRECISIONS)))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: damaged: {error}") from error
    model = TextModel(sequential, alphabet, options)
    model.metadata = metadata | {"options": options}
    return model
