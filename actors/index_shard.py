"""The actor that holds one copy of a shard: it carries out what `retrieval.shard.Shard` decides.

Two threads of its own: one follows the ledger, one merges and seals. Searches run in the actor's thread pool on
immutable views and wait for neither.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import faiss
import psutil
import pyarrow as pa
import ray

from actors.background import run_in_background
from actors.direct_line import DirectLine
from actors.names import embedder_name
from kaizen.config import Settings
from kaizen.errors import KaizenError, NotYetSearchable, Unavailable
from kaizen.heap import return_freed_memory
from kaizen.indexing.feed import Feed
from kaizen.indexing.generation import GenerationStore
from kaizen.records import Document
from kaizen.release import IndexSpec
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.query import ShardAnswer, ShardQuery, begin, fetch, search
from kaizen.retrieval.ranking import finished
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.shard import Seal, Shard, State, Tidy, merge_parts
from kaizen.retrieval.view import View
from kaizen.workspace import open_workspace

log = logging.getLogger("kaizen.index_shard")

Rest = Callable[[], bytes]

# Segments that compaction replaced are kept this long, for texts of answers that were given from them.
KEEP_REPLACED_SECONDS = 30.0
# From so many rows on it is worth while to give their memory back: searches wait for the heap meanwhile.
TRIM_ROWS = 2_000
# So many searches work at once, the others wait. In numpy's calls each hands the interpreter over hundreds of times:
# eight get half as much done as two, for twice the CPU time. One alone would hold up all others when it takes long.
SEARCHES_AT_ONCE = 2
# How often a copy that does not seal looks for a new generation within `index.seal_seconds`.
LOOKS = 4
FOLLOWING, SEALING = "following the ledger", "sealing"


class IndexShard:
    """One replica of shard `shard` of an index. Replica 0 writes generations; the others adopt them."""

    def __init__(self, settings: Settings, spec: IndexSpec, shard: int, replica: int) -> None:
        faiss.omp_set_num_threads(1)  # concurrency comes from searches side by side, not from splitting one
        workspace = open_workspace(settings)
        self._settings = settings
        self._namespace = settings.cluster.namespace
        self._index_id = spec.id
        self._replica = replica
        self._embedder = embedder_name(spec.made_by)
        self._ledger = workspace.ledger
        self._generations = GenerationStore(
            workspace.store, spec.shard_prefix(shard), workspace.ledger.documents, settings.index.device
        )
        self._feed = Feed(
            ledger=workspace.ledger,
            store=workspace.store,
            shard=shard,
            shards=spec.shards,
            dim=spec.dim,
            made_by=spec.made_by,
            prepare=self._prepare,
            analyser=Analyser(),
            settings=settings.index,
        )
        self._shard = Shard(settings.index, seals=replica == 0)
        self._changed = threading.Condition()  # guards every event of the machine
        self._searching = threading.Semaphore(SEARCHES_AT_ONCE)
        self._news, self._upkeep = threading.Event(), threading.Event()
        self._replaced: list[tuple[float, Segment]] = []
        self._trouble: dict[str, str] = {}  # what fails now -> how; each thread tells of its own
        loaded = self._generations.load()
        self._refused = loaded.refused
        self._generation, self._looked_at = loaded.name, time.monotonic()
        self._shard.loaded(loaded.view, self._ledger.documents.head())
        self._line = DirectLine(self.search)
        for task in (self._follow, self._maintain):
            run_in_background(task)

    def search(self, pickled: bytes, min_seq: int, wait_seconds: float, rest: Rest | None = None) -> bytes:
        """Answer a ShardQuery from the current view, after waiting until it has reached `min_seq`.

        Takes what `pickled` of ShardQuery makes, and gives what that of ShardAnswer or FinalAnswer does. `rest` waits
        for the bytes of a vector that is still being made: what needs none is done first.

        Raises:
            NotYetSearchable: `min_seq` was not reached in `wait_seconds`.
            Unavailable: the shard is loading and lacks acknowledged documents, or others were searched for until nobody
                could wait for this answer any more.
        """
        deadline = time.monotonic() + wait_seconds
        waited = self._wait_for(min_seq, wait_seconds)
        if self._shard.state is not State.SERVING:
            raise Unavailable("The shard is catching up with the ledger.", advice="Try again in a moment.")
        query, view = ShardQuery.unpickled(pickled), self._shard.view
        if rest is None:
            with self._place(deadline):
                return self._answer(view, query, search(view, query), waited)
        with self._place(deadline):
            begun = begin(view, query)
        query = query.with_vector(rest())  # without a place: others search meanwhile
        with self._place(deadline):
            return self._answer(view, query, begun.end(query), waited)

    def reach(self, seq: int, seconds: float) -> bool:
        """Wait until `seq` is applied; whether it was within `seconds`."""
        try:
            self._wait_for(seq, seconds)
        except NotYetSearchable:
            return False
        return True

    def fetch(self, places: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        """Chunk rows at (segment name, row); raises Unavailable when a segment is long gone."""
        segments = self._shard.view.by_name()
        segments |= {segment.name: segment for _, segment in self._replaced}
        if not all(name in segments for name, _ in places):
            raise Unavailable("The segment was replaced meanwhile.", advice="Search again.")
        return fetch(segments, places)

    @ray.method(concurrency_group="control")
    def line(self) -> tuple[str, str]:
        """Node, and the address at which callers on it may `search` without Ray between them."""
        return ray.get_runtime_context().get_node_id(), self._line.address

    @ray.method(concurrency_group="control")
    def poke(self) -> None:
        """There are new changes in the ledger."""
        self._news.set()

    @ray.method(concurrency_group="control")
    def retire(self) -> None:
        """No release needs this index any more."""
        with self._changed:
            self._shard.retire()
        self._news.set()
        self._upkeep.set()

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, Any]:
        """State, seq, sizes and trouble, for the fleet and for people."""
        view = self._shard.view
        return {
            "state": self._shard.state.value,
            "seq": view.seq,
            "documents": view.documents(),
            "chunks": view.rows,
            "segments": len(view.segments),
            "head_segments": len(view.head),
            "kinds": sorted({live.segment.kind for live in view.segments}),
            "refused": list(self._refused),
            "trouble": self._troubles(),
            "pid": os.getpid(),
            "rss_bytes": psutil.Process().memory_info().rss,
        }

    @ray.method(concurrency_group="control")
    def ping(self) -> tuple[str, str, int]:
        """State, node and process; answered from a thread of its own even when all others search."""
        return self._shard.state.value, ray.get_runtime_context().get_node_id(), os.getpid()

    def _answer(self, view: View, query: ShardQuery, answer: ShardAnswer, waited_s: float) -> bytes:
        whole = finished(answer, query, partial(fetch, view.by_name()))
        return replace(whole, index=self._index_id, waited_s=waited_s).pickled()

    @contextmanager
    def _place(self, deadline: float) -> Iterator[None]:
        """One of the searches that work at once; raises Unavailable when none ended before `deadline`."""
        if not self._searching.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise Unavailable("The shard has more searches than it can answer.", advice="Try again in a moment.")
        try:
            yield
        finally:
            self._searching.release()

    def _wait_for(self, seq: int, seconds: float) -> float:
        """Seconds until `seq` was applied; raises NotYetSearchable."""
        if seq <= self._shard.view.seq:
            return 0.0
        began = time.monotonic()
        self._news.set()
        with self._changed:
            if not self._changed.wait_for(lambda: self._shard.view.seq >= seq, timeout=seconds):
                raise NotYetSearchable(
                    f"The index is at {self._shard.view.seq} and has not reached {seq} in {seconds:.1f} s.",
                    advice="Try again, or allow more time.",
                )
        return time.monotonic() - began

    def _prepare(self, documents: Sequence[Document]) -> pa.Table:
        embedder = ray.get_actor(self._embedder, namespace=self._namespace)
        table: pa.Table = ray.get(embedder.prepare.remote(list(documents)))
        return table

    def _follow(self) -> None:
        """Apply the ledger's changes as they come."""
        while self._shard.state is not State.RETIRED:
            self._news.clear()  # before reading, so that news during the read is not lost
            if not self._advance():
                self._news.wait(self._settings.fleet.tail_seconds)

    def _advance(self) -> bool:
        """Apply the next run of changes; False when there was none or it could not be read now."""
        try:
            changes = self._feed.after(self._shard.view.seq)
        except (KaizenError, ray.exceptions.RayError, ValueError, OSError) as error:
            self._note_trouble(FOLLOWING, str(error))
            return False
        self._trouble.pop(FOLLOWING, None)
        if changes is None:
            return False
        with self._changed:
            self._shard.changed(changes, time.monotonic())
            self._changed.notify_all()
        self._upkeep.set()
        return True

    def _maintain(self) -> None:
        """Merge and seal when the machine says so."""
        while self._shard.state is not State.RETIRED:
            self._upkeep.clear()
            self._forget_replaced()
            try:
                self._adopt()
                with self._changed:
                    due = self._shard.next(time.monotonic())
                if due is None:
                    self._upkeep.wait(self._settings.fleet.heartbeat_seconds)
                elif isinstance(due, Tidy):
                    self._tidy(due)
                else:
                    self._seal(due)
            except (KaizenError, OSError) as error:
                self._note_trouble(SEALING, str(error))
                self._upkeep.wait(self._settings.fleet.heartbeat_seconds)

    def _adopt(self) -> None:
        """Take over what the copy that seals has sealed. Whether there is something new is looked up now and then."""
        now = time.monotonic()
        if self._replica == 0 or now - self._looked_at < self._settings.index.seal_seconds / LOOKS:
            return
        self._looked_at = now
        newest = self._generations.newest()
        if newest == self._generation:
            self._trouble.pop(SEALING, None)
            return
        before = self._shard.view.segments
        loaded = self._generations.load(live.segment for live in before if live.sealed)
        self._generation = newest
        loaded.view.make_ready(self._shard.view)
        stays = {live.segment.name for live in loaded.view.segments}
        with self._changed:
            view = self._shard.view
            self._keep_replaced([live.segment for live in view.segments if live.segment.name not in stays])
            self._shard.adopted(loaded.view)
            self._changed.notify_all()
        self._trouble.pop(SEALING, None)

    def _tidy(self, due: Tidy) -> None:
        merged = merge_parts(due.parts, self._settings.index)
        self._keep_replaced([live.segment for live in due.parts])
        with self._changed:
            self._shard.tidied(due, merged)

    def _seal(self, due: Seal) -> None:
        merged = self._generations.seal(due, self._settings.index)
        self._keep_replaced([live.segment for live in due.parts])
        with self._changed:
            self._shard.sealed(due, merged, time.monotonic())
        self._trouble.pop(SEALING, None)

    def _keep_replaced(self, segments: Sequence[Segment]) -> None:
        """Called before the view lets go of them, so that `fetch` finds them in one or the other."""
        now = time.monotonic()
        self._replaced += [(now, segment) for segment in segments]

    def _forget_replaced(self) -> None:
        """After a large ingest they are most of what the process holds."""
        now = time.monotonic()
        rows = sum(segment.rows for at, segment in self._replaced if now - at >= KEEP_REPLACED_SECONDS)
        self._replaced = [(at, segment) for at, segment in self._replaced if now - at < KEEP_REPLACED_SECONDS]
        if rows >= TRIM_ROWS:
            return_freed_memory()

    def _troubles(self) -> str:
        return "; ".join(f"{what}: {text}" for what, text in sorted(self._trouble.copy().items()))

    def _note_trouble(self, what: str, text: str) -> None:
        if self._trouble.get(what) != text:
            log.warning("%s: %s", what, text)
        self._trouble[what] = text
