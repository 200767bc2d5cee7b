"""Row 9: a manifest or a pointer is torn, or missing. The generation before loads, and the next one can be sealed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from unittest.mock import patch

from kaizen.indexing.generation import GenerationStore, Loaded
from kaizen.records import Document
from kaizen.retrieval.view import View
from tests.chaos.conftest import Chaos
from tests.chaos.small_index import (
    SHARDS,
    TENANT,
    SmallIndex,
    chunks_of,
    generations,
    loaded,
    make_small_index,
    seal,
    take_in,
)

LATE = 8
FAULT = "the manifest of a generation, of its segment, or the pointer: cut at any byte, or gone"


def victims(index: SmallIndex) -> list[Path]:
    """What each shard's current generation cannot do without."""
    found = []
    with index.opened() as parts:
        for store in generations(parts):
            shard, name = index.objects / store.prefix, store._pointer()["current"] or ""
            record = json.loads((shard / "generations" / name / "generation.json").read_text())
            found += [shard / "generations" / name / "sha256.json", shard / "CURRENT.pointer"]
            found += [shard / "segments" / segment / "sha256.json" for segment in record["segments"]]
    return found


def torn_and_started(index: SmallIndex, before: list[Loaded], whole: list[Loaded]) -> list[str]:
    """What is wrong with what the shards load, and with what they seal then."""
    found = []
    with index.opened() as parts:
        for shard, now in enumerate(loaded(parts)):
            if now.view.seq != whole[shard].view.seq and (now.view.seq != before[shard].view.seq or not now.refused):
                found.append(f"shard {shard} is at {now.view.seq} after {now.refused}")
        late = [Document(tenant=TENANT, id=f"late-{number}", title="", text="the pump") for number in range(LATE)]
        try:
            parts.ledger.documents.upsert_many(late)  # some for each shard, so that each has something to seal
            seal(parts)
        except Exception as error:  # noqa: BLE001 (whatever it is, the shard would never seal again)
            return [*found, f"sealing: {error}"]
        again = loaded(parts)
        there, added = chunks_of(*(one.view for one in again)), Counter((one.id, 0, one.text) for one in late)
        if there != chunks_of(*(one.view for one in whole)) + added:
            found.append("what was sealed then is not whole")
        if any(one.refused for one in again):
            found.append(f"it is still torn: {[one.refused for one in again]}")
    return found


def test_the_generation_before_loads(chaos: Chaos, tmp_path: Path) -> None:
    made = make_small_index(tmp_path / "made")
    made.write_sources(0, 6)
    views: list[list[Loaded]] = []
    for count in (6, 12):
        made.write_sources(0, count)
        with made.opened() as parts:
            take_in(parts, made.sources)
            seal(parts)
            views.append(loaded(parts))
    before, whole = views
    assert len(whole) == SHARDS
    chance, found, trials = chaos.chance("torn manifest"), [], 0
    for number, victim in enumerate(victims(made) * chaos.of(1, 8)):
        for cut in (None, chance.randrange(victim.stat().st_size)):
            copy = made.copied(tmp_path / "copy")
            path = copy.workspace / victim.relative_to(made.workspace)
            if cut is None:
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:cut])
            pointer_gone = cut is None and path.name == "CURRENT.pointer"
            trials += not pointer_gone
            wrong = [] if pointer_gone else torn_and_started(copy, before, whole)
            found += [f"{number} {path.name} cut at {cut}: {text}" for text in wrong]
            shutil.rmtree(copy.workspace)
    chaos.kept(9, FAULT, trials=trials, violations=len(found))
    assert found == []

    copy = made.copied(tmp_path / "copy")
    (copy.workspace / victims(made)[0].relative_to(made.workspace)).unlink()
    with patch.object(GenerationStore, "load", current_only):
        seen = torn_and_started(copy, before, whole)
    chaos.broken(
        9, FAULT, defence="the generation before the current one is kept and tried", trials=1, violations=len(seen),
        seen=seen[0] if seen else "nothing",
    )  # fmt: skip


def current_only(self: GenerationStore) -> Loaded:
    """A shard that knows of no generation but the current one."""
    try:
        name = self._pointer()["current"] or ""
        return Loaded(self._load_one(name, {}), (), name)
    except Exception as error:  # noqa: BLE001 (whatever it is)
        return Loaded(View(0, ()), (str(error),), "")
