"""Texts for a model: read from files, as symbols, with a held-out part, as parallel sequences."""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.files import open_regular
from rnnfast.text.alphabets import ALPHABETS, Alphabet, Characters, Words
from rnnfast.text.ngram import NGram

__all__ = ["MOST", "Text", "default_text", "read_text", "streams"]

MOST = 2**30  # the most bytes of a text file; each takes nine or more bytes in memory
LEAST = 20  # characters of a text
STDIN = "/dev/stdin"


class Text:
    """A text with a training part and a held-out part, its last tenth, in the symbols of the training part.

    Parameters
    ----------
    content : str
        The whole text, at least 20 characters.
    symbols : {"characters", "bytes", "words"} or Alphabet
        What the text is written in. An alphabet is that of another text, for example of a trained model.
    vocabulary : int, optional
        How many words are known with "words", the most frequent of the training part; by default all.
    name : str
        What messages call the text.
    files : path, or sequence of paths
        The files that it was read from.

    Attributes
    ----------
    content, name, files, vocabulary
        As above.
    alphabet : Alphabet
    training, held_out : ndarray of int64, shape [N]
        The symbols of the first nine tenths of the characters, and of the last tenth.
    cut : int
        The place in `content` at which the held-out part begins.
    crc32 : int
        A checksum of the content.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or the text is too short.

    Examples
    --------
    >>> import rnnfast as rf
    >>> text = rf.text.Text("what is written twice is easily read twice. " * 5)
    >>> len(text.training), len(text.held_out), text.alphabet.known
    (198, 22, ' .acdehilnrstwy')
    >>> "".join(text.alphabet.decode(text.held_out))
    'is easily read twice. '
    """

    def __init__(
        self,
        content: str,
        symbols: str | Alphabet = "characters",
        vocabulary: int | None = None,
        *,
        name: str = "content",
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        if len(checks.string("content", content)) < LEAST:
            raise ValueError(f"{name}: {len(content)} characters are too short a text to train on")
        self.name = checks.string("name", name)
        self.files = _names(files)
        self.content = content
        self.crc32 = zlib.crc32(_encoded(content))
        self.cut = len(content) - len(content) // 10
        self.vocabulary = vocabulary
        self.alphabet = _alphabet(content[: self.cut], symbols, vocabulary)
        self.training = self.alphabet.encode(content[: self.cut])
        self.held_out = self.alphabet.encode(content[self.cut :])

    @property
    def held_out_from_before(self) -> NDArray[np.int64]:
        """The held-out symbols after the last training symbol, from which a network predicts the first."""
        return np.concatenate([self.training[-1:], self.held_out])

    def bits_per_character(self, bits_per_symbol: float) -> float:
        """The bits per character of the held-out part, from the bits per held-out symbol.

        Unknown words also cost `spelling_bits`.
        """
        bits = checks.number("bits_per_symbol", bits_per_symbol) * len(self.held_out) + self.spelling_bits
        return bits / (len(self.content) - self.cut)

    @cached_property
    def spelling_bits(self) -> float:
        """The bits that spell all unknown words of the held-out part, each with an end mark.

        A 5-gram of characters gives them, made of the different words of the training part, each once.
        Characters that the training part lacks share one symbol, as in a text of characters.
        """
        words = self.alphabet
        if not isinstance(words, Words) or not (self.held_out == words.unknown).any():
            return 0.0
        training, held_out = self.content[: self.cut], self.content[self.cut :]
        characters = Characters.of(training)
        end = np.array([len(characters)])

        def spelt(tokens: Iterable[str]) -> NDArray[np.int64]:
            return np.concatenate([part for token in tokens for part in (characters.encode(token), end)])

        model = NGram(spelt(dict.fromkeys(words.cut(training))), len(characters) + 1, 5, "kneser-ney")
        known = set(words.known)
        unknown = spelt(token for token in words.cut(held_out) if token not in known)
        return model.bits_per_symbol(unknown) * len(unknown)

    def __repr__(self) -> str:
        return f"Text({self.name}; {len(self.content):,} characters as {self.alphabet.symbols})"


def streams(symbols: ArrayLike, batch: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Symbols laid out as `batch` parallel sequences of equal length, and the symbols one step later.

    Fewer than `batch` symbols are left over at the end.

    Parameters
    ----------
    symbols : array_like of int, shape [N]
        The sequence, N > batch.
    batch : int
        B.

    Returns
    -------
    x, targets : ndarray of int, shape [(N-1)//B, B]

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or there are too few symbols.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> x, targets = rf.text.streams(np.arange(7), batch=2)
    >>> x.T.tolist(), targets.T.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    batch = checks.positive("batch", batch)
    array = checks.as_array("symbols", symbols)
    if array.ndim != 1 or len(array) <= batch:
        raise ValueError(f"symbols: expected shape [N] with N > batch = {batch}, got {array.shape}")
    used = (len(array) - 1) // batch * batch
    x, targets = array[:used], array[1 : used + 1]
    return np.ascontiguousarray(x.reshape(batch, -1).T), np.ascontiguousarray(targets.reshape(batch, -1).T)


def default_text(symbols: str | Alphabet = "characters", vocabulary: int | None = None) -> Text:
    """Python's own help texts, `pydoc_data.topics`, joined by newlines in the sorted order of their keys.

    Parameters
    ----------
    symbols, vocabulary
        As for :class:`Text`.

    Returns
    -------
    Text
        Half a million characters.

    Raises
    ------
    ImportError
        If this Python comes without them.
    TypeError, ValueError
        As for :class:`Text`.

    Examples
    --------
    >>> import rnnfast as rf
    >>> len(rf.text.default_text().content) > 400_000
    True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ImportError(
            "this Python has no pydoc_data.topics, the default text: name a text file"
        ) from None
    name = f"pydoc_data.topics of Python {platform.python_version()}"
    return Text("\n".join(topics[key] for key in sorted(topics)), symbols, vocabulary, name=name)


def read_text(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    symbols: str | Alphabet = "characters",
    vocabulary: int | None = None,
) -> Text:
    """Read text files (UTF-8), joined by newlines in the order given.

    A file may be a pipe, and ``/dev/stdin`` is the process's own stdin. Any of them may have at most 1 GiB.
    The line ends of all systems are read as newlines.

    Parameters
    ----------
    files : path, or sequence of paths
    symbols, vocabulary
        As for :class:`Text`.

    Returns
    -------
    Text

    Raises
    ------
    OSError
        If a file cannot be read, or is a device. The error's ``filename`` names it.
    TypeError, ValueError
        As for :class:`Text`; or if a file is too long or no UTF-8 text.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "book.txt")
    ...     with open(path, "w", encoding="utf-8") as file:
    ...         _ = file.write("what is written twice is easily read twice. " * 5)
    ...     text = rf.text.read_text(path, "words")
    >>> text.alphabet.known[:3]
    [' is', ' twice', ' written']
    """
    names = _names(files)
    if not names:
        raise ValueError("files: expected at least one, got none")
    content = "\n".join(_content(name) for name in names)
    return Text(content, symbols, vocabulary, name=", ".join(names), files=names)


def _alphabet(training: str, symbols: str | Alphabet, vocabulary: int | None) -> Alphabet:
    if isinstance(symbols, Alphabet):
        kind, words = f"symbols={checks.shown(symbols)}", False
    else:
        kind = f"symbols={checks.one_of('symbols', symbols, ALPHABETS)!r}"
        words = symbols == Words.symbols
    if vocabulary is not None and not words:
        raise ValueError(f"vocabulary: expected None with {kind}, got {checks.shown(vocabulary)}")
    return symbols if isinstance(symbols, Alphabet) else ALPHABETS[symbols].of(training, vocabulary)


def _encoded(content: str) -> bytes:
    try:
        return content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"content: expected text that UTF-8 can encode, got {error}") from None


def _names(files: Any) -> list[str]:
    """The names of the files as text."""
    if isinstance(files, (str, os.PathLike)):
        files = [files]
    if not isinstance(files, Sequence) or not all(isinstance(file, (str, os.PathLike)) for file in files):
        raise TypeError(f"files: expected the name of a file, or several, got {checks.shown(files)}")
    return [os.fsdecode(file) for file in files]


def _content(file: str) -> str:
    try:
        with _opened(file) as source:
            longer = os.fstat(source.fileno()).st_size > MOST
            content = b"" if longer else source.read(MOST + 1)
    except OSError as error:
        error.filename = file
        raise
    except ValueError as error:  # no file can have this name
        raise ValueError(f"{file!r}: {error}") from None
    if longer or len(content) > MOST:
        raise ValueError(f"{file}: expected at most {MOST:,} bytes, got more")
    try:
        lines = content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text (byte {error.start})") from None
    return lines.replace("\r", "\n")


def _opened(file: str) -> AbstractContextManager[IO[bytes]]:
    """A source of bytes that has an end: a regular file, a pipe, or stdin if it is one of them or a terminal.

    A pipe ends when its writers close it. A device may have no end, so it is refused.
    """
    if file == STDIN:
        if sys.stdin is None:
            raise OSError(errno.EBADF, "stdin is closed", file)
        source = sys.stdin.buffer
        if _is_device(os.fstat(source.fileno()).st_mode) and not source.isatty():
            raise OSError(errno.EINVAL, "expected a file, a pipe or a terminal, got a device", file)
        return nullcontext(source)
    if stat.S_ISFIFO(os.stat(file).st_mode):
        return open(file, "rb")
    return open_regular(file)


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
