"""Alphabets: the numbers that a model reads in place of a text's characters, bytes or words, and back."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks

__all__ = ["ALPHABETS", "Alphabet", "Bytes", "Characters", "Words", "restored"]

# A word (letters, digits, underscores) or any other visible character, each with the one space before it; a
# run of spaces; any other white space. Nothing is left over, so the tokens joined are the text.
_TOKEN = re.compile(r" ?\w+| ?[^\w\s]| {2,}|\s")


class Alphabet:
    """The symbols of a text, numbered from 0: the base of `Characters`, `Bytes` and `Words`.

    ``len(alphabet)`` is V, the number of symbols, the unknown one included.

    Attributes
    ----------
    symbols : str
        "characters", "bytes" or "words".
    unit, short : str
        What one symbol is called, and an abbreviation of that.
    known : sequence
        The symbols. The place of a symbol is its number.
    unknown : int or None
        The last number, for everything that is not among the symbols. None if there is no such number.

    Examples
    --------
    >>> import rnnfast as rf
    >>> alphabet = rf.text.Text("one two three four " * 9, "words", vocabulary=4).alphabet
    >>> alphabet.symbols, len(alphabet), alphabet.known
    ('words', 5, [' two', ' three', ' four', ' one'])
    """

    symbols: ClassVar[str]
    unit: ClassVar[str]
    short: ClassVar[str]
    known: str | list[str] | range
    unknown: int | None

    @classmethod
    def of(cls, text: str, vocabulary: int | None = None) -> Alphabet:
        """The alphabet of a text; `vocabulary` bounds the number of known words."""
        raise NotImplementedError

    @property
    def recorded(self) -> str | list[str] | None:
        """What a checkpoint keeps of the alphabet."""
        return None

    def same_as(self, other: Alphabet) -> bool:
        """Whether the other alphabet has the same symbols with the same numbers."""
        return type(self) is type(other) and self.recorded == other.recorded

    def __len__(self) -> int:
        return len(self.known) + (self.unknown is not None)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of a text's symbols, [N]."""
        raise NotImplementedError

    def decode(self, numbers: Iterable[int]) -> Iterator[str]:
        """The text of numbers, a piece for each; a ValueError for a number without text."""
        return self._decoded(self._with_text(checks.iterated("numbers", numbers, "integers")))

    def missing(self, text: str) -> list[str]:
        """The different symbols of a text that are not known."""
        checks.string("text", text)
        return []

    def _decoded(self, numbers: Iterable[int]) -> Iterator[str]:
        raise NotImplementedError

    def _with_text(self, numbers: Iterator[int]) -> Iterator[int]:
        """The numbers, each checked before it is yielded."""
        known = len(self.known)
        for number in numbers:
            if not 0 <= checks.integer("numbers", number) < known:
                raise ValueError(f"numbers: expected those of known symbols, 0..{known - 1}, got {number}")
            yield number

    def __repr__(self) -> str:
        return f"{type(self).__name__}({checks.shown(self.known)})"


class _Tokens(Alphabet):
    """Symbols that are pieces of text."""

    known: str | list[str]

    def __init__(self, known: str | list[str]) -> None:
        self._numbers = {symbol: number for number, symbol in enumerate(known)}
        if len(self._numbers) != len(known):
            raise ValueError(f"known: expected each {self.unit} once, got {checks.shown(known)}")
        self.known = known
        self.unknown = len(known)

    @property
    def recorded(self) -> str | list[str]:
        """What a checkpoint keeps of the alphabet."""
        return self.known

    def cut(self, text: str) -> str | list[str]:
        """The tokens of a text; joined, they are the text again."""
        raise NotImplementedError

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of a text's symbols, [N]."""
        pieces, unknown = self.cut(text), len(self.known)
        return np.fromiter((self._numbers.get(piece, unknown) for piece in pieces), np.int64, len(pieces))

    def missing(self, text: str) -> list[str]:
        """The different symbols of a text that are not known."""
        return sorted(set(self.cut(text)) - self._numbers.keys())

    def _decoded(self, numbers: Iterable[int]) -> Iterator[str]:
        return (self.known[number] for number in numbers)


class Characters(_Tokens):
    """Characters, and one more number for every character that is not among them.

    Parameters
    ----------
    known : str
        Each character once.

    Raises
    ------
    TypeError, ValueError
        If `known` is no str, or has a character twice.

    Examples
    --------
    >>> from rnnfast.text import Characters
    >>> alphabet = Characters("abc")
    >>> alphabet.encode("cab!").tolist(), len(alphabet)
    ([2, 0, 1, 3], 4)
    >>> "".join(alphabet.decode([2, 0, 1]))
    'cab'
    """

    symbols, unit, short = "characters", "character", "char"
    known: str

    def __init__(self, known: str) -> None:
        super().__init__(checks.string("known", known))

    @classmethod
    def of(cls, text: str, vocabulary: int | None = None) -> Characters:
        """All characters of a text; `vocabulary` is not used."""
        return cls("".join(sorted(set(checks.string("text", text)))))

    def cut(self, text: str) -> str:
        """The text itself, whose items are its characters."""
        return checks.string("text", text)


class Words(_Tokens):
    """Words and the text between them, and one more number for every unknown word.

    A token is a word (letters, digits, underscores) or any other visible character, each with the one space
    before it; or a run of spaces; or any other white space.

    Parameters
    ----------
    known : sequence of str
        Each token once.

    Raises
    ------
    TypeError, ValueError
        If `known` is no sequence of str, or has a token twice.

    Examples
    --------
    >>> from rnnfast.text import Words
    >>> alphabet = Words.of("The cat, the  dog.\\n", vocabulary=4)
    >>> alphabet.cut("The cat, the  dog.\\n")
    ['The', ' cat', ',', ' the', '  ', 'dog', '.', '\\n']
    >>> alphabet.known, alphabet.encode("The cat.").tolist()
    (['The', ' cat', ',', ' the'], [0, 1, 4])
    """

    symbols, unit, short = "words", "word", "word"
    known: list[str]

    def __init__(self, known: Sequence[str]) -> None:
        if isinstance(known, str) or not isinstance(known, Sequence):
            raise TypeError(f"known: expected a sequence of str, got {checks.shown(known)}")
        super().__init__([checks.string("known", word) for word in known])

    @classmethod
    def of(cls, text: str, vocabulary: int | None = None) -> Words:
        """The most frequent tokens of a text, at most `vocabulary`; of equally frequent ones, the first."""
        most = None if vocabulary is None else checks.positive("vocabulary", vocabulary)
        tokens = Counter(_TOKEN.findall(checks.string("text", text)))
        return cls([token for token, _ in tokens.most_common(most)])

    def cut(self, text: str) -> list[str]:
        """The tokens of a text."""
        return _TOKEN.findall(checks.string("text", text))


class Bytes(Alphabet):
    """The bytes of UTF-8: 256 symbols, which can write every text.

    Examples
    --------
    >>> from rnnfast.text import Bytes
    >>> Bytes().encode("né").tolist()
    [110, 195, 169]
    >>> list(Bytes().decode([110, 195, 169, 195]))
    ['n', 'é', '�']
    """

    symbols, unit, short = "bytes", "byte", "byte"
    known = range(256)
    unknown = None

    @classmethod
    def of(cls, text: str, vocabulary: int | None = None) -> Bytes:
        """The same bytes for every text; `vocabulary` is not used."""
        checks.string("text", text)
        return cls()

    def encode(self, text: str) -> NDArray[np.int64]:
        """The bytes of a text, [N]."""
        encoded = checks.string("text", text).encode("utf-8", "surrogateescape")
        return np.frombuffer(encoded, np.uint8).astype(np.int64)

    def _decoded(self, numbers: Iterable[int]) -> Iterator[str]:
        """The characters of the bytes, each when it is complete; other bytes become U+FFFD."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for number in numbers:
            if character := decoder.decode(bytes([number])):
                yield character
        if rest := decoder.decode(b"", final=True):
            yield rest

    def __repr__(self) -> str:
        return "Bytes()"


ALPHABETS: dict[str, type[Alphabet]] = {kind.symbols: kind for kind in (Characters, Bytes, Words)}


def restored(symbols: str, recorded: str | list[str] | None) -> Alphabet:
    """The alphabet whose `recorded` this is; a ValueError if there is none."""
    if symbols == "bytes":
        return Bytes()
    if symbols == "characters" and isinstance(recorded, str):
        return Characters(recorded)
    if symbols == "words" and isinstance(recorded, list) and all(isinstance(word, str) for word in recorded):
        return Words(recorded)
    raise ValueError(f"alphabet: expected one of {symbols!r}, got {type(recorded).__name__}")
