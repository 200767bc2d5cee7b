"""10: processes are killed at every step of a swap, under traffic: each response is made by exactly one release."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.chaos.conftest import WORD, Chaos, Flock, Flocks
from tests.chaos.history import History, Mix, recorded_releases, traffic
from tests.chaos.model import ONE_RELEASE
from tests.chaos.parts import CONTROLLER, FLEET, GATEWAY, kill
from tests.chaos.releases import rechunked, stable, variant
from tests.chaos.without import without
from tests.product import Product, configure, eventually, started

ROW = 10
FOLLOWED = 12  # searches in a row by one release: both replicas have had a part in them
MIX = Mix(
    query=WORD,
    question=f"Where does the {WORD} stand?",
    searchers=2,
    writers=1,
    askers=1,
    fields={"timeout_seconds": 10},
    asked={"timeout_seconds": 10},
    explain=True,
)


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of the stable release under traffic."""

    product: Product
    history: History
    wanted: str  # empty: roll back

    def change(self) -> str:
        """Change the row; the release that is stable then."""
        path = f"/v1/releases/{self.wanted}:promote" if self.wanted else "/v1/rollback"
        with self.product.client() as client:
            return str(eventually(lambda: _posted(client, path), 30, "the change")["stable"])

    def follow(self, release: str) -> None:
        """Wait until the newest searches were all answered by it."""

        def followed() -> bool:
            newest = self.history.of("search")[-FOLLOWED:]
            return {operation.release for operation in newest} == {release}

        eventually(followed, 120, f"{release} answers")


def _posted(client: httpx.Client, path: str) -> dict[str, str] | None:
    """A replica that is killed in the middle may have changed the row: then it is a conflict, and the row tells."""
    response = client.post(path, json={})
    if response.status_code in (200, 409):
        return dict(client.get("/v1/rollout").raise_for_status().json())
    return None


# ---------------------------------------------------------------------------------------------- what is killed


def kill_title(title: str) -> Callable[[Product, Chaos], None]:
    def do(product: Product, chaos: Chaos) -> None:
        found = product.processes(title)
        if found:
            kill(chaos.chance(f"10 {title}").choice(found))

    return do


def kill_any_shard(product: Product, chaos: Chaos) -> None:
    """Of the old index or of the new."""
    kill_title("ray::IndexShard")(product, chaos)


def nobody(_: Product, __: Chaos) -> None:
    """A swap as it should be."""


FAULTS: dict[str, Callable[[Product, Chaos], None]] = {
    "a gateway replica": kill_title(GATEWAY),
    "the fleet": kill_title(FLEET),
    "a shard": kill_any_shard,
    "the embedder": kill_title("ray::Embedder"),
    "the controller": kill_title(CONTROLLER),
}
STEPS = ("before it", "as it is decided", "while replicas follow", "when they have followed")


def swap_with(swap: Swap, fault: Callable[[Product, Chaos], None], step: str, chaos: Chaos) -> None:
    """Swap, and let the fault happen at this step."""
    if step == STEPS[0]:
        fault(swap.product, chaos)
    if step == STEPS[1]:
        thread = threading.Thread(target=fault, args=(swap.product, chaos))
        thread.start()
        release = swap.change()
        thread.join()
    else:
        release = swap.change()
    if step == STEPS[2]:
        fault(swap.product, chaos)
    swap.follow(release)
    if step == STEPS[3]:
        fault(swap.product, chaos)
        swap.history.wait_for_more(10, "search")
    replicas = swap.product.parts.settings.server.replicas
    eventually(lambda: len(swap.product.processes(GATEWAY)) == replicas, 120, "all replicas are back")
    swap.product.wait_until_ready()


@contextmanager
def swapping(product: Product, one: Flock, releases: Sequence[str]) -> Iterator[tuple[History, Callable[[], Swap]]]:
    """Traffic, and the next swap whenever it is asked for: each release in turn, every fourth is a rollback."""
    first = stable(product).id
    with traffic(product, one.key, MIX) as history:
        turn, count = itertools.cycle([*releases, first]), itertools.count(1)

        def following() -> Swap:
            now = stable(product).id
            wanted = "" if next(count) % 4 == 0 else next(release for release in turn if release != now)
            return Swap(product, history, wanted)

        yield history, following
        if stable(product).id != first:
            back = Swap(product, history, first)
            back.follow(back.change())


def checked(
    product: Product, one: Flock, history: History, chaos: Chaos, fault: str, swaps: int, *, calm: bool = False
) -> None:
    """No promise was broken, and every release that answered holds all that was acknowledged. `calm`: nobody noticed
    anything."""
    first = stable(product).id
    used = {operation.release for operation in history.of("search") if operation.release}
    assert len(used) >= 3, "too few releases answered"
    found = history.violations(None, recorded_releases(product))
    for release in sorted(used, key=lambda name: name == first):  # the first one last, so that it stays
        taken(product, one, release)
        found += [violation for violation in one.violations(history) if violation not in found]
    noticed = history.noticed() if calm else []
    chaos.kept(ROW, fault, trials=swaps, violations=len(found) + len(noticed))
    assert (found, noticed) == ([], [])


def taken(product: Product, one: Flock, release: str) -> None:
    """Make a release stable, and wait until both replicas answer with it."""
    if stable(product).id != release:
        with product.client() as client:
            client.post(f"/v1/releases/{release}:promote", json={}).raise_for_status()

    def everywhere() -> bool:
        replies = [one.client.post("/v1/search", json={"query": WORD, "k": 1}) for _ in range(FOLLOWED)]
        return {reply.json().get("release") for reply in replies} == {release}

    eventually(everywhere, 120, f"{release} answers")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One of its own: an index of another chunking is built from all documents, and all tests before have left some."""
    with started(configure(tmp_path_factory.mktemp("swapped"), {})) as running:
        yield running


def test_swaps_go_unnoticed(product: Product, flock: Flock, chaos: Chaos) -> None:
    """Nothing is killed: no request needs a second try, and none is partial or degraded."""
    swaps = chaos.of(4, 20)
    with swapping(product, flock, [variant(product, "calm"), rechunked(product)]) as (history, following):
        for _ in range(swaps):
            swap = following()
            swap.follow(swap.change())
    checked(product, flock, history, chaos, "nothing is killed", swaps, calm=True)


def test_killed_at_every_step(product: Product, flock: Flock, chaos: Chaos) -> None:
    cases = [(fault, step) for fault in FAULTS for step in STEPS]
    chance = chaos.chance("10")
    chosen = cases if chaos.long else chance.sample(cases, 2)
    with swapping(product, flock, [variant(product, "killed"), rechunked(product)]) as (history, following):
        for fault, step in chosen:
            print(fault, step)
            swap_with(following(), FAULTS[fault], step, chaos)
            history.wait_for_more(10, "search")
            history.wait_for_more(2, "answer")  # one operation must not meet two faults: it has one retry
    names = sorted({fault for fault, _ in chosen}) if not chaos.long else ["any process"]
    checked(product, flock, history, chaos, f"kill -9 of {', '.join(names)} at a step of a swap", len(chosen))


@pytest.mark.usefixtures("long_form")
def test_without_holding_a_release_to_the_end(
    tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos
) -> None:
    """One way to the shards that every swap turns around: who is on it ends in the other release's index."""
    config = configure(tmp_path_factory.mktemp("turned"), {"generator": {"kind": "extractive"}})
    stand_in = {"serve_apps.served:Opener.fan_out": "tests.chaos.stand_ins:one_way_for_all"}
    with without(stand_in), started(config) as product:
        one = flocks(product)
        with swapping(product, one, [rechunked(product)]) as (history, following):
            for _ in range(6):
                swap = following()
                swap.change()
                history.wait_for_more(100, "search")
        mixed = [v for v in history.violations(None, recorded_releases(product)) if v.promise == ONE_RELEASE]
    chaos.broken(
        ROW,
        "nothing is killed",
        defence="a request does not hold its release to the end",
        trials=6,
        violations=len(mixed),
        seen=f"{len(mixed)} of {len(history.of('search', 'answer'))} responses of two releases",
    )
