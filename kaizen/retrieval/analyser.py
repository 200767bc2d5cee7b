"""Text to index terms: the same for documents and queries, or nothing would be found."""

from __future__ import annotations

import re
import threading
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import Stemmer  # PyStemmer: Snowball, https://snowballstem.org

from kaizen.ids import fingerprint

VERSION = 2
"""Raise it when the same settings would give other terms: what another version has read is read anew."""

MAX_TERM_CHARACTERS = 64
MAX_CACHED_WORDS = 200_000  # about 40 MB a thread when full

# helloWorld -> hello World; HTTPServer -> HTTP Server. mRNA and siRNA stay whole: one lower-case letter is no word.
_HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])|(?<=[A-Z]{2})(?=[A-Z][a-z]{2})")
_JOINT = re.compile(r"[._+#]+")
# Scripts written without blanks: Thai, Lao, Myanmar, Khmer, kana, Chinese characters. Hangul is written with them.
_UNBROKEN = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
    r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{_UNBROKEN}]")
_RUN = re.compile(f"[{_UNBROKEN}]+|[^{_UNBROKEN}]+")
# What a word means without: accents, Hebrew points, Arabic ones and the stroke that stretches a word; and what only
# says how a character is to be drawn.
_ACCENTS = re.compile(
    r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
    r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    r"\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    r"\u200d\ufe00-\ufe0f]"
)
# Vowels and tones of the scripts that write them as marks. Only blocks that have any are asked, which takes 3 ms
# instead of 200; beyond the basic plane `re` would try one range after the other, for every character.
_MARKED = (range(0x370, 0x2000), range(0xA600, 0xAC00))
_MARK = "".join(chr(c) for block in _MARKED for c in block if unicodedata.category(chr(c)).startswith("M"))
_CHARACTER = re.compile(f".[{_MARK}]*")


def _token(word: str) -> re.Pattern[str]:
    """A word, or several joined by dots with nothing between (os.path.join, 3.14, U.S); and C++, C#."""
    return re.compile(rf"{word}(?:\.{word})*(?:\+\+|#(?!\w))?")


_ASCII_TOKEN = _token(r"\w+")
_TOKEN = _token(rf"\w+(?:[{_MARK}]+\w*)*")  # a mark is no letter, but words have them


class _Cache(threading.local):
    """Word -> terms, and the stemmer, both one per thread: a Snowball stemmer must not be shared."""

    def __init__(self, language: str) -> None:
        self.stem = Stemmer.Stemmer(language, 0).stemWord if language != "none" else str
        self.terms: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True, kw_only=True)
class Analyser:
    """Makes terms of text: NFKC, accents off, case folded, words stemmed.

    A name of code (`os.path.join`, `max_tokens`) gives itself unstemmed and then its parts, so that both the whole and
    a part find it, and the whole ranks higher. One of humps (`YouTube`, `HTTPServer`) does likewise, its whole as the
    word that its lower case is. Runs of Chinese, Japanese, Thai and others without blanks give their bigrams; a word
    of another script beside them stays a word. Safe to share between threads and to pickle.

    Attributes:
        language: of the Snowball stemmer; `none` does not stem.
        title_weight: how many times the words of its document's title count in a chunk.
    """

    language: Literal["english", "none"] = "english"
    title_weight: int = 2
    _cache: _Cache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cache", _Cache(self.language))

    def __reduce__(self) -> tuple[object, ...]:
        return _make, (self.language, self.title_weight)

    @property
    def record(self) -> dict[str, str | int]:
        """The settings that decide the terms, for an index's part of a release. Its version stays 1: each segment says
        which VERSION read its words, and is read anew by another one, which what was learnt must outlive."""
        return {"language": self.language, "title_weight": self.title_weight, "version": 1}

    @property
    def fingerprint(self) -> str:
        """Two analysers with one fingerprint give the same terms."""
        return fingerprint(self.record)

    def __call__(self, text: str) -> list[str]:
        """Return the terms of `text` in order, repeats included."""
        tokens = _ASCII_TOKEN.findall(text) if text.isascii() else _TOKEN.findall(_plain(text))
        known = self._cache.terms
        terms: list[str] = []
        for token in tokens:
            found = known.get(token)
            terms.extend(self._learn(token) if found is None else found)
        return terms

    def chunk(self, title: str, text: str) -> list[str]:
        """Return the terms under which a chunk is indexed: those of its document's title, then its own."""
        return self(title) * self.title_weight + self(text)

    def _learn(self, token: str) -> tuple[str, ...]:
        known = self._cache.terms
        if len(known) >= MAX_CACHED_WORDS:
            known.clear()
        terms = self._expand(token)
        if len(token) <= MAX_TERM_CHARACTERS:
            known[token] = terms
        return terms

    def _expand(self, token: str) -> tuple[str, ...]:
        if _UNSPACED.search(token) is None:
            return self._name(token)
        terms: list[str] = []
        for run in _RUN.findall(token):
            terms += _bigrams(run) if _UNSPACED.match(run) else self._name(run.strip("._"))
        return tuple(terms)

    def _name(self, token: str) -> tuple[str, ...]:
        """Terms of a word, or of words that are joined; first the whole."""
        if token.islower() and token.isalpha():  # most words, and none of what follows applies to them
            return (self._stem(token),)
        parts = [part for part in _JOINT.split(token) if part]
        terms = [term for part in parts for term in self._humped(part)]
        return tuple(terms) if not parts or parts == [token] else (_cut(token), *terms)

    def _humped(self, word: str) -> list[str]:
        """The stem of the whole, for who writes it in lower case, and those of its humps."""
        humps = [hump for hump in _HUMP.split(word) if hump]
        return [self._stem(each) for each in (humps if humps == [word] else (word, *humps))]

    def _stem(self, word: str) -> str:
        return self._cache.stem(_cut(word))


def _make(language: Literal["english", "none"], title_weight: int) -> Analyser:
    return Analyser(language=language, title_weight=title_weight)


def _cut(word: str) -> str:
    return word.casefold()[:MAX_TERM_CHARACTERS]


def _bigrams(run: str) -> list[str]:
    """Pairs of neighbours, each a character with its marks; of one alone, itself."""
    characters = _CHARACTER.findall(run)
    pairs = map("".join, pairwise(characters)) if len(characters) > 1 else characters
    return [pair[:MAX_TERM_CHARACTERS] for pair in pairs]


def _plain(text: str) -> str:
    """NFKC without accents: 'café' and 'cafe' are one word, and so are 'ﬁne' and 'fine'."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))
