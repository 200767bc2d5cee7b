"""The rollout over HTTP: a release that could not answer is not begun with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from sqlalchemy import Connection

from kaizen.config import LedgerSettings
from kaizen.errors import Conflict, InvalidInput, NotFound
from kaizen.records import Principal, Rollout
from kaizen.storage.ledger import Ledger, decisions
from kaizen.storage.object_store import ObjectStore, open_store
from serve_apps.rollout_schemas import Adjust, Begin, Stop, Switch
from serve_apps.rollouts import Rollouts

ADMIN = Principal(key_id="k", tenant="acme", groups=(), scopes=("admin",))
MODEL = "models/ranker-0123456789ab"


async def _nothing() -> None:
    """Nobody is to be woken."""


@dataclass(frozen=True, slots=True)
class Place:
    """The API over a ledger with a stable release and a second one, whose ranker is not in the store."""

    api: Rollouts
    ledger: Ledger
    store: ObjectStore
    second: str


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    ledger = Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite")
    store = open_store(str(tmp_path / "objects"))
    router: Any = SimpleNamespace(look=_nothing, standing=dict)
    index = {"index": {"fingerprint": "f"}}
    first = ledger.releases.record({**index})
    second = ledger.releases.record({**index, "ranker": {"artifact": MODEL}}, parent=first.id)
    ledger.rollout.change(Rollout(version=0, stable=first.id), by="test", kind="configure", reason="")
    workspace: Any = SimpleNamespace(ledger=ledger, store=store)
    yield Place(Rollouts(workspace, router, _nothing), ledger, store, second.id)
    ledger.close()


def test_a_release_whose_model_is_gone_is_refused_and_nothing_changes(place: Place, tmp_path: Path) -> None:
    begin = Begin(action="begin", challenger=place.second, mode="ab", weight=0.5, version=1)
    before = place.ledger.rollout.state()
    for change in (
        place.api.promote(ADMIN, place.second, Switch(version=1)),
        place.api.change(ADMIN, begin),
    ):
        with pytest.raises(Conflict, match=MODEL):
            asyncio.run(change)
    assert place.ledger.rollout.state() == before
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "trees.txt").write_text("one")
    place.store.put_directory(MODEL, tmp_path / "model")
    assert asyncio.run(place.api.promote(ADMIN, place.second, Switch(version=1))).stable == place.second


@pytest.mark.parametrize("part", ["prompt", "generator"])
def test_a_release_that_writes_differently_is_not_interleaved(place: Place, part: str) -> None:
    other = place.ledger.releases.record({"index": {"fingerprint": "f"}, part: {"fingerprint": "g"}}).id
    with pytest.raises(InvalidInput, match="never interleaved"):
        asyncio.run(place.api.change(ADMIN, _begin(other, "interleave", 1)))
    assert asyncio.run(place.api.change(ADMIN, _begin(other, "ab", 1))).mode == "ab"
    with pytest.raises(InvalidInput, match="never interleaved"):
        asyncio.run(place.api.change(ADMIN, Adjust(action="adjust", mode="interleave", version=2)))
    asyncio.run(place.api.change(ADMIN, Stop(action="stop", version=2)))
    found_otherwise = place.ledger.releases.record(
        {"index": {"fingerprint": "f"}, "retrieval": {"fingerprint": "h"}}
    ).id
    assert asyncio.run(place.api.change(ADMIN, _begin(found_otherwise, "interleave", 3))).mode == "interleave"


def _begin(release: str, mode: Literal["ab", "interleave"], version: int) -> Begin:
    return Begin(action="begin", challenger=release, mode=mode, weight=0.5, version=version)


def test_what_is_no_release_is_not_found(place: Place) -> None:
    with pytest.raises(NotFound):
        asyncio.run(place.api.promote(ADMIN, "r99", Switch(version=1)))


def test_the_history_shows_a_change_however_much_else_was_decided_since(place: Place) -> None:
    def others(connection: Connection) -> None:
        for _ in range(1000):
            made = decisions.row(by="steward", kind="reject", release="r", turn="t", reason="", evidence={})
            decisions.insert(connection, made)

    place.ledger.decisions._database.write(others)
    assert [one.kind for one in asyncio.run(place.api.history(50)).decisions] == ["configure"]
