"""The whole life of a shard (upsert, delete, tidy, seal, compact, crash, reload) against a dictionary."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kaizen.config import IndexSettings
from kaizen.indexing.generation import GenerationStore
from kaizen.retrieval.query import row_dicts
from kaizen.retrieval.shard import Seal, Shard, ShardChanges, State, Tidy, merge_parts
from kaizen.storage.object_store import open_store
from tests.unit.retrieval.rows import document, segment

SETTINGS = IndexSettings(seal_rows=12, max_segments=3, seal_seconds=100)
NAMES = st.sampled_from([f"d{i}" for i in range(8)])
TEXTS = st.sampled_from(["pump", "valve. motor", "belt. gear. wheel"])


class ShardLife(RuleBasedStateMachine):
    """`log` is the ledger, `model` what must be found."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.generations = GenerationStore(open_store(str(Path(self.scratch.name) / "store")), "index/i/shard-000")
        self.log: list[tuple[str, str | None]] = []
        self.model: dict[str, str] = {}
        self.now = 0.0
        self.start()

    def start(self) -> None:
        self.shard = Shard(SETTINGS, seals=True)
        loaded = self.generations.load()
        assert loaded.refused == ()
        self.shard.loaded(loaded.view, len(self.log))
        for seq in range(loaded.view.seq + 1, len(self.log) + 1):
            self.feed(seq)
        assert self.shard.state is State.SERVING

    def feed(self, seq: int) -> None:
        name, text = self.log[seq - 1]
        added = None if text is None else segment(document(name, text))
        self.shard.changed(ShardChanges(seq, (("acme", name),), added), self.now)

    @rule(name=NAMES, text=TEXTS)
    def upsert(self, name: str, text: str) -> None:
        self.log.append((name, text))
        self.model[name] = text
        self.feed(len(self.log))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.log.append((name, None))
        self.model.pop(name, None)
        self.feed(len(self.log))

    @rule()
    def replay(self) -> None:
        """Changes that are known already do nothing."""
        if self.log:
            self.feed(len(self.log))

    @rule(seconds=st.sampled_from([1.0, 200.0]))
    def maintain(self, seconds: float) -> None:
        self.now += seconds
        due = self.shard.next(self.now)
        if isinstance(due, Tidy):
            self.shard.tidied(due, merge_parts(due.parts, SETTINGS))
        elif isinstance(due, Seal):
            self.seal(due)

    @rule(name=NAMES, text=TEXTS)
    def maintain_while_a_write_comes(self, name: str, text: str) -> None:
        self.now += 200
        due = self.shard.next(self.now)
        self.upsert(name, text)
        if isinstance(due, Seal):
            self.seal(due)

    @rule()
    def crash_and_reload(self) -> None:
        self.start()

    def seal(self, due: Seal) -> None:
        merged = merge_parts(due.parts, SETTINGS)
        self.generations.save(due.view.exchange(due.parts, merged, sealed=True), merged)
        self.shard.sealed(due, merged, self.now)

    @invariant()
    def holds_exactly_the_model(self) -> None:
        found: dict[str, list[str]] = {}
        for live in self.shard.view.segments:
            for row in range(live.segment.rows):
                if live.alive[row]:
                    values = row_dicts(live.segment, [row])[0]
                    found.setdefault(values["document_id"], []).append(values["text"])
        assert {name: ". ".join(texts) for name, texts in found.items()} == self.model
        assert self.shard.view.documents() == len(self.model)

    def teardown(self) -> None:
        self.scratch.cleanup()


TestShardLife = ShardLife.TestCase
TestShardLife.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
