"""Text for a model: where it comes from, its symbols, its held-out part, its windows."""

from __future__ import annotations

import os
import platform
import stat
import sys
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import IO

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli.errors import CommandError
from rnnfast.files import open_regular
from rnnfast.text.alphabets import ALPHABETS, Characters, Words
from rnnfast.text.ngram import NGram

__all__ = ["MOST", "Text", "default_text", "read_text", "streams"]

MOST = 2**30  # bytes of a file of text: each takes nine or more in memory
STDIN = "/dev/stdin"


class Text:
    """A text cut into a training part and the held-out last tenth, in symbols of the training part.

    Parameters
    ----------
    name : str
        What to call it in messages.
    files : sequence of str
        The files it was read from; none for the default text.
    content : str
        The whole text, at least 20 characters.
    symbols : {"characters", "bytes", "words"}
        What it is written in.
    vocabulary : int, optional
        How many words are known, the most frequent of the training part; by default all.

    Attributes
    ----------
    alphabet : Alphabet
    training, held_out : ndarray of int
        The symbols of the first nine tenths of the characters, and of the last tenth.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[str],
        content: str,
        symbols: str = "characters",
        vocabulary: int | None = None,
    ) -> None:
        if len(content) < 20:
            raise CommandError(f"{name}: {len(content)} characters are too short a text to train on")
        self.name = name
        self.files = list(files)
        self.content = content
        self.crc32 = zlib.crc32(content.encode("utf-8"))
        self.cut = len(content) - len(content) // 10
        self.alphabet = ALPHABETS[symbols].of(content[: self.cut], vocabulary)
        self.training = self.alphabet.encode(content[: self.cut])
        self.held_out = self.alphabet.encode(content[self.cut :])

    @property
    def held_out_from_before(self) -> NDArray[np.int64]:
        """The held-out symbols and the one in front of them, from which a network predicts the first."""
        return np.concatenate([self.training[-1:], self.held_out])

    def bits_per_character(self, bits_per_symbol: float) -> float:
        """What a mean over the held-out symbols comes to for each character of the held-out part.

        Unknown words are spelt out, at the cost that `spelling_bits` has for them.
        """
        bits = bits_per_symbol * len(self.held_out) + self.spelling_bits
        return bits / (len(self.content) - self.cut)

    @cached_property
    def spelling_bits(self) -> float:
        """The bits that spell all unknown words of the held-out part, each with an end mark.

        A 5-gram of characters gives them, made of the different words of the training part, each once.
        Characters that the training part lacks share one symbol, and that costs no more: as in a text of
        characters.
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


def streams(symbols: NDArray[np.int64], batch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Symbols laid out as `batch` streams of equal length side by side, and the symbols one step later.

    Fewer than `batch` symbols are left over at the end.

    Parameters
    ----------
    symbols : ndarray of int, shape [N]
        The sequence, N > batch.
    batch : int
        B.

    Returns
    -------
    x, targets : ndarray of int, shape [(N-1)//B, B]

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.text.reading import streams
    >>> x, targets = streams(np.arange(7), batch=2)
    >>> x.T.tolist(), targets.T.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    used = (len(symbols) - 1) // batch * batch
    x, targets = symbols[:used], symbols[1 : used + 1]
    return np.ascontiguousarray(x.reshape(batch, -1).T), np.ascontiguousarray(targets.reshape(batch, -1).T)


def default_text(symbols: str = "characters", vocabulary: int | None = None) -> Text:
    """Python's own help texts, `pydoc_data.topics`, joined by newlines in the sorted order of their keys."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CommandError(
            "this Python has no pydoc_data.topics, the default text: name a text file"
        ) from None
    name = f"pydoc_data.topics of Python {platform.python_version()}"
    return Text(name, (), "\n".join(topics[key] for key in sorted(topics)), symbols, vocabulary)


def read_text(files: Sequence[str], symbols: str = "characters", vocabulary: int | None = None) -> Text:
    """Text files (UTF-8), joined by newlines in the order given; without any, the default text.

    A file may be a pipe, and ``/dev/stdin`` is the command's own stdin. None may have more than `MOST` bytes.
    """
    if not files:
        return default_text(symbols, vocabulary)
    content = "\n".join(_content(file) for file in files)
    return Text(", ".join(files), files, content, symbols, vocabulary)


def _content(file: str) -> str:
    try:
        with _opened(file) as source:
            longer = os.fstat(source.fileno()).st_size > MOST
            content = b"" if longer else source.read(MOST + 1)
        if longer or len(content) > MOST:
            raise CommandError(f"{file}: expected at most {MOST:,} bytes, got more")
        lines = content.decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: not UTF-8 text (byte {error.start})") from None
    except ValueError as error:  # a name that no file can have
        raise CommandError(f"{file!r}: {error}") from None
    return lines.replace("\r", "\n")


def _opened(file: str) -> AbstractContextManager[IO[bytes]]:
    """A source of bytes that has an end: a regular file, a pipe, or stdin if it is one of them or a terminal.

    A pipe ends when its writers close it. A device may never end.
    """
    if file == STDIN:
        if sys.stdin is None:
            raise CommandError(f"{file}: stdin is closed")
        source = sys.stdin.buffer
        if _is_device(os.fstat(source.fileno()).st_mode) and not source.isatty():
            raise CommandError(f"{file}: expected a file, a pipe or a terminal, got a device")
        return nullcontext(source)
    if stat.S_ISFIFO(os.stat(file).st_mode):
        return open(file, "rb")
    return open_regular(file)


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
