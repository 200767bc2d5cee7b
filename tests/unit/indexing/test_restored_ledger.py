"""A ledger comes back from a backup, or stands beside another one's objects: no index of another history serves."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from kaizen.config import IndexSettings, LedgerSettings
from kaizen.errors import Unavailable
from kaizen.indexing import generation
from kaizen.indexing.generation import GenerationStore, Loaded
from kaizen.offline import OfflineIndex
from kaizen.retrieval.shard import Seal
from kaizen.retrieval.view import LiveSegment, View
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.documents import Documents
from kaizen.storage.object_store import open_store
from tests.chaos.small_index import SHARDS, SmallIndex, chunks_of, loaded, make_small_index, seal, stable, take_in
from tests.unit.retrieval.rows import document, segment


class Place:
    """A shard of one ledger and one object store, and that ledger's backup."""

    def __init__(self, directory: Path, migrated: Path) -> None:
        self._file, self._backup = directory / "ledger.sqlite", directory / "backup.sqlite"
        shutil.copy(migrated, self._file)
        self._store = open_store(str(directory / "objects"))
        self.open()

    def open(self) -> None:
        self.ledger = Ledger.open(LedgerSettings(), f"sqlite:///{self._file}")
        self._generations = GenerationStore(self._store, "index/i/shard-000", self.ledger.documents)

    def write(self, *names: str) -> None:
        for name in names:
            self.ledger.documents.upsert(document(name, "pump"))

    def seal(self, until: int | None = None) -> None:
        """Make what the ledger holds (`until` a seq) the current generation; what is in it does not matter here."""
        fresh = segment(document("any", "pump"))
        live = LiveSegment(fresh, np.ones(fresh.rows, bool), sealed=False)
        seq = self.ledger.documents.head() if until is None else until
        self._generations.save(View(seq, (live,)), fresh)

    def back_up(self) -> None:
        self.ledger.close()
        shutil.copy(self._file, self._backup)
        self.open()

    def restore(self) -> None:
        self.ledger.close()
        shutil.copy(self._backup, self._file)
        self.open()

    def load(self) -> Loaded:
        return self._generations.load()

    def seqs(self) -> tuple[int, int]:
        """Of what is loaded, and how many were refused for it."""
        found = self.load()
        return found.view.seq, len(found.refused)


@pytest.fixture
def place(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Place]:
    made = Place(tmp_path, migrated_sqlite)
    with made.ledger:
        yield made
    made.ledger.close()


def test_a_generation_that_is_ahead_of_the_ledger_is_refused(place: Place) -> None:
    place.write("a")
    place.back_up()
    place.write("b")
    place.seal()
    assert place.seqs() == (2, 0)
    place.restore()
    assert place.seqs() == (0, 1)
    assert "none of this ledger's" in place.load().refused[0]


def test_so_is_one_whose_number_the_ledger_has_given_again(place: Place) -> None:
    place.write("a")
    place.back_up()
    place.write("b", "c")
    place.seal()
    place.restore()
    place.write("b", "c", "d")
    assert place.seqs() == (0, 1)


def test_what_was_sealed_before_the_backup_is_loaded(place: Place) -> None:
    place.write("a")
    place.seal()
    place.back_up()
    place.write("b")
    place.seal()
    place.restore()
    assert place.seqs() == (1, 1)
    place.write("b")
    assert place.seqs() == (1, 1)


def test_the_next_to_be_sealed_is_loaded_and_the_one_of_before_is_never(place: Place) -> None:
    place.write("a")
    place.back_up()
    place.write("b")
    place.seal()
    place.restore()
    place.seal()
    assert place.seqs() == (1, 0)
    place.write("b")
    assert place.seqs() == (1, 0)


def test_one_that_was_made_when_the_ledger_had_changes_that_it_has_no_more_is_refused(place: Place) -> None:
    """They may have emptied what it was made of, and the document is current again."""
    place.write("a", "b")
    place.back_up()
    place.ledger.documents.delete("acme", "a")
    place.ledger.documents.forget_texts(math.inf)
    place.seal(until=2)
    assert place.seqs() == (2, 0)
    place.restore()
    assert place.seqs() == (0, 1)
    place.write("c")  # the number is there again
    assert place.seqs() == (0, 1)
    place.seal(until=2)
    assert place.seqs() == (2, 0)


def test_one_of_before_heads_were_kept_is_known_by_the_change_it_ends_with(place: Place) -> None:
    place.write("a")
    place.back_up()
    place.write("b")
    with patch.object(generation.json, "dumps", _without("head", "head_mark")):
        place.seal(until=1)
    place.restore()
    assert place.seqs() == (1, 0)


@pytest.mark.parametrize("documents", [0, 2])
def test_a_generation_without_a_mark_is_loaded_unless_it_is_ahead(place: Place, documents: int) -> None:
    place.back_up()
    place.write(*"ab"[:documents])
    with patch.object(generation.json, "dumps", _without("mark", "head", "head_mark")):
        place.seal()
    assert place.seqs() == (documents, 0)
    place.restore()
    assert place.seqs() == (0, 1 if documents else 0)
    place.write("c", "d")
    assert place.seqs() == (documents, 0)


_DUMPS = json.dumps


def _without(*names: str) -> Callable[..., str]:
    """As generations were written before these were kept."""

    def dumps(value: object, **options: bool) -> str:
        kept = {k: v for k, v in value.items() if k not in names} if isinstance(value, dict) else value
        return _DUMPS(kept, **options)

    return dumps


def test_a_shard_without_documents_is_loaded_beside_any_ledger(place: Place) -> None:
    place.seal()
    place.write("a")
    assert place.seqs() == (0, 0)


def test_an_index_of_before_the_restore_is_built_from_the_ledger_again(tmp_path: Path) -> None:
    made = make_small_index(tmp_path / "made")
    _take_in(made, 3)
    with made.opened() as parts:
        whole = chunks_of(*(one.view for one in loaded(parts)))
    backup = made.copied(tmp_path / "backup")
    for count in (9, 15):  # neither of the two generations that are kept is of before the backup
        _take_in(made, count)
    _restore_ledger(made, backup)
    with made.opened() as parts:
        index = OfflineIndex.open(parts, stable(parts))
        assert (index.coverage, len(index.trouble)) == (0, 2 * SHARDS)
        seal(parts)
        index = OfflineIndex.open_whole(parts, stable(parts))
        assert index.trouble == ()
        assert chunks_of(*index.views.values()) == whole


def _take_in(made: SmallIndex, count: int) -> None:
    made.write_sources(0, count)
    with made.opened() as parts:
        take_in(parts, made.sources)
        seal(parts)


def _restore_ledger(made: SmallIndex, backup: SmallIndex) -> None:
    for file in made.workspace.glob("ledger.sqlite*"):
        file.unlink()
    for file in backup.workspace.glob("ledger.sqlite*"):
        shutil.copy(file, made.workspace)


def test_without_the_ledger_nothing_is_merged_or_stored(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would take away what is stored, what is merged would be lost, and the next try comes in a second."""
    fresh = segment(document("any", "pump"))
    live = LiveSegment(fresh, np.ones(fresh.rows, bool), sealed=False)

    def away(*_: object) -> str:
        raise Unavailable("The ledger does not answer.", advice="Wait.")

    monkeypatch.setattr(generation, "merge_parts", lambda *_: pytest.fail("merged, and nobody can keep it"))
    monkeypatch.setattr(Documents, "mark_of", away)
    with pytest.raises(Unavailable):
        place._generations.seal(Seal(View(1, (live,)), (live,)), IndexSettings())
    assert list(place._store.list("index/i/shard-000/segments")) == []
