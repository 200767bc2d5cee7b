"""Simulated people at the real service, and the data set that comes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kaizen.commands.client import Client, Endpoint
from kaizen.commands.simulate import Plan, Summary, simulate
from kaizen.errors import KaizenError
from kaizen.evaluation.collection import Collection
from kaizen.learning.dataset import read_dataset
from kaizen.records import Feedback, Impression
from tests.product import Product, eventually

THINGS = ("anvil", "bellows", "chisel", "drill", "engine", "forge", "gauge", "hammer")
PLAN = Plan(sessions=4, noise=0.1, hostile=0.1, seed=7, users=20, k=5, pushed=2)


@dataclass(frozen=True, slots=True)
class Shop:
    """A tenant with a small collection, and how to reach the service for it."""

    product: Product
    tenant: str
    endpoint: Endpoint
    collection: Collection

    def simulate(self, plan: Plan, until: Callable[[Summary], bool] | None = None) -> Summary:
        """Until all that was shown is on record, too."""
        done = simulate(lambda: Client(self.endpoint), self.collection, plan, until=until)
        self.product.wait_until_recorded()
        return done

    def ledger(self) -> tuple[list[Impression], list[Feedback]]:
        """The tenant's impressions and feedback."""
        kept = self.product.parts.ledger
        shown = [row for _, row in kept.impressions.after(0, 100_000) if row.tenant == self.tenant]
        return shown, [row for _, row in kept.feedback.after(0, 100_000) if row.tenant == self.tenant]


def write_collection(folder: Path) -> Path:
    """For each thing a document on its care and one on its price; the queries ask for the care."""
    documents = [(f"care-{thing}", f"To care for the {thing}, oil the {thing} every week.") for thing in THINGS]
    documents += [(f"price-{thing}", f"The {thing} costs {len(thing)} coins in the shop.") for thing in THINGS]
    lines = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in documents]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    queries = [json.dumps({"_id": thing, "text": f"how to care for the {thing}"}) for thing in THINGS]
    (folder / "queries.jsonl").write_text("\n".join(queries))
    (folder / "qrels.tsv").write_text("".join(f"{thing}\tcare-{thing}\t1\n" for thing in THINGS))
    return folder


@pytest.fixture
def shop(product: Product, tmp_path: Path) -> Iterator[Shop]:
    collection = Collection.open(write_collection(tmp_path))
    tenant, client = product.new_tenant()
    batch = [{"id": d.id, "title": d.title, "text": d.text} for d in collection.documents(tenant)]
    with client:
        client.post("/v1/documents:batch?wait_for=searchable", json={"documents": batch}).raise_for_status()
        key = client.headers["authorization"].removeprefix("Bearer ")
    yield Shop(product, tenant, Endpoint(product.state.url, key), collection)


def test_people_search_and_click_under_their_own_names(shop: Shop) -> None:
    summary = shop.simulate(PLAN)
    impressions, feedback = shop.ledger()
    assert (summary.sessions, sum(summary.by_release.values())) == (4 * len(THINGS), 4 * len(THINGS))
    assert len(feedback) == summary.clicks > 0
    by_id = {impression.id: impression for impression in impressions}
    assert all(given.identity == by_id[given.impression_id].identity for given in feedback)
    assert len({impression.user for impression in impressions}) > 5


def test_honest_people_click_what_is_relevant(shop: Shop) -> None:
    shop.simulate(Plan(sessions=4, seed=1, users=20))
    impressions, feedback = shop.ledger()
    asked = {impression.id: impression.query.rpartition(" ")[2] for impression in impressions}
    assert feedback
    assert all(given.chunk_id == f"care-{asked[given.impression_id]}#0" for given in feedback)


def test_one_seed_gives_the_same_people_whatever_the_connections(shop: Shop) -> None:
    def done(connections: int) -> list[tuple[str, str, bool]]:
        before = {impression.id for impression in shop.ledger()[0]}
        shop.simulate(Plan(sessions=2, noise=0.2, seed=3, users=9, connections=connections))
        impressions, feedback = shop.ledger()
        clicked = {given.impression_id for given in feedback}
        return sorted((i.query, i.user, i.id in clicked) for i in impressions if i.id not in before)

    assert done(1) == done(4)


def test_it_can_be_told_to_stop(shop: Shop) -> None:
    summary = shop.simulate(Plan(sessions=1000, connections=2), until=lambda so_far: so_far.sessions >= 10)
    assert 10 <= summary.sessions <= 12


def test_a_refusal_ends_it(shop: Shop) -> None:
    bad = Shop(shop.product, shop.tenant, Endpoint(shop.endpoint.url, "not a key"), shop.collection)
    with pytest.raises(KaizenError):
        bad.simulate(PLAN)


def test_the_commands_make_a_data_set_and_make_it_once(shop: Shop) -> None:
    environ = {**os.environ, "KAIZEN_URL": shop.endpoint.url, "KAIZEN_API_KEY": shop.endpoint.key}
    arguments = ("--dataset", str(shop.collection.directory), "--sessions", "12", "--noise", "0.1", "--json")
    command = [sys.executable, "-m", "kaizen.cli", "simulate", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["sessions"] == 12 * len(THINGS)

    def curated() -> dict[str, Any] | None:
        """A data set that has this tenant in it: what it searches must have been sealed."""
        made = shop.product.run("jobs.curate")
        content = read_dataset(shop.product.parts.store, made["artifact"])
        return made if shop.tenant in content.record["tenants"] else None

    made = eventually(curated, 60, "the tenant's documents are sealed")
    assert shop.product.run("jobs.curate")["dataset"] == made["dataset"]
    content = read_dataset(shop.product.parts.store, made["artifact"])
    rows = [row for row in content.examples.to_pylist() if row["tenant"] == shop.tenant]
    relevant = {row["document_id"] for row in rows if row["label"] >= 0.5}
    assert relevant
    assert all(name.startswith("care-") for name in relevant)
    assert all(row["text"] and len(row["features"]) > 0 for row in rows)
    assert shop.product.parts.ledger.datasets.get(made["dataset"]).artifact == made["artifact"]
