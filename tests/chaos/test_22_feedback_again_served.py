"""22, over HTTP: feedback is sent again, by many at once, through both replicas, and late: a key counts once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.conftest import WORD, Chaos, Flock, Flocks
from tests.chaos.history import Client, History, Mix, traffic
from tests.chaos.parts import GATEWAY, kill, until_replaced
from tests.chaos.without import without
from tests.product import Product, configure, eventually, started

ROW = 22
TIMES, THREADS = 8, 16
FAULT = "each feedback is sent eight times over HTTP by sixteen threads, and again after {}"
OTHERS = "all others"
KILLED = "a replica was killed meanwhile"
MIX = Mix(query=WORD, searchers=2, writers=1, pause_seconds=0.05, retry_seconds=6.0)
Sent = Sequence[tuple[str, str]]  # impression and idempotency key of a thumb


def shown(one: Flock, count: int) -> list[str]:
    """Names of so many impressions."""
    replies = [one.client.post("/v1/search", json={"query": WORD, "k": 3}) for _ in range(count)]
    return [reply.raise_for_status().json()["impression_id"] for reply in replies]


def send(product: Product, key: str, history: History, sent: Sent) -> None:
    """Send all, by THREADS at once."""

    def part(number: int) -> None:
        with product.client(key, seconds=30) as http:
            client = Client(http, history, MIX.retry_seconds)
            for impression, name in sent[number::THREADS]:
                client.judge(impression, name)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(part, range(THREADS)))


def counted(one: Flock) -> int:
    """How many thumbs of the tenant count."""
    return int(one.client.get("/v1/status").raise_for_status().json()["ledger"]["feedback"].get("thumb", 0))


def again(product: Product, one: Flock, history: History, chaos: Chaos, kinds: int, *, killed: bool) -> Sent:
    """Send `kinds` pieces of feedback again and again, and once more late; what they were."""
    eventually(lambda: len(product.processes(GATEWAY)) == 2, 60, "both replicas are there")
    pieces = [(impression, f"again-{number}") for number, impression in enumerate(shown(one, kinds))]
    sent = pieces * TIMES
    chance = chaos.chance("22 served")
    chance.shuffle(sent)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, product, one.key, history, sent)
        if killed:
            history.wait_for_more(kinds, "feedback")
            victim = chance.choice(product.processes(GATEWAY))
            kill(victim)
        sending.result()
    if killed:
        until_replaced(product, GATEWAY, victim, wanted=2)
    send(product, one.key, history, pieces)
    return pieces


def with_another_body(one: Flock, pieces: Sent) -> int:
    """How many are taken when their keys come back with another judgement."""

    def told(impression: str, key: str) -> int:
        body = {"impression_id": impression, "kind": "thumb", "value": -1, "idempotency_key": key}
        status = one.client.post("/v1/feedback", json=body).status_code
        return 0 if status == 503 else status  # for now: clients ask again

    return sum(eventually(lambda p=piece: told(*p), 30, "an answer") != 409 for piece in pieces)  # type: ignore[misc]


@pytest.mark.parametrize("killed", [False, True])
def test_it_counts_once(product: Product, flocks: Flocks, chaos: Chaos, killed: bool) -> None:
    if killed and not chaos.long:
        pytest.skip("long form only: --chaos long")
    kinds = chaos.of(10, 200)
    one = flocks(product)
    with traffic(product, one.key, MIX) as history:
        pieces = again(product, one, history, chaos, kinds, killed=killed)
        taken = with_another_body(one, pieces)
    found = one.violations(history)
    expected = len({operation.key for operation in history.of("feedback")})
    count = counted(one)
    trials, violations = kinds * (TIMES + 2), len(found) + taken + abs(count - expected)
    chaos.kept(ROW, FAULT.format(KILLED if killed else OTHERS), trials=trials, violations=violations)
    assert (found, taken, count) == ([], 0, expected)


@pytest.mark.usefixtures("long_form")
def test_without_keys_it_counts_every_time(
    tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos
) -> None:
    config = configure(tmp_path_factory.mktemp("keyless"), {"generator": {"kind": "extractive"}})
    stand_in = {"kaizen.storage.ledger.feedback:_record": "tests.chaos.stand_ins:keyless"}
    with without(stand_in), started(config) as product:
        one = flocks(product)
        with traffic(product, one.key, Mix(query=WORD, searchers=1)) as history:
            pieces = again(product, one, history, chaos, 20, killed=False)
            taken = with_another_body(one, pieces)
        keys = len({operation.key for operation in history.of("feedback")})
        count = eventually(lambda: counted(one), 10, "feedback counts")
    chaos.broken(
        ROW, FAULT.format(OTHERS), defence="idempotency keys of feedback, over HTTP", trials=20,
        violations=count - keys, seen=f"{keys} counted as {count}, {taken} of {len(pieces)} other bodies taken",
    )  # fmt: skip
