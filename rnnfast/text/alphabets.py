"""What a text is written in, for a model: numbers for its characters, its bytes or its words, and back."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALPHABETS", "Alphabet", "Bytes", "Characters", "Words", "restored"]

# A word (letters, digits, underscores) or any other visible character, each with the one space before it; a
# run of spaces; any other white space. Nothing is left over, so the tokens joined are the text.
_TOKEN = re.compile(r" ?\w+| ?[^\w\s]| {2,}|\s")


class Alphabet:
    """Symbols numbered from 0, and how a text becomes their numbers and is made of them again.

    Attributes
    ----------
    unit, short : str
        What one symbol is called, also in short.
    known : sequence
        The symbols; their places are their numbers.
    unknown : int or None
        The one number for all that is not among them, the last; None where there is no such thing.
    """

    unit: ClassVar[str]
    short: ClassVar[str]
    known: str | list[str] | range
    unknown: int | None

    @property
    def recorded(self) -> str | list[str] | None:
        """What a checkpoint keeps of it, for :func:`restored`."""
        return None

    def __len__(self) -> int:
        return len(self.known) + (self.unknown is not None)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of a text's symbols, [N]."""
        raise NotImplementedError

    def decode(self, numbers: Iterable[int]) -> Iterator[str]:
        """The text of numbers, none of them `unknown`, piece by piece as they come."""
        raise NotImplementedError

    def missing(self, text: str) -> list[str]:
        """What of a text is not among the symbols."""
        return []


class _Tokens(Alphabet):
    """Symbols that are pieces of text."""

    known: str | list[str]

    def __init__(self, known: str | list[str]) -> None:
        self.known = known
        self.unknown = len(known)
        self._numbers = {symbol: number for number, symbol in enumerate(known)}

    @property
    def recorded(self) -> str | list[str]:
        """What a checkpoint keeps of it, for :func:`restored`."""
        return self.known

    def cut(self, text: str) -> str | list[str]:
        """The pieces of a text, which are the text again when joined."""
        raise NotImplementedError

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of a text's symbols, [N]."""
        pieces, unknown = self.cut(text), len(self.known)
        return np.fromiter((self._numbers.get(piece, unknown) for piece in pieces), np.int64, len(pieces))

    def decode(self, numbers: Iterable[int]) -> Iterator[str]:
        """The text of numbers, none of them `unknown`, piece by piece as they come."""
        return (self.known[number] for number in numbers)

    def missing(self, text: str) -> list[str]:
        """What of a text is not among the symbols."""
        return sorted(set(self.cut(text)) - self._numbers.keys())


class Characters(_Tokens):
    """Characters, and one number more for every character that is not among them.

    Parameters
    ----------
    known : str
        Each character once.

    Examples
    --------
    >>> from rnnfast.text.alphabets import Characters
    >>> alphabet = Characters("abc")
    >>> alphabet.encode("cab!").tolist(), len(alphabet)
    ([2, 0, 1, 3], 4)
    >>> "".join(alphabet.decode([2, 0, 1]))
    'cab'
    """

    unit, short = "character", "char"
    known: str

    @classmethod
    def of(cls, text: str, vocabulary: int | None = None) -> Characters:
        """Those of a text, however many."""
        return cls("".join(sorted(set(text))))

    def cut(self, text: str) -> str:
        """The text itself: a string is its characters."""
        return text


class Words(_Tokens):
    """Words and the text between them; one more number means every unknown word.

    A token is a word (letters, digits, underscores) or any other visible character, each with the one space
    before it; or a run of spaces; or any other white space.

    Parameters
    ----------
    known : list of str
        Each token once.

    Examples
    --------
    >>> from rnnfast.text.alphabets import Words
    >>> alphabet = Words.of("The cat, the  dog.\\n", vocabulary=4)
    >>> alphabet.cut("The cat, the  dog.\\n")
    ['The', ' cat', ',', ' the', '  ', 'dog', '.', '\\n']
    >>> alphabet.known, alphabet.encode("The cat.").tolist()
    (['The', ' cat', ',', ' the'], [0, 1, 4])
    """

    unit, short = "word", "word"
    known: list[str]

    @classmethod
    def of(cls, text: str, vocabulary: int | None = None) -> Words:
        """The most frequent ones of a text, at most `vocabulary`; of equals, the first."""
        return cls([token for token, _ in Counter(_TOKEN.findall(text)).most_common(vocabulary)])

    def cut(self, text: str) -> list[str]:
        """The tokens of a text."""
        return _TOKEN.findall(text)


class Bytes(Alphabet):
    """The bytes of UTF-8: 256 symbols, and no text that they cannot write.

    Examples
    --------
    >>> from rnnfast.text.alphabets import Bytes
    >>> Bytes().encode("né").tolist()
    [110, 195, 169]
    >>> list(Bytes().decode([110, 195, 169, 195]))
    ['n', 'é', '�']
    """

    unit, short = "byte", "byte"
    known = range(256)
    unknown = None

    @classmethod
    def of(cls, text: str, vocabulary: int | None = None) -> Bytes:
        """Those of any text."""
        return cls()

    def encode(self, text: str) -> NDArray[np.int64]:
        """The bytes of a text, [N]."""
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int64)

    def decode(self, numbers: Iterable[int]) -> Iterator[str]:
        """The characters that the bytes make, each as it is whole; what makes none becomes U+FFFD."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for number in numbers:
            if character := decoder.decode(bytes([number])):
                yield character
        if rest := decoder.decode(b"", final=True):
            yield rest


ALPHABETS: dict[str, type[Characters] | type[Bytes] | type[Words]] = {
    "characters": Characters,
    "bytes": Bytes,
    "words": Words,
}


def restored(symbols: str, recorded: str | list[str] | None) -> Alphabet:
    """The alphabet that gave `recorded`; a ValueError where that cannot be."""
    if symbols == "bytes":
        return Bytes()
    if symbols == "characters" and isinstance(recorded, str):
        return Characters(recorded)
    if symbols == "words" and isinstance(recorded, list) and all(isinstance(word, str) for word in recorded):
        return Words(recorded)
    raise ValueError(f"alphabet: expected one of {symbols!r}, got {type(recorded).__name__}")
