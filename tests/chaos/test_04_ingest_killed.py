"""Row 4: ingest is killed anywhere. A rerun goes on: no document lost, none twice, no torn index."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pyarrow as pa
import pytest

from cluster.throwaway import environment
from jobs.ingest import Ingest
from kaizen.errors import KaizenError
from kaizen.ids import new_id
from kaizen.indexing import batch
from kaizen.indexing.generation import GenerationStore, _Origin
from kaizen.records import Quarantined
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import View
from kaizen.storage.object_store import ObjectStore
from tests.chaos.conftest import WORD as FLOCK_WORD
from tests.chaos.conftest import Chaos, Flock
from tests.chaos.history import Mix, traffic
from tests.chaos.small_index import (
    TENANT,
    Chunks,
    SmallIndex,
    chunks_of,
    loaded,
    make_small_index,
    seal,
    take_in,
    torn,
)
from tests.chaos.victim import SYNC, Strike, Work, count_calls, struck
from tests.corpus import write_texts
from tests.product import Product, eventually, title_of

FILES = 6
TEXTS = 40
WORD = "sandpiper"
MIX = Mix(query=FLOCK_WORD, searchers=2, pause_seconds=0.1)  # of others, who must not notice
LIVES = 3  # times that one and the same ingest is killed
CALLS = {
    "rename": "rename,renameat,renameat2",
    "sync": SYNC,
    "write": "write,pwrite64,writev",
    "mkdir": "mkdir,mkdirat",
    "unlink": "unlink,unlinkat,rmdir",
}
FAULT = "ingest and sealing killed at the N-th rename, sync, write, mkdir or unlink"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> SmallIndex:
    """An installation with a release and nothing in it."""
    made = make_small_index(tmp_path_factory.mktemp("fresh"))
    made.write_sources(0, FILES)
    return made


def ingest_and_seal(tell: Callable[[object], None], index: SmallIndex) -> None:
    """What is killed: all that `kaizen ingest` and the sealing of its index do."""
    with index.opened() as parts:
        take_in(parts, index.sources)
        tell("taken in")
        seal(parts)


def pointer_first(tell: Callable[[object], None], index: SmallIndex) -> None:
    """The same without the order of writing: the pointer is set before what it points at is there."""
    with patch.object(GenerationStore, "_put", _put_pointer_first):
        ingest_and_seal(tell, index)


def row_first(tell: Callable[[object], None], index: SmallIndex) -> None:
    """The same with a batch that is recorded in the ledger before it is written."""
    waiting: list[Callable[[], str]] = []

    def later(store: ObjectStore, documents: pa.Table, chunks: pa.Table, made_by: str) -> str:
        name = new_id("batch")

        def write() -> str:
            with patch.object(batch, "new_id", lambda prefix: name):
                return batch.write_batch(store, documents, chunks, made_by)

        waiting.append(write)
        return f"batches/{name}"

    def append(self: Ingest, row: dict[str, Any]) -> list[Quarantined]:
        refused = _APPEND(self, row)
        waiting.pop()()
        return refused

    with patch("actors.bulk_embedder.write_batch", later), patch.object(Ingest, "_append", append):
        ingest_and_seal(tell, index)


_APPEND = Ingest._append


def _put_pointer_first(self: GenerationStore, view: View, fresh: Segment | None, origin: _Origin) -> None:
    previous = self._pointer().get("current")
    name = f"{view.seq:012d}-{new_id('g')}"
    self.store.write_pointer(f"{self.prefix}/CURRENT", json.dumps({"current": name, "previous": previous}))
    with patch("kaizen.indexing.generation.new_id", lambda prefix: name.partition("-")[2]):
        _PUT(self, view, fresh, origin)


_PUT = GenerationStore._put


def violations(index: SmallIndex, expected: Chunks) -> list[str]:
    """Rerun what was killed, undisturbed, and say what is not as it should be."""
    with index.opened() as parts:
        found = torn(parts)
        take_in(parts, index.sources)
        try:
            seal(parts)
        except KaizenError as error:
            return [*found, str(error)]
        again = take_in(parts, index.sources)
        if (again["unchanged"], again["documents"], parts.ledger.documents.count(TENANT)) != (FILES, 0, FILES):
            found.append(f"not all is taken in once: {again}")
        there = chunks_of(*(shard.view for shard in loaded(parts)))
        if lost := expected - there:
            found.append(f"{lost.total()} chunks are lost")
        if more := there - expected:
            found.append(f"{more.total()} chunks are there twice")
    return found


def killed_and_rerun(
    work: Work, fresh: SmallIndex, directory: Path, strikes: list[Strike], expected: Chunks
) -> tuple[int, list[str]]:
    """How many of the strikes killed, and what they broke."""
    index, kills, broken = fresh.copied(directory), 0, []
    for strike in strikes:
        code, _ = struck(work, index, strike=strike)
        assert code in (0, -9), f"{strike}: exit code {code}"
        kills += code == -9
        with index.opened() as parts:
            broken += torn(parts)
    return kills, broken + violations(index, expected)


@pytest.mark.timeout(900)
def test_killed_at_any_system_call(chaos: Chaos, fresh: SmallIndex, tmp_path: Path) -> None:
    whole = fresh.copied(tmp_path / "whole")
    struck(ingest_and_seal, whole)
    with whole.opened() as parts:
        expected = chunks_of(*(shard.view for shard in loaded(parts)))
    assert set(expected.values()) == {1}
    assert len(expected) > FILES
    steps = count_calls(ingest_and_seal, fresh.copied(tmp_path / "counted"), calls=CALLS)

    chance = chaos.chance("ingest killed")

    def strikes() -> list[Strike]:
        names = chance.choices(list(CALLS), k=LIVES)
        return [Strike(CALLS[name], "signal=KILL", chance.randint(1, steps[name])) for name in names]

    kills, broken = 0, []
    for trial in range(chaos.of(2, 70)):
        killed, found = killed_and_rerun(ingest_and_seal, fresh, tmp_path / f"{trial}", strikes(), expected)
        kills, broken = kills + killed, broken + found
        shutil.rmtree(tmp_path / f"{trial}")
    chaos.kept(4, FAULT, trials=kills, violations=len(broken))
    assert broken == []
    assert kills

    # The same kills where the order of writing is turned round: some of them must be noticed.
    for work, order in list(WITHOUT.items())[: chaos.of(1, None)]:
        renames = range(steps["rename"], max(0, steps["rename"] - chaos.of(8, 40)), -2)
        seen: list[tuple[int, list[str]]] = []
        for when in renames:
            strike = Strike(CALLS["rename"], "signal=KILL", when)
            seen.append(killed_and_rerun(work, fresh, tmp_path / f"{work.__name__}-{when}", [strike], expected))
            if seen[-1][1] and not chaos.long:
                break
        torn_ones = sum(bool(found) for _, found in seen)
        chaos.broken(
            4, FAULT, defence=order, trials=len(seen), violations=torn_ones,
            seen=f"{torn_ones} of {len(seen)} kills left something torn or missing",
        )  # fmt: skip


WITHOUT = {
    pointer_first: "a generation is written before the pointer to it",
    row_first: "a batch is written before the ledger's row",
}


@pytest.mark.timeout(900)
def test_the_job_and_its_worker_are_killed_on_a_real_ray(
    chaos: Chaos, product: Product, flock: Flock, tmp_path: Path
) -> None:
    write_texts(tmp_path / "texts", TEXTS, WORD)
    tenant, client = product.new_tenant()
    documents, chance = product.parts.ledger.documents, chaos.chance("job killed")

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jobs.ingest", str(tmp_path / "texts"), "--tenant", tenant, "--json"]
        return subprocess.Popen([*command, "--config", str(product.config)], env=environment(), stdout=subprocess.PIPE)

    def progressed(before: int, process: subprocess.Popen[bytes]) -> bool:
        return documents.count(tenant) > before or process.poll() is not None

    kills = chaos.of(1, 6)
    with traffic(product, flock.key, MIX) as history:
        for number in range(kills):
            with start() as job:
                if number % 2 == 0:  # a moment after a batch was recorded; else before anything is
                    before = documents.count(tenant)
                    eventually(lambda b=before, j=job: progressed(b, j), 180, "a batch is recorded")  # type: ignore[misc]
                threading.Event().wait(chance.uniform(0, 0.3 if number % 2 == 0 else 3))
                job.kill()
        assert 0 < documents.count(tenant) < TEXTS, "the kills came too late or too early to test anything"
        with start() as job:  # Ray starts another worker, and the run goes on
            eventually(lambda: _embedding(product), 180, "a worker that embeds").kill()
            output, _ = job.communicate(timeout=300)
            assert job.returncode == 0, output
    history.check()
    again = product.run("jobs.ingest", str(tmp_path / "texts"), "--tenant", tenant)
    assert (again["unchanged"], again["documents"], again["quarantined"]) == (TEXTS, 0, 0)
    with client:
        body = {"query": WORD, "mode": "lexical", "k": 1000, "min_seq": again["seq"], "timeout_seconds": 30}
        answer = client.post("/v1/search", json=body).raise_for_status().json()
    hits = [(hit["chunk_id"], hit["document_id"]) for hit in answer["hits"]]
    twice, lost = len(hits) - len(set(hits)), TEXTS - len({document for _, document in hits})
    chaos.kept(4, "the job, or its worker of Ray Data, killed", trials=kills + 1, violations=twice + lost)
    assert (answer["coverage"], twice, lost) == (1, 0, 0)


def _embedding(product: Product) -> psutil.Process | None:
    """The worker of Ray Data that holds the bulk embedder."""
    return next((p for p in product.tree() if "BulkEmbedder" in title_of(p)), None)
