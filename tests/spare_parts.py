"""A shop whose search rung 1 can mend, and the people who ask it for parts and click on what they asked for.

Its part numbers are found by words and hardly by vectors, and its weights trust vectors alone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from kaizen.commands.client import Client, Endpoint
from kaizen.commands.simulate import Plan, Summary, simulate
from kaizen.evaluation.collection import Collection
from kaizen.steward.record import state_of
from tests.product import Product

PARTS = 260
SESSIONS = 1_000_000  # of a plan that is ended when it is enough
USERS = 60
CALM_SECONDS = 0.3
SHOP: Mapping[str, Mapping[str, Any]] = {
    "fleet": {"shards": 1, "replicas": 1},
    "server": {"ingress": "proxy", "replicas": 1},
    "generator": {"kind": "extractive"},
    "index": {"seal_seconds": 1.0},
    "retrieval": {"dense_weight": 1.0, "lexical_weight": 0.01},
    "learning": {
        "steward": True, "min_feedback": 1_000_000, "schedule_hours": 0, "poll_seconds": 0.3, "max_rung": 1,
        "guard_impressions": 150, "test_weight": 1.0,
    },
}  # fmt: skip


def make_collection(folder: Path) -> Collection:
    """Write the shop's documents, questions and judgements in BEIR's layout."""
    numbers = Random(4).sample(range(10_000, 99_999), PARTS)  # noqa: S311 (no secret)
    series = ("Alba", "Brio", "Cura", "Dina")
    corpus = [
        {
            "_id": f"part-{number}",
            "title": "",
            "text": f"Spare part {number} for the water pump {series[number % 4]}. Kept in the main store.",
        }
        for number in numbers
    ]
    queries = [{"_id": f"q{number}", "text": str(number)} for number in numbers]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore", *(f"q{number}\tpart-{number}\t1" for number in numbers)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return Collection.open(folder)


def fill(product: Product, collection: Collection) -> None:
    """Put the documents in and wait until they can be found and are sealed."""
    documents = [{"id": one.id, "text": one.text} for one in collection.documents("default")]
    with product.client() as client:
        response = client.post("/v1/documents:batch?wait_for=searchable", json={"documents": documents})
        assert response.status_code == 200, response.text


def ask(product: Product, collection: Collection, sessions: int, seed: int = 0) -> None:
    """People ask each question `sessions` times."""
    simulate(lambda: _client(product), collection, Plan(sessions=sessions, users=USERS, seed=seed, connections=2))


@contextmanager
def custom(
    product: Product, collection: Collection, seed: int, pause: Callable[[], float] = lambda: 0.0
) -> Iterator[Future[Summary]]:
    """People keep asking until the block ends; gives what is done only when they gave up.

    Args:
        pause: seconds until the next one comes, asked after each.
    """
    over = threading.Event()
    plan = Plan(sessions=SESSIONS, users=USERS, seed=seed, connections=1)
    with ThreadPoolExecutor(1) as thread:
        people = thread.submit(simulate, lambda: _client(product), collection, plan, until=lambda _: over.wait(pause()))
        try:
            yield people
        finally:
            over.set()
        people.result()


def calm(product: Product) -> float:
    """Seconds between two people: few come while nothing is watched on them, and leave the CPU to the turn's steps."""
    turn = product.parts.ledger.turns.open()
    return 0.0 if turn is not None and state_of(turn).phase in ("test", "guard") else CALM_SECONDS


def _client(product: Product) -> Client:
    return Client(Endpoint(product.state.url, product.key))
