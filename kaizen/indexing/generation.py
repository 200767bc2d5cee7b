"""Generations: what a shard looks like in the object store. A pointer names the current one and the one before.

    <prefix>/segments/<name>/       immutable, with a manifest of sums
    <prefix>/generations/<seq>-<id>/generation.json, alive-<segment>.npy
    <prefix>/CURRENT                pointer

The pointer moves last, so a kill at any moment leaves the old generation whole. A generation that does not verify is
refused and the one before is loaded; when neither verifies the shard is rebuilt from the ledger. A torn pointer is done
without: the newest generation that verifies is loaded, and the next to be sealed sets the pointer anew.

A generation also says which change it ends with. After the ledger was restored from a backup, or beside the objects of
another one, it has a change there that is not this ledger's, and is refused: as a view of this ledger it would never
see what came, nor lose what went, up to its seq. And it says what the ledger's last change was when it was sealed:
later changes may have emptied what it was made of (`kaizen.storage.ledger.superseded`), and a ledger that has not all
of those holds documents that it lacks. Every change that did is no later than that one, for all was read before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kaizen.config import IndexSettings
from kaizen.errors import Corrupt, NotFound
from kaizen.ids import new_id
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.shard import Seal, merge_parts
from kaizen.retrieval.vectors import Device
from kaizen.retrieval.view import LiveSegment, View
from kaizen.storage.object_store import ObjectStore, is_lost

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """A view at some seq (an empty one at 0 when there was nothing), and what had to be refused on the way.

    name: of the generation; empty when there was none.
    """

    view: View
    refused: tuple[str, ...]
    name: str


class History(Protocol):
    """Which changes a ledger has: `Ledger.documents`."""

    def head(self) -> int:
        """The highest `seq`; 0 when there is no change."""
        ...

    def mark_of(self, seq: int) -> str | None:
        """By what the change at `seq` is known, in this history alone; None when it has none there."""
        ...


@dataclass(frozen=True, slots=True)
class _Origin:
    """Changes of a history, each with its mark: the one that a view ends with, and the head after all was read."""

    mark: str | None
    head: int
    head_mark: str | None


@dataclass(frozen=True, slots=True)
class GenerationStore:
    """Generations of one shard under `prefix`, made from changes of `history`."""

    store: ObjectStore
    prefix: str
    history: History
    device: Device = "cpu"

    def save(self, view: View, fresh: Segment | None) -> None:
        """Make `view`, all of whose segments are sealed or `fresh`, the current generation; drop what is unused.

        A sealed segment that the store has lost (a release came back while its index was being collected) is put there
        again: whoever opened it still has all of it.
        """
        self._put(view, fresh, self._origin(view))

    def seal(self, due: Seal, settings: IndexSettings) -> Segment | None:
        """Merge what is due and make its view the current generation; gives what was merged, as `merge_parts`."""
        origin = self._origin(due.view)  # first: without the ledger the work could not become current
        merged = merge_parts(due.parts, settings)
        self._put(due.view.exchange(due.parts, merged, sealed=True), merged, origin)
        return merged

    def _origin(self, view: View) -> _Origin:
        head = self.history.head()
        return _Origin(self.history.mark_of(view.seq), head, self.history.mark_of(head))

    def _put(self, view: View, fresh: Segment | None, origin: _Origin) -> None:
        for segment in (live.segment for live in view.segments):
            if segment is fresh or is_lost(self.store, self._segment_name(segment.name)):
                self._put_segment(segment)
        previous = next(iter(self._names()[0]), None)
        name = f"{view.seq:012d}-{new_id('g')}"
        with tempfile.TemporaryDirectory() as scratch:
            _write_generation(Path(scratch), view, origin)
            self.store.put_directory(f"{self.prefix}/generations/{name}", Path(scratch))
        self.store.write_pointer(f"{self.prefix}/CURRENT", json.dumps({"current": name, "previous": previous}))
        self._drop_unused()

    def load(self, opened: Iterable[Segment] = ()) -> Loaded:
        """The newest generation that verifies and is this ledger's.

        Segments never change: of those in `opened` nothing is read again.
        """
        known = {segment.name: segment for segment in opened}
        names, refused = self._names()
        for name in names:
            try:
                return Loaded(self._load_one(name, known), tuple(refused), name)
            except (Corrupt, NotFound) as error:
                refused.append(f"generation {name}: {error.message}")
        return Loaded(View(0, ()), tuple(refused), "")

    def newest(self) -> str:
        """Name of the generation that `load` would try first; empty when there is none."""
        return next(iter(self._names()[0]), "")

    def newest_seq(self) -> int:
        """The `seq` of that generation, of which no more than its name is read; 0 when there is none."""
        return int(self.newest().partition("-")[0] or 0)

    def in_use(self) -> frozenset[str] | None:
        """Names in the store of the generations and segments that the pointer leads to.

        None when the pointer or a generation cannot be read: then nobody knows, and everything must stay.
        """
        used: set[str] = set()
        try:
            for name in filter(None, self._pointer().values()):
                generation = f"{self.prefix}/generations/{name}"
                with self.store.borrow_directory(generation) as directory:
                    record = json.loads((directory / "generation.json").read_text())
                used |= {generation, *map(self._segment_name, record["segments"])}
        except (Corrupt, NotFound):
            return None
        return frozenset(used)

    def _names(self) -> tuple[list[str], list[str]]:
        """Generations to try, the best first, and what had to be refused. Of a torn pointer all count, newest first."""
        try:
            pointer = self._pointer()
        except Corrupt as error:
            found = (name.rpartition("/")[2] for name in self.store.list(f"{self.prefix}/generations"))
            return sorted(found, reverse=True), [f"pointer: {error.message}"]
        return [name for name in (pointer.get("current"), pointer.get("previous")) if name is not None], []

    def _load_one(self, name: str, known: Mapping[str, Segment]) -> View:
        with self.store.borrow_directory(f"{self.prefix}/generations/{name}") as directory:
            record = json.loads((directory / "generation.json").read_text())
            if record["format"] != FORMAT:
                raise Corrupt(f"Generation format {record['format']} is not {FORMAT}.", advice="Rebuild the index.")
            self._check_history(record)
            return View(record["seq"], tuple(self._load_segment(directory, each, known) for each in record["segments"]))

    def _check_history(self, record: Mapping[str, Any]) -> None:
        """Asked after the pointer was read: whatever another copy has sealed until then, the ledger holds by now.

        Generations of before marks were kept have none, and are known by their number alone; those of before heads
        were kept, by the change they end with.
        """
        for seq, name in ((record["seq"], "mark"), (record.get("head", 0), "head_mark")):
            mark = self.history.mark_of(seq)
            if seq and (mark is None or record.get(name, mark) != mark):
                raise Corrupt(
                    f"Its change {seq} is none of this ledger's.", advice="It is built from the ledger again."
                )

    def _load_segment(self, generation: Path, name: str, known: Mapping[str, Segment]) -> LiveSegment:
        segment = known.get(name)
        if segment is None:
            with self.store.borrow_directory(self._segment_name(name)) as directory:
                segment = Segment.load(directory, self.device)  # maps its files, which then need no names
        bits = np.load(generation / f"alive-{name}.npy", allow_pickle=False)
        alive = np.unpackbits(bits, count=segment.rows, bitorder="little").astype(bool)
        return LiveSegment(segment, alive, sealed=True)

    def _put_segment(self, segment: Segment) -> None:
        """Store it; what lies in files on this machine then need not lie in memory too."""
        name = self._segment_name(segment.name)
        with tempfile.TemporaryDirectory() as scratch:
            segment.save(Path(scratch))
            self.store.put_directory(name, Path(scratch))
        if "://" not in self.store.uri:  # of a remote store the files would have to be fetched
            segment.rest_on(self.store.fetch_directory(name, None))

    def _segment_name(self, segment: str) -> str:
        return f"{self.prefix}/segments/{segment}"

    def _pointer(self) -> dict[str, str | None]:
        text = self.store.read_pointer(f"{self.prefix}/CURRENT")
        return json.loads(text) if text else {}

    def _drop_unused(self) -> None:
        used = self.in_use()
        if used is None:
            return
        for kind in ("generations", "segments"):
            for found in self.store.list(f"{self.prefix}/{kind}"):
                if found not in used:
                    self.store.delete(found)


def _write_generation(directory: Path, view: View, origin: _Origin) -> None:
    names = [live.segment.name for live in view.segments]
    record = {"format": FORMAT, "seq": view.seq, "segments": names, **asdict(origin)}
    (directory / "generation.json").write_text(json.dumps(record, sort_keys=True))
    for live in view.segments:
        np.save(directory / f"alive-{live.segment.name}.npy", np.packbits(live.alive, bitorder="little"))
