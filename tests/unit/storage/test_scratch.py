"""What is fetched from a remote store: how long it stays on this machine, and what killed processes leave of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from kaizen.indexing.batch import document_table, read_chunks, read_document, read_documents, write_batch
from kaizen.indexing.generation import GenerationStore
from kaizen.retrieval.chunk_table import with_vectors
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import LiveSegment, View
from kaizen.storage.local_store import LocalStore
from kaizen.storage.object_store import ObjectStore, open_store
from kaizen.storage.scratch import Scratch
from tests.unit.indexing.no_ledger import NoLedger
from tests.unit.retrieval.rows import document, rows, segment, vector

ROOT = Path(__file__).parents[3]
HOLD = "import sys; from kaizen.storage.scratch import Scratch; s = Scratch(); print(s.path, flush=True); input()"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder for temporary files, of this process and of those that it starts."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / "tmp"


@pytest.fixture
def remote(place: Path, tmp_path: Path, s3_endpoint: str, s3_access: None) -> ObjectStore:
    """An empty store at a service."""
    return open_store(f"s3://kaizen/{tmp_path.name}", s3_endpoint)


def _holder() -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder, and that."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD], cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload]
    return process, Path(process.stdout.readline().strip())


def _files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]


def test_a_folder_of_a_process_that_was_killed_goes_and_that_of_a_living_one_stays(place: Path) -> None:
    processes, (dead, living) = zip(*(_holder(), _holder()), strict=True)
    for folder in (dead, living):
        (folder / "index").write_bytes(b"x")
    processes[0].kill()
    processes[0].communicate()
    own = Scratch()
    assert sorted(place.iterdir()) == sorted([living, own.path])
    processes[1].communicate("\n")
    assert sorted(place.iterdir()) == [own.path]
    path = own.path
    del own
    assert not path.exists()


def test_a_block_has_one_of_its_own_purpose_and_place(place: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    killed = there / "kaizen-up-1"
    for folder in (killed, there / "kaizen-gcs-1", place / "kaizen-up-2"):
        folder.mkdir(parents=True)
    with Scratch("up", there) as path:
        assert sorted(there.iterdir()) == sorted([there / "kaizen-gcs-1", path])
        assert (path.parent, path.name.startswith("kaizen-up-"), path.stat().st_mode & 0o777) == (there, True, 0o700)
        (path / "launcher").write_bytes(b"x")
    assert list(there.iterdir()) == [there / "kaizen-gcs-1"]
    assert [each.name for each in place.iterdir()] == ["kaizen-up-2"]


def test_what_others_have_is_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half_made = place / ".kaizen-fetched-1"
    others = place / "kaizen-fetched-2"
    for folder in (half_made, others):
        folder.mkdir()
    (place / "kaizen-fetched-3").symlink_to(half_made)
    (place / "kaizen-fetched-4").write_bytes(b"")
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    first = Scratch()
    assert others.exists()
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    second = Scratch()
    left = {path.name for path in place.iterdir()}
    assert left == {half_made.name, "kaizen-fetched-3", "kaizen-fetched-4", first.path.name, second.path.name}


def test_of_a_batch_nothing_stays(remote: ObjectStore, place: Path) -> None:
    documents = [document("a", "pump"), document("b", "valve")]
    name = write_batch(remote, document_table(documents), with_vectors(*rows(*documents)), "hash")
    chunks = read_chunks(remote, name, "hash")
    assert chunks is not None and chunks.num_rows == 2
    assert read_chunks(remote, name, "another") is None
    assert [one.id for one in read_documents(remote, name)] == ["a", "b"]
    assert read_document(remote, name, "b").text == "valve"
    assert _files(place) == []


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_of_an_index_nothing_stays_and_it_answers_all_the_same(remote: ObjectStore, place: Path, kind: str) -> None:
    fresh = segment(*(document(f"d{n}", f"pump {n}. valve {n}") for n in range(20)), kind=kind)  # type: ignore[arg-type]
    generations = GenerationStore(remote, "index/i/shard-000", NoLedger())
    generations.save(View(1, (LiveSegment(fresh, np.ones(fresh.rows, bool), sealed=False),)), fresh)
    loaded = GenerationStore(remote, "index/i/shard-000", NoLedger()).load()
    assert _files(place) == []
    (live,) = loaded.view.segments
    assert _answers(live.segment) == _answers(fresh)
    again = GenerationStore(remote, "index/another/shard-000", NoLedger())
    again.save(loaded.view, None)  # the store has lost the segment: it is put there from its mapped files
    assert _answers(again.load().view.segments[0].segment) == _answers(fresh)


def _answers(one: Segment) -> tuple[object, ...]:
    terms = ["pump", "valve"]
    words, _ = one.lexical.top(terms, one.lexical.statistics(terms), None, 5, k1=1.2, b=0.75)
    return one.table.to_pylist(), one.vectors.top(vector("pump"), 5, None)[0].tolist(), words.tolist()


def test_what_is_borrowed_of_a_local_store_is_its_own(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "words").write_bytes(b"pump")
    store.put_directory("a", tmp_path / "source")
    with store.borrow_directory("a") as directory:
        assert directory == tmp_path / "objects" / "a"
    assert (directory / "words").read_bytes() == b"pump"
