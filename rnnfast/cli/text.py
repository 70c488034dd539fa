"""Text for the character model: where it comes from, its alphabet, its held-out part, its windows."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli.errors import CommandError

__all__ = ["Alphabet", "Streams", "Text", "default_text", "read_text"]


class Text:
    """A text cut into a training part and the held-out last tenth, with the alphabet of the training part.

    Parameters
    ----------
    name : str
        What to call it in messages.
    files : sequence of str
        The files it was read from; none for the default text.
    content : str
        The whole text, at least 20 characters.
    """

    def __init__(self, name: str, files: Sequence[str], content: str) -> None:
        if len(content) < 20:
            raise CommandError(f"{name}: {len(content)} characters are too short a text to train on")
        self.name = name
        self.files = list(files)
        self.content = content
        self.crc32 = zlib.crc32(content.encode("utf-8"))
        self.cut = len(content) - len(content) // 10
        self.alphabet = Alphabet("".join(sorted(set(content[: self.cut]))))
        self._symbols = self.alphabet.encode(content)

    @property
    def training(self) -> NDArray[np.int64]:
        """The symbols of the first nine tenths."""
        return self._symbols[: self.cut]

    @property
    def held_out(self) -> NDArray[np.int64]:
        """The symbols of the last tenth."""
        return self._symbols[self.cut :]

    @property
    def held_out_from_before(self) -> NDArray[np.int64]:
        """The held-out symbols and the one in front of them, from which a network predicts the first."""
        return self._symbols[self.cut - 1 :]


class Alphabet:
    """Characters numbered from 0, and one number more for every character that is not among them.

    Parameters
    ----------
    characters : str
        Each character once; its position is its number.

    Examples
    --------
    >>> from rnnfast.cli.text import Alphabet
    >>> alphabet = Alphabet("abc")
    >>> alphabet.encode("cab!").tolist(), len(alphabet)
    ([2, 0, 1, 3], 4)
    """

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self._numbers = {character: number for number, character in enumerate(characters)}

    def __len__(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of a text's characters, [len(text)]."""
        unknown = len(self.characters)
        return np.fromiter((self._numbers.get(c, unknown) for c in text), np.int64, len(text))


class Streams:
    """Symbols laid out as parallel streams, in windows of consecutive steps, for truncated backpropagation.

    The symbols are cut into `batch` streams of equal length (fewer than `batch` are left over at the end).
    Iterating gives one epoch: x, the next `seq_len` symbols of each stream, and targets, the symbols one step
    later. Each column of a window goes on where it stopped in the window before; the last may be shorter.

    Parameters
    ----------
    symbols : ndarray of int, shape [N]
        The sequence, N > batch.
    seq_len : int
        Steps of a window, T.
    batch : int
        Streams side by side, B.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.cli.text import Streams
    >>> [(x.tolist(), targets.tolist()) for x, targets in Streams(np.arange(7), seq_len=2, batch=2)]
    [([[0, 3], [1, 4]], [[1, 4], [2, 5]]), ([[2, 5]], [[3, 6]])]
    """

    def __init__(self, symbols: NDArray[np.int64], seq_len: int, batch: int) -> None:
        steps = (len(symbols) - 1) // batch
        self.seq_len = seq_len
        self._x = np.ascontiguousarray(symbols[: steps * batch].reshape(batch, steps).T)
        self._targets = np.ascontiguousarray(symbols[1 : steps * batch + 1].reshape(batch, steps).T)

    @property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """x and targets of all steps, [steps, B]."""
        return self._x, self._targets

    def __len__(self) -> int:
        return -(-len(self._x) // self.seq_len)

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        for t in range(0, len(self._x), self.seq_len):
            yield self._x[t : t + self.seq_len], self._targets[t : t + self.seq_len]


def default_text() -> Text:
    """Python's own help texts, `pydoc_data.topics`, joined by newlines in the sorted order of their keys."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CommandError(
            "this Python has no pydoc_data.topics, the default text: name a text file"
        ) from None
    name = f"pydoc_data.topics of Python {platform.python_version()}"
    return Text(name, (), "\n".join(topics[key] for key in sorted(topics)))


def read_text(files: Sequence[str]) -> Text:
    """Text files (UTF-8), joined by newlines in the order given; without any, the default text."""
    if not files:
        return default_text()
    parts = []
    for file in files:
        try:
            parts.append(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise CommandError(f"{file}: not UTF-8 text (byte {error.start})") from None
        except ValueError as error:  # a name that no file can have
            raise CommandError(f"{file!r}: {error}") from None
    return Text(", ".join(files), files, "\n".join(parts))
