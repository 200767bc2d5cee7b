"""`jobs.ingest` over a folder that changes, without Ray between its stages: no text stays, and none is lost."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.exceptions import RayTaskError

from jobs.ingest import Ingest, Summary, _print, _release, main
from kaizen import rollout
from kaizen.errors import StorageFull, Unavailable
from kaizen.indexing.batch import read_document
from kaizen.indexing.prepare import ChecksVectors, Prepared, prepare
from kaizen.records import Document, Quarantined
from kaizen.text.chunk import Chunker
from kaizen.text.sandbox import Sandbox
from kaizen.workspace import Workspace
from tests.chaos.small_index import TENANT, SmallIndex, make_small_index, take_in

GRASS, SWIMS, GONE = "The pump is a motor.", "The valve is a gear of the belt.", "This belt was withdrawn."
COUNTS = ("documents", "unchanged", "duplicate", "quarantined", "deleted", "kept")


def test_its_help_reads_as_its_description_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert "    python -m jobs.ingest SOURCE... [--tenant T]" in told
    assert "else $KAIZEN_CONFIG" in told


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallIndex:
    return make_small_index(tmp_path_factory.mktemp("made"))


def in_worker(error: Exception) -> Exception:
    """What Ray raises here when a worker raised `error`."""
    return RayTaskError("read", "Traceback ..", error).as_instanceof_cause()


class Folder:
    """A folder and what was taken in of it."""

    def __init__(self, path: Path, parts: Workspace) -> None:
        self.path = path
        self.parts = parts
        path.mkdir()

    def write(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.path / f"{name}.txt").write_text(text)

    def ingest(self, *, prune: bool = False) -> dict[str, int]:
        """What was counted."""
        summary = take_in(self.parts, self.path, prune=prune)
        return {name: summary[name] for name in COUNTS if summary[name]}

    def holds(self) -> dict[str, str]:
        """Id -> text of all that can be found."""
        documents, names = self.parts.ledger.documents, set()
        for change in documents.changes_after(0):
            if change.kind == "batch":
                names |= set(pq.read_table(self._file(change.batch_uri)).column("id").to_pylist())
        states = documents.states(TENANT, sorted(names))
        return {name: read_document(self.parts.store, state.batch_uri, name).text for name, state in states.items()}

    def _file(self, batch: str) -> Path:
        return self.parts.store.fetch_directory(batch, None) / "documents.parquet"


@pytest.fixture
def folder(made: SmallIndex, tmp_path: Path) -> Iterator[Folder]:
    sandbox = Sandbox(parse_seconds=60)  # shared: a Reader's own would end with its actor
    with (
        made.copied(tmp_path / "workspace").opened() as parts,
        sandbox,
        patch("actors.reader.Sandbox", lambda **_: sandbox),
    ):
        yield Folder(tmp_path / "kb", parts)


def test_of_two_documents_withdrawn_with_one_text_neither_keeps_its_old_one(folder: Folder) -> None:
    folder.write(a=GRASS, b=SWIMS)
    folder.ingest()
    folder.write(a=GONE, b=GONE)
    assert folder.ingest() == {"documents": 2}
    assert folder.holds() == {"kb/a.txt": GONE, "kb/b.txt": GONE}
    assert folder.ingest(prune=True) == {"unchanged": 2}


def test_a_renamed_document_is_there_when_the_old_one_goes(folder: Folder) -> None:
    folder.write(a=GRASS, c=SWIMS)
    folder.ingest()
    (folder.path / "a.txt").rename(folder.path / "b.txt")
    folder.write(d=GRASS)
    assert folder.ingest() == {"unchanged": 1, "duplicate": 2}
    assert folder.ingest(prune=True) == {"documents": 1, "unchanged": 1, "duplicate": 1, "deleted": 1}
    assert folder.holds() == {"kb/b.txt": GRASS, "kb/c.txt": SWIMS}


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize(("old", "new"), [("a", "b"), ("b", "a")])
def test_a_text_that_moves_while_its_place_gets_another_stays(folder: Folder, prune: bool, old: str, new: str) -> None:
    """Whichever of the two the run meets first."""
    folder.write(**{old: GRASS})
    folder.ingest()
    folder.write(**{old: SWIMS, new: GRASS})
    assert folder.ingest(prune=prune) == {"documents": 2}
    assert folder.holds() == {f"kb/{old}.txt": SWIMS, f"kb/{new}.txt": GRASS}


def test_a_run_that_was_killed_before_it_deletes_is_finished_by_the_next(folder: Folder) -> None:
    folder.write(a=GRASS)
    folder.ingest()
    (folder.path / "a.txt").rename(folder.path / "b.txt")
    with patch.object(Ingest, "_delete_unseen", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        folder.ingest(prune=True)
    assert folder.holds() == {"kb/a.txt": GRASS, "kb/b.txt": GRASS}
    assert folder.ingest(prune=True) == {"unchanged": 1, "deleted": 1}
    assert folder.holds() == {"kb/b.txt": GRASS}


def test_an_original_stays_when_its_copy_is_gone_before_it_is_read_again(folder: Folder) -> None:
    folder.write(a=GRASS)
    folder.ingest()
    (folder.path / "a.txt").rename(folder.path / "b.txt")
    again = Ingest._take_stranded

    def too_late(job: Ingest, *given: Any) -> None:  # noqa: ANN401 (handed on)
        (folder.path / "b.txt").unlink()
        again(job, *given)

    with patch.object(Ingest, "_take_stranded", too_late):
        assert folder.ingest(prune=True) == {"quarantined": 1, "kept": 1}
    assert folder.holds() == {"kb/a.txt": GRASS}


def test_what_another_run_takes_in_meanwhile_stays(folder: Folder) -> None:
    """Two runs over one folder: the first had listed it before the new file came."""
    folder.write(a=GRASS)
    folder.ingest()
    take = Ingest._take_stranded

    def another(job: Ingest, *given: Any) -> None:  # noqa: ANN401 (handed on)
        folder.write(b=SWIMS)
        with patch.object(Ingest, "_take_stranded", take):
            assert folder.ingest() == {"documents": 1, "unchanged": 1}
        take(job, *given)

    with patch.object(Ingest, "_take_stranded", another):
        assert folder.ingest(prune=True) == {"unchanged": 1}
    assert folder.holds() == {"kb/a.txt": GRASS, "kb/b.txt": SWIMS}


def half_a_parquet(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def a_line_without_text(path: Path) -> None:
    path.write_text('{"id": "r1", "text": "The pump."}\n{"id": "r2", "text": ""}\n')


@pytest.mark.parametrize(
    ("name", "damage", "unread"),
    [("rows.parquet", half_a_parquet, 2), ("rows.jsonl", a_line_without_text, 1)],
)
def test_what_a_damaged_file_held_stays(folder: Folder, name: str, damage: Callable[[Path], None], unread: int) -> None:
    rows = [{"id": "r1", "text": "The pump."}, {"id": "r2", "text": "The wheel."}]
    path = folder.path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.write(a=GRASS, b=SWIMS)
    folder.ingest()
    damage(path)
    (folder.path / "a.txt").unlink()
    seen = {"unchanged": 3 - unread, "quarantined": 1}
    assert folder.ingest(prune=True) == {**seen, "kept": unread + 1}
    assert sorted(folder.holds()) == ["kb/a.txt", "kb/b.txt", "r1", "r2"]
    path.unlink()
    assert folder.ingest(prune=True) == {"unchanged": 1, "deleted": 3}


def test_a_damaged_file_of_one_document_keeps_that_one_only(folder: Folder) -> None:
    folder.write(a=GRASS, b=SWIMS, c=GONE)
    folder.ingest()
    folder.write(a="")
    (folder.path / "b.txt").unlink()
    assert folder.ingest(prune=True) == {"unchanged": 1, "quarantined": 1, "deleted": 1}
    assert sorted(folder.holds()) == ["kb/a.txt", "kb/c.txt"]


def test_what_lies_behind_a_broken_link_stays(folder: Folder) -> None:
    folder.write(a=GRASS, b=SWIMS)
    folder.ingest()
    (folder.path / "b.txt").unlink()
    (folder.path / "b.txt").symlink_to(folder.path / "nothing.txt")
    assert folder.ingest(prune=True) == {"unchanged": 1, "kept": 1}


def test_what_was_mended_or_is_gone_leaves_quarantine(folder: Folder) -> None:
    """Rows have no id while they are bad, and what is deleted will never succeed."""
    (folder.path / "rows.jsonl").write_text(json.dumps({"id": "a", "text": GRASS}) + "\n{broken\n")
    folder.write(empty="", gone="")
    assert folder.ingest() == {"documents": 1, "quarantined": 3}
    (folder.path / "rows.jsonl").write_text("".join(json.dumps({"id": i, "text": i + GRASS}) + "\n" for i in "ab"))
    (folder.path / "gone.txt").unlink()
    assert folder.ingest() == {"documents": 2, "quarantined": 1}
    assert [item.document_id for item in folder.parts.ledger.quarantine.list(TENANT)] == ["kb/empty.txt"]
    folder.write(empty=SWIMS)
    folder.ingest()
    assert folder.parts.ledger.quarantine.count(TENANT) == 0


def test_a_document_that_was_not_tried_again_stays_in_quarantine(folder: Folder) -> None:
    """It is in the ledger, and an index that a release brought could not hold it."""
    folder.write(a=GRASS)
    folder.ingest()
    source = folder.parts.ledger.documents.states(TENANT, ["kb/a.txt"])["kb/a.txt"].source
    told = Quarantined(tenant=TENANT, source=source, document_id="kb/a.txt", reason="no vector", at=1.0)
    folder.parts.ledger.quarantine.add_many([told])
    assert folder.ingest() == {"unchanged": 1}
    assert folder.parts.ledger.quarantine.list(TENANT) == [told]


def test_a_document_that_the_embedder_refused_leaves_quarantine_when_it_is_taken(folder: Folder) -> None:
    folder.write(a=GRASS, b=SWIMS)
    with patch("actors.bulk_embedder.prepare", _refuse_all):
        assert folder.ingest() == {"quarantined": 2}
    assert [item.source for item in folder.parts.ledger.quarantine.list(TENANT)] == [folder.path.as_uri()] * 2
    assert folder.ingest() == {"documents": 2}
    assert folder.parts.ledger.quarantine.count(TENANT) == 0


def _refuse_all(documents: Sequence[Document], chunker: Chunker, embedder: ChecksVectors) -> Prepared:
    done = prepare(documents, chunker, embedder)
    return replace(done, refused=frozenset((d.tenant, d.id) for d in documents))


def test_an_ingest_changes_nothing_about_who_gets_what(folder: Folder) -> None:
    """Neither a rollback nor a trial, whatever is configured by now; its documents are cut for what is in service."""
    ledger = folder.parts.ledger
    stable = folder.parts.release()
    tried = ledger.releases.record({**stable.parts, "retrieval": {"fingerprint": "x"}}, stable.id)
    ledger.rollout.change(rollout.begin(ledger.rollout.state(), tried.id, "ab", 0.5), by="t", kind="begin", reason="")
    before = ledger.rollout.state()
    chunking = folder.parts.settings.chunking.model_copy(update={"max_tokens": 64})
    folder.parts = replace(folder.parts, settings=folder.parts.settings.model_copy(update={"chunking": chunking}))
    folder.write(a=GRASS)
    assert folder.ingest() == {"documents": 1}
    assert (ledger.rollout.state(), len(ledger.releases.list())) == (before, 2)


def test_an_ingest_before_any_start_makes_the_first_release(made: SmallIndex, tmp_path: Path) -> None:
    fresh = replace(made, workspace=tmp_path / "workspace")
    with patch.dict(os.environ, XDG_CACHE_HOME=str(tmp_path / "cache")), fresh.opened() as parts:
        release = _release(parts)
        assert parts.ledger.rollout.current() == release.id


def test_the_summary_says_what_stays_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary()
    _print(summary, as_json=False)
    assert "stay" not in capsys.readouterr().out
    summary.counts["kept"] = 2
    _print(summary, as_json=False)
    assert "2 documents were not found, but stay" in capsys.readouterr().out
    _print(summary, as_json=True)
    assert json.loads(capsys.readouterr().out)["kept"] == 2


def test_the_summary_says_why_files_were_skipped(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write(a=GRASS)
    for name in ("b.rst", "c.rst", ".d.txt", "~$e.docx"):
        (folder.path / name).write_text(SWIMS)
    summary = take_in(folder.parts, folder.path)
    why = {"unknown extension '.rst'": 2, "hidden": 1, "lock file": 1}
    assert (summary["skipped"], summary["skipped_why"]) == (4, why)
    _print(Summary(), as_json=False)
    assert "Skipped" not in capsys.readouterr().out
    told = Summary(skipped_why=Counter({**why, "x": 1, "y": 1, "z": 1}), counts=Counter(skipped=7))
    _print(told, as_json=False)
    expected = "Skipped: unknown extension '.rst' 2, hidden 1, lock file 1, x 1, y 1, others 1 (--json names all).\n"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (Unavailable("It is away."), 75, "unavailable", "It is away."),
        (in_worker(StorageFull("It is full.")), 75, "storage-full", "It is full."),
        (in_worker(PermissionError(errno.EACCES, "Permission denied", "/a")), 1, "permanent", "/a: Permission denied."),
    ],
)
def test_an_error_ends_it_as_it_ends_every_command(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int, code: str, message: str
) -> None:
    with patch("jobs.ingest.open_workspace", side_effect=error):
        assert main(["folder", "--json"]) == status
    told = json.loads(capsys.readouterr().err)["error"]
    assert (told["code"], told["message"]) == (code, message)
