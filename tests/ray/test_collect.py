"""Collection beside the running product: nobody notices what goes, not even when a release comes back meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kaizen.collect import Collected, collect
from kaizen.config import Collect
from kaizen.offline import OfflineIndex
from kaizen.records import Release
from kaizen.release import index_id, with_parts
from kaizen.rollout import promote, retire
from tests.product import Product, eventually, meanwhile
from tests.ray.conftest import Handbook

DAY = 24 * 3600.0
WRITTEN = [f"collected-{number}" for number in range(8)]  # enough for both shards to get some


def look(product: Product, days: float) -> Collected:
    """What a look in so many days collects, under settings of a day."""
    settings = product.parts.settings.model_copy(update={"collect": Collect(age_hours=24)})
    return collect(replace(product.parts, settings=settings), time.time() + days * DAY)


@contextmanager
def searching(handbook: Handbook) -> Iterator[list[httpx.Response]]:
    """Somebody searches all the while; each response."""
    answers = list[httpx.Response]()
    body = {"query": "goggles at the lathe", "mode": "lexical", "k": 5, "timeout_seconds": 10}
    with meanwhile(lambda: answers.append(handbook.client.post("/v1/search", json=body)), 0.05):
        yield answers


def change(product: Product, step: Any, *arguments: str) -> None:  # noqa: ANN401 (a transition of kaizen.rollout)
    rollout = product.parts.ledger.rollout
    rollout.change(step(rollout.state(), *arguments), by="test", kind=step.__name__, reason="")


def settle(product: Product, handbook: Handbook, release: Release) -> None:
    """Write until the release answers, and wait until its shards have sealed all of it."""
    for name in WRITTEN:
        handbook.client.put(f"/v1/documents/{name}", json={"text": f"The weasel of {time.time()}."}).raise_for_status()
    head = product.parts.ledger.documents.head()
    eventually(lambda: handbook.search("leave", min_seq=head)["release"] == release.id, 90, "it answers")
    eventually(lambda: OfflineIndex.open(product.parts, release).seq >= head, 60, "its shards have sealed")


@pytest.mark.slow
def test_a_release_that_comes_back_while_its_index_goes_answers_in_full(product: Product, handbook: Handbook) -> None:
    ledger, store = product.parts.ledger, product.parts.store
    stable = ledger.releases.get(ledger.rollout.current() or "")
    chunking = {**stable.parts["index"]["chunking"], "max_tokens": 96}
    other = ledger.releases.record(with_parts(stable, index={**stable.parts["index"], "chunking": chunking}), stable.id)
    index = f"index/{index_id(other)}"
    with searching(handbook) as answers:
        change(product, promote, other.id)
        settle(product, handbook, other)
        change(product, promote, stable.id)
        assert index not in look(product, 3).waiting  # the rollout keeps it warm
        change(product, retire)
        assert index in look(product, 5).waiting
        assert index in look(product, 7).gone
        assert not store.list(index)
        change(product, promote, other.id)
        settle(product, handbook, other)
        change(product, promote, stable.id)
        everything = {"mode": "lexical", "unit": "document", "k": 50}
        eventually(lambda: handbook.search("leave")["release"] == stable.id, 30, "and back")
        found = handbook.found("weasel", **everything)
    for name in WRITTEN:
        handbook.client.delete(f"/v1/documents/{name}?wait_for=searchable").raise_for_status()
    change(product, retire)
    assert sorted(found) == WRITTEN
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["hits"][0]["document_id"] for answer in answers} == {"lathe"}


def test_the_command_says_what_would_go_and_leaves_it(product: Product, tmp_path: Path) -> None:
    store, index = product.parts.store, "index/of-no-release"
    (tmp_path / "part").write_text("left by a kill")
    store.put_directory(f"{index}/shard-000/segments/seg_0", tmp_path)
    told = product.run("jobs.collect", "--dry-run")
    assert (told["gone"], index in told["waiting"]) == ([], True)
    assert store.list(index)
    store.delete(f"{index}/shard-000/segments/seg_0")
