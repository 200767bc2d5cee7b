"""Which words of a text carry its meaning: stems without function words, numbers, and names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kaizen.answering.numerals import numbers, shared
from kaizen.retrieval.analyser import Analyser

_FUNCTION_WORDS = (
    "a about above after again against all also am an and any are aren as at be because been before being below "
    "between both but by can cannot could couldn did didn do does doesn doing don down during each either ever "
    "every few for from further had hadn has hasn have haven having he her here hers herself him himself his how "
    "however i if in into is isn it its itself just let like ll me might more most must my myself no nor not of "
    "off often on once one only or other others ought our ours out over own per quite rather re s same shall she "
    "should shouldn since so some such t than that the their theirs them themselves then there therefore these "
    "they this those though through thus to too under until up upon us ve very via was wasn we were weren what "
    "when where whether which while who whom whose why will with within without won would wouldn yes yet you your "
    "yours yourself"
)
_WORD = re.compile(r"\w+")
_WORD_OR_END = re.compile(r"\w+|[.!?:\n]")
_FUNCTIONAL = frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a text is about, as sets of strings that compare across texts. `shared`: see `numerals.shared`."""

    stems: frozenset[str]
    numbers: frozenset[str]
    shared: frozenset[str]
    names: frozenset[str]

    def __or__(self, other: Meaning) -> Meaning:
        return Meaning(
            stems=self.stems | other.stems,
            numbers=self.numbers | other.numbers,
            shared=self.shared | other.shared,
            names=self.names | other.names,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """Reads meanings off texts. Safe to share between threads. The function words are English ones."""

    analyser: Analyser = field(default_factory=Analyser)

    def read(self, text: str) -> Meaning:
        """Return the stems, numbers and names of `text`."""
        return Meaning(
            stems=frozenset(self.stems(text)), numbers=numbers(text), shared=shared(text), names=self._names(text)
        )

    def stems(self, text: str) -> list[str]:
        """Return the stems of the words that carry meaning, in order, repeats included."""
        words = (word for word in _WORD.findall(text) if word.lower() not in _FUNCTIONAL)
        return [stem for word in words for stem in self.analyser(word)]

    def _names(self, text: str) -> frozenset[str]:
        """Stems of capitalised words, a sentence's first word left out: it is capitalised anyway."""
        found: set[str] = set()
        begins = True
        for word in _WORD_OR_END.findall(text):
            if word[0].isupper() and not begins and word.lower() not in _FUNCTIONAL:
                found.update(self.analyser(word))
            begins = word in ".!?:\n"
        return frozenset(found)
