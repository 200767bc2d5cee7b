"""Text to index terms: the same for documents and queries, or nothing would be found."""

from __future__ import annotations

import re
import threading
import unicodedata
from dataclasses import dataclass, field
from typing import Literal

import Stemmer  # PyStemmer: Snowball, https://snowballstem.org

from kaizen.ids import fingerprint

VERSION = 1
"""Raise it when the same settings would give other terms: an index made by another version is another index."""

MAX_TERM_CHARACTERS = 64
MAX_CACHED_WORDS = 200_000  # about 40 MB a thread when full

# A word, or several joined by dots with nothing between (os.path.join, 3.14, U.S); and C++, C#.
_TOKEN = re.compile(r"\w+(?:\.\w+)*(?:\+\+|#(?!\w))?")
_JOINT = re.compile(r"[._+#]+")
# helloWorld -> hello World; HTTPServer -> HTTP Server. mRNA and siRNA stay whole: one lower-case letter is no word.
_HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])|(?<=[A-Z]{2})(?=[A-Z][a-z]{2})")
# Scripts written without blanks: kana, Chinese characters, Hangul is written with them.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_ACCENTS = re.compile(r"[\u0300-\u036f]")


class _Cache(threading.local):
    """Word -> terms, and the stemmer, both one per thread: a Snowball stemmer must not be shared."""

    def __init__(self, language: str) -> None:
        self.stem = Stemmer.Stemmer(language, 0).stemWord if language != "none" else str
        self.terms: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True, kw_only=True)
class Analyser:
    """Makes terms of text: NFKC, accents off, case folded, words stemmed.

    A name of code (`os.path.join`, `max_tokens`, `HTTPServer`) gives itself unstemmed and then its parts, so that
    both the whole and a part find it, and the whole ranks higher. Runs of Chinese or Japanese give their bigrams.
    Safe to share between threads and to pickle.

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
        """What decides the terms, for the manifest of an index."""
        return {"language": self.language, "title_weight": self.title_weight, "version": VERSION}

    @property
    def fingerprint(self) -> str:
        """Two analysers with one fingerprint give the same terms."""
        return fingerprint(self.record)

    def __call__(self, text: str) -> list[str]:
        """Return the terms of `text` in order, repeats included."""
        if not text.isascii():
            text = _plain(text)
        known = self._cache.terms
        terms: list[str] = []
        for token in _TOKEN.findall(text):
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
        if token.islower() and token.isalpha():  # most words, and none of what follows applies to them
            return (self._cache.stem(token.casefold()[:MAX_TERM_CHARACTERS]),)
        if _UNSPACED.search(token):
            return tuple(token[i : i + 2] for i in range(max(1, len(token) - 1)))
        parts = [part for joined in _JOINT.split(token) for part in _HUMP.split(joined) if part]
        stems = tuple(self._cache.stem(part.casefold()[:MAX_TERM_CHARACTERS]) for part in parts)
        if not parts or parts == [token]:
            return stems
        return (token.casefold()[:MAX_TERM_CHARACTERS], *stems)


def _make(language: Literal["english", "none"], title_weight: int) -> Analyser:
    return Analyser(language=language, title_weight=title_weight)


def _plain(text: str) -> str:
    """NFKC without accents: 'café' and 'cafe' are one word, and so are 'ﬁne' and 'fine'."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))
