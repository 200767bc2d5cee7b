"""What people did with what they were shown, as columns: about 20 bytes a shown chunk, however many there are.

An item is a (tenant, query, chunk). Spellings of one query are one query. One identity has one vote on an item.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kaizen.learning.splits import query_id
from kaizen.records import Feedback, Impression, ShownChunk

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST_POSITIONS = 100  # deeper hits share the last one's examination


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Votes:
    """n times that an identity saw an item.

    Attributes:
        item, who, session: (n,) numbers of the item, of the identity and of the impression.
        position: (n,) from 1.
        above: (n,) whether something above it was clicked in the same impression.
        clicked: (n,) whether it was clicked.
        swap: (n,) the upper position of the random pair that it was part of, 0 when it was in none.
        drafted: (n,) whether it was part of an interleaved list.
    """

    item: Ints
    who: Ints
    session: Ints
    position: Ints
    above: Bools
    clicked: Bools
    swap: Ints
    drafted: Bools

    def __len__(self) -> int:
        return len(self.item)

    def of(self, keep: npt.NDArray[np.generic]) -> Votes:
        """Those of a mask (n,), or of row numbers in their order."""
        return replace(self, **{name: getattr(self, name)[keep] for name in self.__dataclass_fields__})

    def once_each(self) -> Votes:
        """One vote for each identity and item: that of its first session with a click, or else of its first session.

        So an identity's votes on a query come from one session as far as that one showed the items: people who ask
        again are not counted again, and what was passed over stays beside what was clicked.
        """
        clicks = np.bincount(self.session, self.clicked)[self.session] if len(self) else np.zeros(0)
        order = np.lexsort((self.session, clicks == 0, self.who, self.item))
        item, who = self.item[order], self.who[order]
        first = np.append(True, (item[1:] != item[:-1]) | (who[1:] != who[:-1]))[: len(self)]
        return self.of(order[first])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opinions:
    """n explicit judgements of identities on items, one for each identity and item.

    item, who: (n,) numbers. value: (n,) from -1 (not relevant) to 1 (relevant), never 0.
    """

    item: Ints
    who: Ints
    value: Floats


@dataclass(slots=True)
class Query:
    """One query of one tenant under all its spellings; `text` is the first. `groups`: of the keys that asked it."""

    tenant: str
    id: str
    text: str
    groups: set[str]


@dataclass(slots=True)
class Item:
    """A chunk that was shown for a query, and how it ranked there: sums over `shown` impressions."""

    query: int
    chunk_id: str
    document_id: str
    features: tuple[float, ...] = ()
    shown: int = 0
    positions: float = 0.0


class Evidence:
    """Collects impressions with their feedback. Call `add` in the order of the ledger.

    Attributes:
        queries, items, identities: by number; an identity is "tenant" + "\\0" + `Impression.identity`.
        asked_by, asked_at: identity, and time in seconds since the epoch, of each impression, in order.
    """

    def __init__(self) -> None:
        self.queries: list[Query] = []
        self.items: list[Item] = []
        self.identities: list[str] = []
        self.asked_by, self.asked_at = array("i"), array("d")
        self._opinions: dict[tuple[int, int], float] = {}  # (item, identity) -> value
        self._columns = {name: array("i") for name in Votes.__dataclass_fields__}
        self._query_numbers: dict[str, int] = {}
        self._item_numbers: dict[tuple[int, str], int] = {}
        self._identity_numbers: dict[str, int] = {}
        self._spellings: dict[tuple[str, str], int] = {}

    def add(self, impression: Impression, feedback: Sequence[Feedback], groups: Sequence[str]) -> None:
        """Count one search impression and the feedback on it. `groups`: those of the key that asked."""
        query = self._query(impression.tenant, impression.query)
        self.queries[query].groups.update(groups)
        session = len(self.asked_by)
        who = self.ask(impression)
        items = {chunk.chunk_id: self._item(query, chunk) for chunk in impression.shown}
        said = {
            (given.chunk_id, given.identity): value
            for given in feedback
            if given.chunk_id in items and (value := opinion_value(given)) is not None
        }
        for (chunk, identity), value in said.items():
            self._say(items[chunk], self.identity(impression.tenant, identity), value)
        clicked = {given.chunk_id for given in feedback if given.kind == "click"}
        if clicked or not said:  # who judges instead of clicking says nothing by not clicking
            self._look(impression.shown, items, clicked, who, session)

    def ask(self, impression: Impression) -> int:
        """Count that somebody asked, for a search or for an answer; the number of who it was."""
        who = self.identity(impression.tenant, impression.identity)
        self.asked_by.append(who)
        self.asked_at.append(impression.at)
        return who

    def _say(self, item: int, who: int, value: float) -> None:
        """Keep the last word of an identity on an item: with 0 it has none any more."""
        if value:
            self._opinions[item, who] = value
        else:
            self._opinions.pop((item, who), None)

    def _look(
        self, shown: Sequence[ShownChunk], items: Mapping[str, int], clicked: Set[str], who: int, session: int
    ) -> None:
        swaps = _swaps(shown)
        any_above = False
        for chunk in sorted(shown, key=lambda chunk: chunk.position):
            hit = chunk.chunk_id in clicked
            swap = swaps.get(chunk.position, 0)
            row = (items[chunk.chunk_id], who, session, chunk.position, any_above, hit, swap, bool(chunk.team))
            for column, number in zip(self._columns.values(), row, strict=True):
                column.append(number)
            any_above |= hit

    def votes(self) -> Votes:
        """All that was seen, as often as it was seen."""
        numbers = {name: np.array(column, np.int32) for name, column in self._columns.items()}
        return Votes(
            item=numbers["item"],
            who=numbers["who"],
            session=numbers["session"],
            position=numbers["position"],
            above=numbers["above"] != 0,
            clicked=numbers["clicked"] != 0,
            swap=numbers["swap"],
            drafted=numbers["drafted"] != 0,
        )

    def documents(self) -> Ints:
        """(items,) number of the document that each item is of; one id in two tenants is two documents."""
        numbers: dict[tuple[str, str], int] = {}
        places = ((self.queries[item.query].tenant, item.document_id) for item in self.items)
        return np.array([numbers.setdefault(place, len(numbers)) for place in places], np.int32)

    def identity(self, tenant: str, identity: str) -> int:
        """Number of an identity."""
        return _number(self._identity_numbers, f"{tenant}\0{identity}", self.identities)

    def opinions(self) -> Opinions:
        """The last word of each identity on each item. Clicks and comments are none, and leave it as it is."""
        places = np.array(list(self._opinions), np.int32).reshape(-1, 2)
        return Opinions(item=places[:, 0], who=places[:, 1], value=np.array(list(self._opinions.values())))

    def _query(self, tenant: str, text: str) -> int:
        known = self._spellings.get((tenant, text))
        if known is None:
            name = query_id(tenant, text)
            known = self._query_numbers.setdefault(name, len(self.queries))
            if known == len(self.queries):
                self.queries.append(Query(tenant, name, text, set()))
            self._spellings[tenant, text] = known
        return known

    def _item(self, query: int, chunk: ShownChunk) -> int:
        number = self._item_numbers.setdefault((query, chunk.chunk_id), len(self.items))
        if number == len(self.items):
            self.items.append(Item(query, chunk.chunk_id, chunk.document_id))
        item = self.items[number]
        item.shown += 1
        item.positions += chunk.position
        item.features = chunk.features or item.features
        return number


def opinion_value(given: Feedback) -> float | None:
    """What a thumb or a rating says, from -1 to 1; None for other kinds, which say nothing of the kind.

    A rating of 3 says 0: neither. It takes back what the same identity said before.
    """
    if given.kind == "thumb":
        return given.value
    if given.kind == "rating" and given.value is not None:
        return (given.value - 3) / 2
    return None


def _number(numbers: dict[str, int], name: str, names: list[str]) -> int:
    number = numbers.setdefault(name, len(names))
    if number == len(names):
        names.append(name)
    return number


def _swaps(shown: Sequence[ShownChunk]) -> dict[int, int]:
    """Position -> upper position of its pair, for the adjacent pair whose order was drawn at random."""
    drawn = [chunk.position for chunk in shown if chunk.propensity < 1 and not chunk.team]
    upper = min(drawn, default=0)
    return {upper: upper, upper + 1: upper} if sorted(drawn) == [upper, upper + 1] else {}


def busiest_minute(at: Floats) -> int:
    """How many of these moments (n,) fall into the fullest 60 seconds."""
    if not len(at):
        return 0
    moments = np.sort(at)
    return int((np.searchsorted(moments, moments + 60, side="left") - np.arange(len(moments))).max())
