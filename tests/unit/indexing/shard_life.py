"""The whole life of an index of two shards, driven by hypothesis against a dictionary.

Real are the ledger, the object store, batches, feed, shards, generations, search and ranking; the embedder is a hash,
and a crash drops what is in memory. The dictionary remembers what was true at each `seq`. What later changes took the
place of is collected at any moment: a copy that has not come so far may then have anything for these documents, and
must have the truth as soon as it has.
"""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kaizen.config import IndexSettings, LedgerSettings, Retrieval
from kaizen.errors import KaizenError, NotFound
from kaizen.indexing.batch import document_table, write_batch
from kaizen.indexing.feed import Feed
from kaizen.indexing.generation import GenerationStore
from kaizen.indexing.thinning import thin
from kaizen.records import Change, Document, FieldType, MetadataValue, Principal
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.chunk_table import chunk_table, with_vectors
from kaizen.retrieval.filters import parse
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.query import ShardQuery, search
from kaizen.retrieval.ranking import rank
from kaizen.retrieval.shard import Seal, Shard, State, Tidy, merge_parts
from kaizen.retrieval.view import View
from kaizen.storage.ledger import Ledger
from kaizen.storage.object_store import open_store
from tests.unit.retrieval.rows import DIM, rows, vector

SHARDS = 2
SETTINGS = IndexSettings(seal_rows=8, max_segments=3, seal_seconds=100)
SCHEMA: Mapping[str, FieldType] = {"lang": "string", "year": "number", "draft": "boolean", "tags": "strings"}
WORDS = ("pump", "valve", "belt", "gear")
TENANTS = ("acme", "rival")

Condition = tuple[dict[str, object], Callable[[Document], bool]]
Key = tuple[str, str]


def _metadata() -> st.SearchStrategy[dict[str, MetadataValue]]:
    values: dict[str, st.SearchStrategy[MetadataValue]] = {
        "lang": st.sampled_from(["en", "de"]),
        "year": st.sampled_from([2019, 2020.5, 2022]),
        "draft": st.booleans(),
        "tags": st.sampled_from([(), ("a",), ("a", "b")]),
    }
    return st.fixed_dictionaries({}, optional=values)


DOCUMENTS = st.builds(
    lambda tenant, number, words, metadata, groups: Document(
        tenant=tenant,
        id=f"d{number}",
        title=f"About {number}",
        text=". ".join(words),
        metadata=metadata,
        groups=groups,
    ),
    st.sampled_from(TENANTS),
    st.integers(0, 9),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    _metadata(),
    st.sampled_from([(), (), ("board",), ("board", "staff")]),
)


def _test(field: str, operator: str, value: object, holds: Callable[[MetadataValue], bool]) -> Condition:
    return {"field": field, operator: value}, lambda d: field in d.metadata and holds(d.metadata[field])


_TESTS: Sequence[Condition] = (
    _test("lang", "equals", "en", lambda v: v == "en"),
    _test("lang", "in", ["de", "fr"], lambda v: v in ("de", "fr")),
    _test("year", "range", {"gte": 2019, "lt": 2022}, lambda v: 2019 <= v < 2022),  # type: ignore[operator]
    _test("year", "equals", 2022, lambda v: v == 2022),
    _test("draft", "equals", True, lambda v: v is True),
    _test("tags", "equals", "b", lambda v: "b" in v),  # type: ignore[operator]
    ({"field": "document_id", "range": {"gt": "d3"}}, lambda d: d.id > "d3"),
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    st.sampled_from(_TESTS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: ({"and": [p[0][0], p[1][0]]}, lambda d: p[0][1](d) and p[1][1](d))),
        st.tuples(inner, inner).map(lambda p: ({"or": [p[0][0], p[1][0]]}, lambda d: p[0][1](d) or p[1][1](d))),
        inner.map(lambda p: ({"not": p[0]}, lambda d: not p[1](d))),
    ),
    max_leaves=4,
)


@dataclass
class _Copy:
    """One shard in memory: what a crash takes away."""

    feed: Feed
    generations: GenerationStore
    shard: Shard
    seq: int = 0


@dataclass(frozen=True)
class _Backup:
    """The ledger's file, what was true then, and the batches that stay as long as it may be restored."""

    ledger: bytes
    truth: dict[int, dict[Key, Document]]
    touched: dict[int, set[Key]]
    batches: frozenset[str]


@dataclass
class _CollectedAfterReading:
    """The ledger and its documents, where everything that can go does between reading changes and using them."""

    life: ShardLife

    @property
    def documents(self) -> _CollectedAfterReading:
        return self

    def changes_after(self, seq: int, limit: int) -> list[Change]:
        changes = self.life.ledger.documents.changes_after(seq, limit)
        self.life.collect()
        return changes

    def ids_at(self, seq: int) -> frozenset[str]:
        return self.life.ledger.documents.ids_at(seq)

    def batch_at(self, seq: int) -> str:
        return self.life.ledger.documents.batch_at(seq)


class ShardLife(RuleBasedStateMachine):
    """`truth[seq]` is what was there after the change `seq`."""

    migrated: Path  # a ledger's file after migration, to be copied

    def __init__(self) -> None:
        super().__init__()
        # What a power cut would leave is tested elsewhere: here a sync need not reach a disk.
        self._scratch = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108
        folder = Path(self._scratch.name)
        self._file = folder / "ledger.sqlite"
        self._file.write_bytes(self.migrated.read_bytes())
        self._open_ledger()
        self.store = open_store(str(folder / "store"))
        self.truth: dict[int, dict[Key, Document]] = {0: {}}
        self.touched: dict[int, set[Key]] = {0: set()}  # by the change `seq`
        self.collected = 0  # the ledger's head at that time
        self.now = 0.0
        self.copies: list[_Copy] = []  # those that seal
        self.others: list[_Copy] = []
        self.backup = self._backed_up()
        self.restored = False

    def _open_ledger(self) -> None:
        self.ledger = Ledger.open(LedgerSettings(), f"sqlite:///{self._file}")

    def _backed_up(self) -> _Backup:
        with closing(sqlite3.connect(self._file)) as source, closing(sqlite3.connect(":memory:")) as copy:
            source.backup(copy)
            content = copy.serialize()
        return _Backup(content, dict(self.truth), dict(self.touched), self.ledger.documents.batches())

    @initialize()
    def start(self) -> None:
        """Load the last generation, and apply what came after it."""
        self.copies = [self._loaded(number, seals=True) for number in range(SHARDS)]
        self.others = [self._loaded(number, seals=False) for number in range(SHARDS)]
        for copy in self.all_copies():
            while self._advance(copy):
                pass
            assert copy.shard.state is State.SERVING
            assert copy.shard.view.seq == self.ledger.documents.head()

    def all_copies(self) -> list[_Copy]:
        return [*self.copies, *self.others]

    def _loaded(self, number: int, *, seals: bool) -> _Copy:
        copy = self._new(number, seals=seals)
        loaded = copy.generations.load()
        assert self.restored or loaded.refused == ()
        copy.shard.loaded(loaded.view, self.ledger.documents.head())
        copy.seq = loaded.view.seq
        return copy

    def _new(self, number: int, *, seals: bool) -> _Copy:
        feed = Feed(
            ledger=self.ledger,
            store=self.store,
            shard=number,
            shards=SHARDS,
            dim=DIM,
            made_by="hash",
            prepare=_prepare,
            analyser=Analyser(),
            settings=SETTINGS,
        )
        generations = GenerationStore(self.store, f"index/i/shard-{number}", self.ledger.documents)
        return _Copy(feed, generations, Shard(SETTINGS, seals=seals))

    def _advance(self, copy: _Copy, feed: Feed | None = None) -> bool:
        try:
            changes = (feed or copy.feed).after(copy.shard.view.seq)
        except KaizenError as error:
            raise AssertionError("A shard cannot go on.") from error
        if changes is not None:
            copy.shard.changed(changes, self.now)
            assert copy.shard.view.seq == changes.seq
        return changes is not None

    def _became(self, seq: int, keys: Iterable[Key], change: Callable[[dict[Key, Document]], object]) -> None:
        last = max(self.truth)
        after = dict(self.truth[last])
        change(after)
        if seq <= last:  # what is there already is no change: the ledger names the one that brought it
            assert after == self.truth[last]
        else:
            assert seq == last + 1
            self.truth[seq] = after
            self.touched[seq] = set(keys)

    @rule(document=DOCUMENTS)
    def upsert(self, document: Document) -> None:
        seq = self.ledger.documents.upsert(document)
        key = (document.tenant, document.id)
        self._became(seq, [key], lambda truth: truth.update({key: document}))

    @rule(tenant=st.sampled_from(TENANTS), documents=st.lists(DOCUMENTS, max_size=6), same=st.booleans())
    def ingest(self, tenant: str, documents: list[Document], same: bool) -> None:
        """A batch; one that another embedder made is cut and embedded again."""
        own = list({d.id: d for d in documents if d.tenant == tenant}.values())
        uri = write_batch(self.store, document_table(own), _prepare(own), "hash" if same else "another")
        seq = self.ledger.documents.append_batch(tenant, uri, [(d.id, d.content_sha256(), "") for d in own], {})
        fresh = {(d.tenant, d.id): d for d in own}
        self._became(seq, fresh, lambda truth: truth.update(fresh))

    @rule(document=DOCUMENTS)
    def delete(self, document: Document) -> None:
        key = (document.tenant, document.id)
        try:
            seq = self.ledger.documents.delete(*key)
        except NotFound:
            assert key not in self.truth[max(self.truth)]
            return
        self._became(seq, [key], lambda truth: truth.pop(key))

    @rule(tenant=st.sampled_from(TENANTS), numbers=st.sets(st.integers(0, 9), max_size=5))
    def prune(self, tenant: str, numbers: set[int]) -> None:
        seq = self.ledger.documents.delete_many(tenant, [f"d{number}" for number in numbers])
        keys = [(tenant, f"d{number}") for number in numbers]
        self._became(seq, keys, lambda truth: [truth.pop(key, None) for key in keys])

    @rule(only=st.sampled_from([None, *range(2 * SHARDS)]))
    def follow(self, only: int | None) -> None:
        for copy in self.all_copies() if only is None else [self.all_copies()[only]]:
            self._advance(copy)

    @rule()
    def collect(self) -> None:
        """Take away all that later changes took the place of, and no more."""
        documents, self.collected = self.ledger.documents, self.ledger.documents.head()
        documents.forget_texts(math.inf)
        thin(documents, self.store, before=math.inf, rewrite_before=math.inf, dry_run=False)
        for name in set(self.store.list("batches")) - documents.batches() - self.backup.batches:
            self.store.delete(name)
        assert (documents.old_texts(math.inf), documents.thinned_batches()) == (0, [])

    @rule(only=st.sampled_from(range(2 * SHARDS)))
    def collect_while_one_reads(self, only: int) -> None:
        copy = self.all_copies()[only]
        self._advance(copy, replace(copy.feed, ledger=_CollectedAfterReading(self)))  # type: ignore[arg-type]

    @rule()
    def build_anew(self) -> None:
        """An index from the first change on, as one of another release is made; nobody keeps it."""
        copies = [self._new(number, seals=True) for number in range(SHARDS)]
        for copy in copies:
            copy.shard.loaded(View(0, ()), self.ledger.documents.head())
            while self._advance(copy):
                pass
        self._holds_exactly(copies)

    @rule(number=st.sampled_from(range(SHARDS)))
    def adopt(self, number: int) -> None:
        """The copy that does not seal takes over what the other has sealed, whichever of them is further."""
        other = self.others[number]
        loaded = other.generations.load(live.segment for live in other.shard.view.segments if live.sealed)
        assert other.shard.adopted(loaded.view)
        assert other.shard.view.seq >= loaded.view.seq
        assert [live.segment.name for live in other.shard.view.segments if live.sealed] == [
            live.segment.name for live in loaded.view.segments
        ]

    @rule(
        seconds=st.sampled_from([1.0, 200.0, 200.0]),
        document=st.none() | DOCUMENTS,
        dies=st.sampled_from([False, False, True]),
    )
    def maintain(self, seconds: float, document: Document | None, dies: bool) -> None:
        """Do what is due; a change may come while it is being done, or the end before the pointer has moved."""
        self.now += seconds
        due = [copy.shard.next(self.now) for copy in self.all_copies()]
        if document is not None:
            (self.delete if document.metadata.get("draft") else self.upsert)(document)
            self.follow(None)
        for copy, instruction in zip(self.all_copies(), due, strict=True):
            if isinstance(instruction, Tidy):
                copy.shard.tidied(instruction, merge_parts(instruction.parts, SETTINGS))
            elif isinstance(instruction, Seal):
                self._seal(copy, instruction, dies)
        if dies:
            self.start()

    def _seal(self, copy: _Copy, due: Seal, dies: bool) -> None:
        if dies:  # the files of the new segment are there; nobody names them
            if (merged := merge_parts(due.parts, SETTINGS)) is not None:
                copy.generations._put_segment(merged)
            return
        copy.shard.sealed(due, copy.generations.seal(due, SETTINGS), self.now)

    @rule()
    def crash(self) -> None:
        self.start()

    @rule()
    def back_up(self) -> None:
        self.backup = self._backed_up()

    @rule()
    def restore(self) -> None:
        """The service stops, and starts with the ledger of the backup and the objects of today."""
        self.ledger.close()
        self._file.write_bytes(self.backup.ledger)
        self._open_ledger()
        self.truth, self.touched = dict(self.backup.truth), dict(self.backup.touched)
        self.collected = min(self.collected, max(self.truth))
        self.restored = True
        self.start()

    @rule(
        condition=st.none() | CONDITIONS,
        mode=st.sampled_from(["dense", "lexical", "hybrid"]),
        words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=2),
        other=st.booleans(),
        k=st.integers(1, 30),
        tenant=st.sampled_from(TENANTS),
        groups=st.sampled_from([(), ("board",)]),
    )
    def search(
        self,
        condition: Condition | None,
        mode: Mode,
        words: list[str],
        other: bool,
        k: int,
        tenant: str,
        groups: tuple[str, ...],
    ) -> None:
        """All that match are found, none that does not; k of them if there are k."""
        asked = self.others if other else self.copies
        for copy in asked:
            while self._unsettled(copy) and self._advance(copy):
                pass
        matching = {
            key
            for key, document in self.seen(asked).items()
            if key[0] == tenant
            and (not document.groups or set(groups) & set(document.groups))
            and (condition is None or condition[1](document))
            and (mode != "lexical" or set(words) & set(document.text.split(". ")))
        }
        principal = Principal(key_id="k", tenant=tenant, groups=groups, scopes=("search",))
        query = ShardQuery(
            mode=mode,
            vector=vector(" ".join(words)),
            terms=tuple(Analyser()(" ".join(words))),
            principal=principal,
            condition=None if condition is None else parse(condition[0]),
            types={**SCHEMA, "document_id": "string"},
            settings=Retrieval(),
            depth=100,
            texts=100,
        )
        answers = {number: search(copy.shard.view, query) for number, copy in enumerate(asked)}
        ranked = rank(answers, mode=mode, unit="document", k=k, settings=Retrieval())
        found = [(tenant, item.text["document_id"]) for item in ranked if item.text]
        assert len(found) == len(ranked) == min(k, len(matching))
        assert len(set(found)) == len(found)
        assert set(found) <= matching

    def seen(self, copies: list[_Copy]) -> dict[Key, Document]:
        """What these should hold, each as of its own `seq`."""
        return {
            key: document
            for number, copy in enumerate(copies)
            for key, document in self.truth[copy.shard.view.seq].items()
            if copy.feed._mine(*key) and copy.feed.shard == number
        }

    def _unsettled(self, copy: _Copy) -> set[Key]:
        """Of which documents it may not have what was true at its `seq`: that was collected before it came so far."""
        return set().union(*(self.touched[seq] for seq in range(copy.shard.view.seq + 1, self.collected + 1)))

    @invariant()
    def time_runs_forward(self) -> None:
        for copy in self.all_copies():
            assert copy.seq <= copy.shard.view.seq <= max(self.truth) == self.ledger.documents.head()
            copy.seq = copy.shard.view.seq

    @invariant()
    def holds_exactly_what_is_true(self) -> None:
        self._holds_exactly(self.copies)
        self._holds_exactly(self.others)

    def _holds_exactly(self, copies: list[_Copy]) -> None:
        seen, unsettled = self.seen(copies), set[Key]()
        found: dict[Key, list[str]] = {}
        for copy in copies:
            unsettled |= {key for key in self._unsettled(copy) if copy.feed._mine(*key)}
            for live in copy.shard.view.segments:
                for row in live.segment.table.filter(live.alive).select(["tenant", "document_id", "text"]).to_pylist():
                    found.setdefault((row["tenant"], row["document_id"]), []).append(row["text"])
        told = {key: ". ".join(texts) for key, texts in found.items() if key not in unsettled}
        assert told == {key: document.text for key, document in seen.items() if key not in unsettled}
        assert sum(copy.shard.view.documents() for copy in copies) == len(found)

    def teardown(self) -> None:
        self.ledger.close()
        self._scratch.cleanup()


def _prepare(documents: Sequence[Document]) -> pa.Table:
    if not documents:
        return with_vectors(chunk_table([], []), np.empty((0, DIM), np.float32))
    return with_vectors(*rows(*documents))
