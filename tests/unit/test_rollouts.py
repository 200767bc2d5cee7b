"""The rollout over HTTP: a release that could not answer is not begun with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaizen.config import LedgerSettings
from kaizen.errors import Conflict, NotFound
from kaizen.records import Principal, Rollout
from kaizen.storage.ledger import Ledger
from kaizen.storage.object_store import open_store
from serve_apps.rollout_schemas import Begin, Switch
from serve_apps.rollouts import Rollouts

ADMIN = Principal(key_id="k", tenant="acme", groups=(), scopes=("admin",))
MODEL = "models/ranker-0123456789ab"


async def _nothing() -> None:
    """Nobody is to be woken."""


@pytest.fixture
def rollouts(tmp_path: Path) -> Any:  # noqa: ANN401 (with what stands around it)
    ledger = Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite")
    store = open_store(str(tmp_path / "objects"))
    router: Any = SimpleNamespace(look=_nothing, standing=dict)
    index = {"index": {"fingerprint": "f"}}
    first = ledger.releases.record({**index})
    second = ledger.releases.record({**index, "ranker": {"artifact": MODEL}}, parent=first.id)
    ledger.rollout.change(Rollout(version=0, stable=first.id), by="test", kind="configure", reason="")
    workspace: Any = SimpleNamespace(ledger=ledger, store=store)
    yield SimpleNamespace(api=Rollouts(workspace, router, _nothing), store=store, ledger=ledger, second=second.id)
    ledger.close()


def test_a_release_whose_model_is_gone_is_refused_and_nothing_changes(rollouts: Any, tmp_path: Path) -> None:
    begin = Begin(action="begin", challenger=rollouts.second, mode="ab", weight=0.5, version=1)
    before = rollouts.ledger.rollout.state()
    for change in (
        rollouts.api.promote(ADMIN, rollouts.second, Switch(version=1)),
        rollouts.api.change(ADMIN, begin),
    ):
        with pytest.raises(Conflict, match=MODEL):
            asyncio.run(change)
    assert rollouts.ledger.rollout.state() == before
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "trees.txt").write_text("one")
    rollouts.store.put_directory(MODEL, tmp_path / "model")
    assert asyncio.run(rollouts.api.promote(ADMIN, rollouts.second, Switch(version=1))).stable == rollouts.second


def test_what_is_no_release_is_not_found(rollouts: Any) -> None:
    with pytest.raises(NotFound):
        asyncio.run(rollouts.api.promote(ADMIN, "r99", Switch(version=1)))
