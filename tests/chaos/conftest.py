"""For tests of faults: how long they last, what chance they use, where results go, documents that must stay."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx
import pytest

from tests.chaos import report
from tests.chaos.history import History, final_state
from tests.chaos.model import DURABLE, ONCE, Violation
from tests.chaos.spoilt import spoilable
from tests.product import Product, configure, eventually, started

T = TypeVar("T")
WORD = "flamingo"
LEG = "leg"  # only in documents of a flock: in half an hour others with WORD are more than one answer holds
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Chaos:
    """One run of the tests of faults. `minutes`: of random faults in the long form."""

    long: bool
    seed: int
    out: Path
    minutes: float

    def chance(self, name: str) -> Random:
        """Random numbers that `name` always gets with this seed."""
        return Random(f"{self.seed} {name}")  # noqa: S311 (no secret)

    def of(self, short: T, long: T) -> T:
        """What belongs to this form."""
        return long if self.long else short

    def kept(self, row: int, fault: str, *, trials: int, violations: int = 0, seconds: float | None = None) -> None:
        """Record trials of the product."""
        result = report.Result(
            row=row, fault=fault, trials=trials, violations=violations, seconds=seconds, seed=self.seed
        )
        report.append(self.out, result)

    @contextmanager
    def counted(self, row: int, fault: str) -> Iterator[None]:
        """One trial, of which anything may come: whatever fails in the block is a violation on record, too."""
        try:
            yield
        except Exception:
            self.kept(row, fault, trials=1, violations=1)
            raise

    def broken(self, row: int, fault: str, *, defence: str, trials: int, violations: int, seen: str) -> None:
        """Record what was seen with a defence switched off: there must be violations."""
        result = report.Result(
            row=row, fault=fault, trials=trials, violations=violations, seed=self.seed, defence=defence,
            seen_without_it=seen,
        )  # fmt: skip
        report.append(self.out, result)
        assert violations, f"{defence} is switched off, and nobody noticed: {seen}"


@pytest.fixture(scope="session")
def chaos(pytestconfig: pytest.Config) -> Chaos:
    seed = pytestconfig.getoption("chaos_seed")
    seed = secrets.randbelow(10**6) if seed is None else seed
    print(f"--chaos-seed {seed}")
    long = pytestconfig.getoption("chaos") == "long"
    return Chaos(long, seed, pytestconfig.getoption("chaos_out"), pytestconfig.getoption("chaos_minutes"))


@pytest.fixture
def long_form(chaos: Chaos) -> None:
    """For what takes minutes."""
    if not chaos.long:
        pytest.skip("long form only: --chaos long")


TWINS: Mapping[str, Mapping[str, Any]] = {
    "server": {"ingress": "haproxy"},
    "fleet": {"shards": 1, "replicas": 2},
    "generator": {"kind": "extractive"},
}
WEAK: Mapping[str, Mapping[str, Any]] = {"server": {"ingress": "proxy"}, "fleet": TWINS["fleet"]}
# Defences that have nothing to do with each other are switched off in one installation.
SWITCHED_OFF = {
    "actors.fan_out:FanOut._ask_copies": "tests.chaos.stand_ins:ask_one_copy",
    "actors.fan_out:FanOut._search_one": "tests.chaos.stand_ins:patient",
    "actors.fleet:plan": "tests.chaos.stand_ins:never_replaces",
    "actors.generator_client:GeneratorCall.stream": "tests.chaos.stand_ins:no_end",
    "kaizen.storage.ledger.group_commit:_FATAL": "tests.chaos.stand_ins:not_fatal",
    "kaizen.storage.ledger.rollout:_change": "tests.chaos.stand_ins:last_one_wins",
}


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One shard in two copies, behind HAProxy."""
    with started(configure(tmp_path_factory.mktemp("twins"), TWINS)) as running:
        yield running


@pytest.fixture(scope="session")
def weak_twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One shard in two copies, without SWITCHED_OFF; its models can be spoilt, and that is looked at."""
    folder = tmp_path_factory.mktemp("weak")
    with spoilable(folder, SWITCHED_OFF), started(configure(folder, WEAK)) as running:
        yield running


@pytest.fixture(params=["product", "twins"])
def either(request: pytest.FixtureRequest, chaos: Chaos) -> Product:
    """Behind Serve's own proxy, which only the long form asks, and behind HAProxy."""
    if request.param == "product" and not chaos.long:
        pytest.skip("long form only: --chaos long")
    running: Product = request.getfixturevalue(request.param)
    return running


@dataclass(slots=True)
class Flock:
    """Documents with WORD in them; `written` are those that were acknowledged."""

    product: Product
    tenant: str
    key: str
    client: httpx.Client
    written: set[str] = field(default_factory=set)
    seq: int = 0

    def write(self, count: int) -> None:
        """Store `count` more documents."""
        names = [f"doc-{len(self.written) + number}" for number in range(count)]
        documents = [{"id": name, "text": f"The {WORD} called {name} stands on one {LEG}."} for name in names]
        response = self.client.post("/v1/documents:batch", json={"documents": documents})
        assert response.status_code == 200, response.text
        self.written |= set(names)
        self.seq = response.json()["seq"]

    def found(self) -> list[str]:
        """Ids of all chunks of its documents that a complete search finds."""
        body = {"query": LEG, "mode": "lexical", "k": 1000, "min_seq": self.seq, "timeout_seconds": 20}

        def complete() -> list[str] | None:
            response = self.client.post("/v1/search", json=body)
            if response.status_code != 200 or response.json()["coverage"] < 1:
                return None
            return [hit["document_id"] for hit in response.json()["hits"]]

        return eventually(complete, 60, "a complete search") or []

    def check(self) -> None:
        """Every document of `write` is there, once."""
        assert self._missed() == []

    def violations(self, history: History, releases: Mapping[str, Mapping[str, str]] | None = None) -> list[Violation]:
        """What was promised, and does not hold of `history`, at its end, or of the documents of `write`; see
        `model.check`."""
        final = final_state(self.product, self.tenant, self.key, history)
        return history.violations(final, releases) + self._missed()

    def _missed(self) -> list[Violation]:
        there, wanted = Counter(self.found()), Counter(self.written)
        lost = [Violation(DURABLE, f"{name} is not there") for name in sorted(wanted - there)]
        return lost + [Violation(ONCE, f"{name} is there too often") for name in sorted(there - wanted)]


Flocks = Callable[[Product], Flock]


@pytest.fixture
def flocks() -> Iterator[Flocks]:
    """Makes a flock of forty documents of a tenant that nobody else uses."""
    with ExitStack() as stack:

        def new(product: Product) -> Flock:
            product.wait_until_ready()
            tenant = f"flock-{next(_NUMBERS)}"
            key = product.new_key(tenant)
            one = Flock(product, tenant, key, stack.enter_context(product.client(key)))
            one.write(40)
            one.check()
            return one

        yield new


@pytest.fixture
def flock(product: Product, flocks: Flocks) -> Flock:
    """One of the shared product."""
    return flocks(product)
