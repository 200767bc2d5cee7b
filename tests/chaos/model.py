"""What was promised, checked against what was seen: a history of operations and the state at the end. Pure.

Every document belongs to one client, which does one thing at a time, so that its operations on it have an order. An
operation that was not answered (`unknown`) may have happened or not, then or later: both are allowed for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["search", "answer", "write", "delete", "feedback"]
Outcome = Literal["acknowledged", "refused", "unknown"]
Fingerprints = Mapping[str, Mapping[str, str]]

FAILED = "no error after one retry"
REFUSED = "nothing that is right is refused"
DURABLE = "every acknowledged write is there"
GONE = "a deleted document stays gone"
ONCE = "nothing is there twice"
ONE_RELEASE = "each response is made by one release"
SAID = "what is partial says so"
PATIENT = "every 429 says when to come back"
RECORDED = "what was shown is on record"
WAITED = "a search waits for the change that it names"
UNRECORDED = "impression-not-recorded"  # what a response says that has no record


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that a client did, tried at most twice.

    Attributes:
        invoked, ended: time.monotonic().
        status, first_status: of the last and of the first try; 0 when there was no answer at all.
        document, text: what was written, deleted, or looked for by a word that no other document holds.
        seq: of a change that was acknowledged; of the index that answered a search.
        min_seq: of a search: the change that the index had to hold.
        found: document -> text, of a search's hits.
        searchable: of a change: whether it was said that searches see it.
        key: idempotency key of feedback. stored: the name of the judgement that counts under it, as it was told.
        retry_after: the header, of what was refused for now.
        routed: whether a gateway answered, and no proxy on the way: one that has just begun knows the way to none, and
            says 404 of everything.
        impression: names the response in feedback.
    """

    kind: Kind
    invoked: float
    ended: float
    status: int
    first_status: int
    document: str = ""
    text: str = ""
    seq: int = 0
    min_seq: int = 0
    release: str = ""
    fingerprints: Fingerprints = field(default_factory=dict)
    coverage: float = 1.0
    degraded: tuple[str, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    searchable: bool = False
    key: str = ""
    stored: str = ""
    retry_after: str = ""
    routed: bool = True
    impression: str = ""

    @property
    def seconds(self) -> float:
        """From the first try to the last answer."""
        return self.ended - self.invoked

    @property
    def outcome(self) -> Outcome:
        """What was refused both times changed nothing; after an error of the server's nobody knows."""
        if self.status == 200 or self._deleted_before:
            return "acknowledged"
        return "refused" if _refuses(self.first_status) and _refuses(self.status) else "unknown"

    @property
    def broken(self) -> str:
        """The promise that this outcome breaks; empty: none.

        Clients ask for nothing that is wrong, so two refusals alone are as promised: a 429, which says when to come
        back, and the 404 of a deletion that finds nothing, where the document's life tells whether that is true. A row
        that promises others (507 of a full disk, 503 where nothing can answer) leaves FAILED out, and looks itself.
        """
        if self.outcome == "acknowledged" or self.status == 429 or self.finds_nothing:
            return ""
        return REFUSED if self.status in range(400, 500) and self.routed else FAILED

    @property
    def finds_nothing(self) -> bool:
        """Whether it is a deletion of what is not there, or no more."""
        return self.kind == "delete" and self.status == 404 and self.routed

    @property
    def _deleted_before(self) -> bool:
        """The second try of a deletion finds nothing: the first one had deleted it."""
        return self.finds_nothing and not _refuses(self.first_status)


def _refuses(status: int) -> bool:
    return 400 <= status < 500 or status == 507


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """What is there when all is over.

    Attributes:
        documents: (id, text) of everything that a complete search finds; a document that is there twice is in it twice.
        feedback: idempotency key -> how many judgements are stored under it.
        impressions: names of all that are on record; None: they were not looked at.
    """

    documents: Sequence[tuple[str, str]]
    feedback: Mapping[str, int] = field(default_factory=dict)
    impressions: Set[str] | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept, and what was seen."""

    promise: str
    seen: str


def check(
    history: Sequence[Operation], final: Final | None = None, releases: Mapping[str, Mapping[str, str]] | None = None
) -> list[Violation]:
    """Return everything in `history` and `final` that breaks a promise.

    Args:
        final: None: the end was not looked at.
        releases: release -> stage -> fingerprint as recorded; None: responses carry no fingerprints to compare.
    """
    ordered = sorted(history, key=lambda operation: operation.invoked)
    found = [violation for operation in ordered for violation in _of_one(operation, releases)]
    lives = _lives(ordered)
    for life in lives.values():
        found += life.faults
    found += _came_back(ordered, lives)
    return found if final is None else found + _check_final(ordered, lives, final)


def _of_one(operation: Operation, releases: Mapping[str, Mapping[str, str]] | None) -> Iterator[Violation]:
    """What one response alone gives away."""
    if promise := operation.broken:
        yield Violation(promise, f"{operation.kind} {operation.document}: {operation.first_status}, {operation.status}")
    if operation.status == 429 and not operation.retry_after:
        yield Violation(PATIENT, f"{operation.kind}: no Retry-After")
    if operation.status == 200 and operation.coverage < 1 and "shard-unavailable" not in operation.degraded:
        yield Violation(SAID, f"coverage {operation.coverage}, degraded {list(operation.degraded)}")
    if operation.status == 200 and operation.coverage == 1 and operation.seq < operation.min_seq:
        yield Violation(WAITED, f"for {operation.min_seq}, and the index that answered was at {operation.seq}")
    if operation.release and releases is not None:
        strange = _strange(operation, releases)
        if strange:
            yield Violation(ONE_RELEASE, strange)


def _strange(operation: Operation, releases: Mapping[str, Mapping[str, str]]) -> str:
    """What in a response is not of the release that it names."""
    named, used = operation.release, operation.fingerprints
    if set(used) != {named}:
        return f"{named} answered with {sorted(used)}"
    if "retrieval" not in used[named]:
        return f"{named} answered, and nothing says what retrieved"
    known = releases.get(named, {})
    differ = {stage: digits for stage, digits in used[named].items() if known.get(stage) != digits}
    return f"{named} used {differ}" if differ else ""


# ---------------------------------------------------------------------------------------------- documents


@dataclass(slots=True)
class _Life:
    """What may be stored of one document, followed through its client's operations; None: nothing."""

    possible: set[str | None] = field(default_factory=lambda: {None})
    late: set[str | None] = field(default_factory=set)  # of operations that nobody answered: they may come any time
    seq: int = 0  # of the last change that was acknowledged
    deleted: Operation | None = None  # the deletion that nothing came after
    faults: list[Violation] = field(default_factory=list)

    def follow(self, operation: Operation, document: str) -> None:
        if operation.kind == "search":
            self._look(operation, document)
            return
        effect = operation.text if operation.kind == "write" else None
        if operation.finds_nothing and operation.outcome == "refused" and None not in self.possible:
            self.faults.append(Violation(DURABLE, f"{document} was stored, and a deletion did not find it"))
        if operation.outcome == "unknown":
            self.late.add(effect)
            self.possible = self.possible | {effect}
        elif operation.outcome == "acknowledged":
            self.possible = {effect, *self.late}
            self.seq = max(self.seq, operation.seq)
        if operation.outcome != "refused":
            gone = operation.kind == "delete" and operation.outcome == "acknowledged" and not self.late
            self.deleted = operation if gone else None

    def _look(self, search: Operation, document: str) -> None:
        """Its own client looked for it: what it did before must show, if the index says that it is as far."""
        if search.status != 200 or search.coverage < 1 or search.seq < self.seq:
            return
        seen = search.found.get(document)
        if seen not in self.possible:
            promise = GONE if None in self.possible and len(self.possible) == 1 else DURABLE
            self.faults.append(Violation(promise, f"{document} at {search.seq}: {_words(seen)}"))


def _lives(ordered: Iterable[Operation]) -> dict[str, _Life]:
    lives: dict[str, _Life] = defaultdict(_Life)
    for operation in ordered:
        if operation.document and operation.kind in ("write", "delete", "search"):
            lives[operation.document].follow(operation, operation.document)
    return dict(lives)


def _came_back(ordered: Sequence[Operation], lives: Mapping[str, _Life]) -> Iterator[Violation]:
    """Whoever searches after a deletion, in an index that holds it, must not see the document again."""
    gone = {name: life.deleted for name, life in lives.items() if life.deleted is not None}
    for search in (operation for operation in ordered if operation.kind == "search" and operation.status == 200):
        for name in search.found:
            deletion = gone.get(name)
            if deletion is not None and search.invoked > deletion.ended and search.seq >= deletion.seq > 0:
                yield Violation(GONE, f"{name}, deleted at {deletion.seq}, is found at {search.seq}")


def _check_final(ordered: Sequence[Operation], lives: Mapping[str, _Life], final: Final) -> list[Violation]:
    there: dict[str, list[str]] = defaultdict(list)
    for name, text in final.documents:
        there[name].append(text)
    wrong = [Violation(ONCE, f"{name} is there {len(texts)} times") for name, texts in there.items() if len(texts) > 1]
    wrong += [Violation(DURABLE, f"{name} was never written") for name in there if name not in lives]
    for name, life in lives.items():
        seen = there[name][0] if name in there else None
        if seen not in life.possible:
            promise = GONE if life.possible == {None} else DURABLE
            wrong.append(Violation(promise, f"{name} at the end: {_words(seen)}"))
    wrong += _feedback_at_the_end(ordered, final)
    if final.impressions is not None:
        wrong += [Violation(RECORDED, name) for name in sorted(_to_be_recorded(ordered) - final.impressions)]
    return wrong


def _to_be_recorded(operations: Iterable[Operation]) -> set[str]:
    """Impressions of responses that do not say that they have no record."""
    return {each.impression for each in operations if each.impression and UNRECORDED not in each.degraded}


def _feedback_at_the_end(ordered: Sequence[Operation], final: Final) -> Iterator[Violation]:
    given: dict[str, list[Operation]] = defaultdict(list)
    for operation in ordered:
        if operation.kind == "feedback" and operation.key:
            given[operation.key].append(operation)
    for key, tries in given.items():
        count, names = final.feedback.get(key, 0), {one.stored for one in tries} - {""}
        if count > 1:
            yield Violation(ONCE, f"feedback {key} is stored {count} times")
        if count == 0 and any(one.outcome == "acknowledged" for one in tries):
            yield Violation(DURABLE, f"feedback {key} is not stored")
        if len(names) > 1:
            yield Violation(ONCE, f"feedback {key} was told to be {sorted(names)}")


def _words(text: str | None) -> str:
    return "it is not there" if text is None else f"it reads {text[:60]!r}"
