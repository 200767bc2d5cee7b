"""Which query is which, which are nearly the same, and on which side of the split each falls."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from kaizen.ids import fingerprint
from kaizen.records import MAX_QUERY_CHARACTERS
from kaizen.retrieval.analyser import Analyser
from kaizen.text.normalise import one_line

Split = Literal["train", "held_out"]
HELD_OUT = 0.2
NEAR = 0.8  # Jaccard of the sets of terms


def normalised(text: str) -> str:
    """One spelling for a query: case, blanks and what stands at the end of a sentence make no other query."""
    spelt = one_line(text, MAX_QUERY_CHARACTERS).casefold()
    return spelt.rstrip(" .?!") or spelt


def query_id(tenant: str, text: str) -> str:
    """Name of a query within all tenants: 16 hex digits."""
    return fingerprint([tenant, normalised(text)])[:16]


class Nearness:
    """Groups of queries that say nearly the same, so that one cannot be trained on and another held out.

    Two texts are near when the sets of their stemmed terms overlap by at least NEAR (Jaccard), or both spell the same;
    a group is all that hangs together. Its founders are those of its texts that are near none before them: where texts
    come in the order in which they were first asked, one that comes later is never a founder, nor makes one less of
    those before it. Only texts that share one of their rarest terms are compared (prefix
    filtering: Chaudhuri, Ganti and Kaushik, 2006), which finds the same pairs.
    """

    def __init__(self, texts: Sequence[str], analyser: Analyser | None = None) -> None:
        analyser = analyser or Analyser()
        terms = [frozenset(analyser(normalised(text))) or frozenset((normalised(text),)) for text in texts]
        self._parents = list(range(len(texts)))
        self.founders: list[int] = []
        self._join_near(terms, _frequencies(terms))

    def leader(self, number: int) -> int:
        """The lowest number of the group that text `number` is in."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _join_near(self, terms: Sequence[frozenset[str]], frequency: Mapping[str, int]) -> None:
        holders = _Holders()
        for number, own in enumerate(terms):
            rarest = sorted(own, key=lambda term: (frequency[term], term))
            near = [other for other in holders.maybe_near(rarest) if _jaccard(own, terms[other]) >= NEAR]
            for other in near:
                self._join(number, other)
            if not near:
                self.founders.append(number)
            holders.add(number, rarest)

    def _join(self, one: int, other: int) -> None:
        low, high = sorted((self.leader(one), self.leader(other)))
        self._parents[high] = low


class _Holders:
    """Texts by one of their rarest terms, by how many terms they have, and by the term's place among the rarest.

    Two sets of n and m terms that are near share s of them, so one of the n - s + 1 rarest of the one is among the
    m - s + 1 rarest of the other. By the sizes of both, texts that are made of one template are not all compared.
    """

    def __init__(self) -> None:
        self._numbers: defaultdict[tuple[str, int, int], list[int]] = defaultdict(list)

    def maybe_near(self, rarest: Sequence[str]) -> set[int]:
        """Texts that may be near one with these terms, the rarest first; all that are near are among them."""
        size, found = len(rarest), set[int]()
        for other in range(_least_shared(size), int(size / NEAR + 1e-9) + 1):
            shared = _shared(size, other)
            for term in rarest[: size - shared + 1]:
                for place in range(other - shared + 1):
                    found.update(self._numbers.get((term, other, place), ()))
        return found

    def add(self, number: int, rarest: Sequence[str]) -> None:
        """Take a text with these terms."""
        size = len(rarest)
        for place, term in enumerate(rarest[: size - _least_shared(size) + 1]):
            self._numbers[term, size, place].append(number)


def sides_of(names: Sequence[str], near: Nearness, seed: int) -> list[Split]:
    """The side of each query, given their ids in the order in which they were first asked.

    A group is trained on if it is by any of its founders. So a query that is new moves none that is trained on to the
    other side, not even when two groups hang together by it.
    """
    train = {near.leader(number) for number in near.founders if split_of(names[number], seed) == "train"}
    return ["train" if near.leader(number) in train else "held_out" for number in range(len(names))]


def split_of(founder: str, seed: int) -> Split:
    """The side of a founder of a group, by its id: HELD_OUT of them are held out."""
    digest = hashlib.blake2b(f"{seed}\0{founder}".encode(), digest_size=8).digest()
    return "held_out" if int.from_bytes(digest, "big") < HELD_OUT * 2**64 else "train"


def _frequencies(terms: Sequence[frozenset[str]]) -> Mapping[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for own in terms:
        for term in own:
            found[term] += 1
    return found


def _least_shared(size: int) -> int:
    """How many terms any near text must share at least; so many it must have."""
    return max(1, math.ceil(NEAR * size - 1e-9))


def _shared(one: int, other: int) -> int:
    """How many terms two near texts of these sizes share at least."""
    return max(1, math.ceil(NEAR / (1 + NEAR) * (one + other) - 1e-9))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
