"""Row 11: a bad candidate. It is judged and does not come before people; one that was promoted by force goes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from bench.people import Habits, Traffic
from jobs.judge import judge_release
from kaizen import rollout
from kaizen.config import Learning, LedgerSettings
from kaizen.evaluation import online, verdict
from kaizen.judging.side import Side
from kaizen.records import Dataset, Rollout
from kaizen.release import Part
from kaizen.steward.guard import Guard
from kaizen.steward.policy import Facts, Try, choose
from kaizen.steward.state import Attempt, Material
from kaizen.storage.ledger import Ledger
from tests.chaos.conftest import Chaos
from tests.ray import bad_candidates as bad
from tests.ray.small_world import World, make_world

PROMOTED = "promoted by force, at ten searches a second of a simulated clock: {}"
PER_SECOND = 10
MOST_SECONDS = 60.0
EVERY = 20  # impressions between two looks of the steward
BEFORE = 400  # impressions of the release before


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where bad candidates are made: a small installation, clicks that are meant, and what was learnt from them."""

    world: World
    honest: Dataset
    good: Part

    def comes_before_people(self, release: str) -> bool:
        """Judge a candidate; whether the steward then tries it on people."""
        report = judge_release(self.world.workspace, release)
        attempt = Attempt(
            rung=2, parent=self.world.stable.id, release=release, verdict=report["verdict"], reason=report["reason"],
            gain=report["cost"]["gain"],
        )  # fmt: skip
        facts = Facts(settings=Learning(), left_cpu_s=0)  # so that nothing else is left to try
        material = Material(dataset="", examples=0, queries=0, demonstrations=0)
        return isinstance(choose([attempt], self.world.stable.id, material, facts), Try)


Make = Callable[[Workshop, Path, Random], str]
BROKEN: Mapping[str, Make] = {
    "NaN in its weights": lambda shop, folder, chance: bad.nan_weights(
        shop.world, shop.honest, shop.good, folder, (chance.randrange(96), chance.randrange(96))
    ),
    "a wrong dimension": lambda shop, folder, chance: bad.wrong_dimension(
        shop.world, shop.honest, folder, chance.choice([32, 64, 128, 192])
    ),
    "a wrong dimension that its record denies": lambda shop, folder, chance: bad.forged_dimension(
        shop.world, shop.honest, folder, chance.choice([32, 64, 128, 192])
    ),
    "a file without its end": lambda shop, folder, chance: bad.truncated(
        shop.world, shop.honest, shop.good, folder, chance.randrange(1, 10_000)
    ),
    "another tokenizer": lambda shop, folder, chance: bad.mismatched_tokenizer(
        shop.world, shop.honest, shop.good, folder, chance.randrange(10**6)
    ),
    "untrained": lambda shop, folder, chance: bad.untrained(
        shop.world, shop.honest, folder, chance.randrange(1, 10**6)
    ),
}
POISONED, SLOW, SLICE = "learnt from hostile clicks", "better and far slower", "better and far worse in one language"
LEARNT: Mapping[str, Make] = {
    POISONED: lambda shop, _folder, _: bad.poisoned(shop.world),
    SLOW: lambda shop, folder, _: bad.slow_and_better(shop.world, shop.honest, shop.good, folder),
    SLICE: lambda shop, _folder, _: bad.worse_on_a_slice(shop.world),
    "worse": lambda shop, folder, _: bad.shuffled_labels(shop.world, shop.honest, folder),
    "over-fitted": lambda shop, _folder, _: bad.over_fitted(shop.world),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    directory = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        world = make_world(directory)
        honest = bad.clicks_that_are_meant(world)
        yield Workshop(world=world, honest=honest, good=bad.taught_encoder(world, honest))


def test_what_is_broken_does_not_come_before_people(chaos: Chaos, shop: Workshop, tmp_path: Path) -> None:
    for name, make in BROKEN.items():
        tried = 0
        for number in range(chaos.of(1, 20)):
            folder = tmp_path / name / f"{number}"
            folder.mkdir(parents=True)
            tried += shop.comes_before_people(make(shop, folder, chaos.chance(f"{name} {number}")))
        chaos.kept(11, name, trials=chaos.of(1, 20), violations=tried)
        assert not tried, name


def without_trust() -> AbstractContextManager[object]:
    return patch("jobs.judge.trusted_queries", lambda *_: {})


def without_clock() -> AbstractContextManager[object]:
    return patch.object(Side, "milliseconds", lambda _side, _asked: 1.0)


def without_slices() -> AbstractContextManager[object]:
    return patch.object(verdict, "_RULES", [rule for rule in verdict._RULES if rule is not verdict._slice])


# What holds a candidate back, and how it is switched off.
HELD_BY: Mapping[str, tuple[str, Callable[[], AbstractContextManager[object]]]] = {
    POISONED: ("those who are trusted are asked too", without_trust),
    SLOW: ("the time of a query is compared", without_clock),
    SLICE: ("each part of the queries is looked at", without_slices),
}


@pytest.mark.parametrize("name", LEARNT)
def test_what_learnt_badly_does_not_come_before_people(chaos: Chaos, shop: Workshop, tmp_path: Path, name: str) -> None:
    if name != POISONED and not chaos.long:
        pytest.skip("long form only: --chaos long")
    release = LEARNT[name](shop, tmp_path, chaos.chance(name))
    tried = shop.comes_before_people(release)
    chaos.kept(11, name, trials=1, violations=int(tried))
    assert not tried
    if name in HELD_BY:
        defence, switched_off = HELD_BY[name]
        with switched_off():
            tried = shop.comes_before_people(release)
        chaos.broken(
            11, name, defence=defence, trials=1, violations=int(tried),
            seen="it came before people" if tried else "nothing",
        )  # fmt: skip


WORSE = {
    "people like it less": Habits(good_first=0.1, click=0.4),
    "half of its responses are partial": Habits(good_first=0.8, faulty=0.5),
    "it is twenty times slower": Habits(good_first=0.8, total_ms=200),
}
GOOD = Habits(good_first=0.8)


class Service:
    """A ledger, people who search at a steady pace, and the steward's watch over a promotion by hand."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self._ledger = ledger
        self._traffic = Traffic(seed)
        self._now = 0.0
        self._first = ledger.releases.record({"retrieval": {"fingerprint": "0"}}).id
        ledger.rollout.change(Rollout(version=0, stable=self._first), by="test", kind="configure", reason="")

    def seconds_until_it_goes_back(self, habits: Habits) -> float:
        """Promote one by force that people take to like this; twice the promise when it is still there then."""
        self._people(BEFORE, GOOD)
        other = self._ledger.releases.record({"retrieval": {"fingerprint": "1"}}, parent=self._first)
        promoted = rollout.promote(self._ledger.rollout.state(), other.id)
        self._ledger.rollout.change(promoted, by="somebody", kind="promote", reason="By force.")
        guard, since = Guard(self._ledger, Learning(guard_impressions=10**6), lambda: self._now), self._now
        while self._ledger.rollout.current() != self._first and self._now - since < 2 * MOST_SECONDS:
            self._people(EVERY, habits)
            guard.tick()
        return self._now - since

    def _people(self, count: int, habits: Habits) -> None:
        """So many searches, with clicks at once."""
        state = self._ledger.rollout.state()
        impressions, clicks = self._traffic.rows(count, "off", habits, habits)
        written: list[Future[Any]] = []
        for seq, one in impressions:
            self._now = seq / PER_SECOND
            made = replace(one, at=self._now, release=state.stable or "", rollout=state.version)
            written.append(self._ledger.impressions.submit_record(made))
        for _, click in clicks:
            written.append(self._ledger.feedback.submit_record(replace(click, at=click.at / PER_SECOND)))
        for one in written:
            one.result()


def seconds_each(chaos: Chaos, name: str, folder: Path, trials: int) -> list[float]:
    """Of so many services with one that is worse in this way, how long each had it."""
    found, chance = [], chaos.chance(name)
    for number in range(trials):
        with Ledger.open(LedgerSettings(), f"sqlite:///{folder / str(number)}.sqlite") as ledger:
            found.append(Service(ledger, chance.randrange(10**6)).seconds_until_it_goes_back(WORSE[name]))
    return found


@pytest.mark.parametrize("name", WORSE)
def test_what_was_promoted_by_force_goes_back(chaos: Chaos, tmp_path: Path, name: str) -> None:
    for seconds in seconds_each(chaos, name, tmp_path, chaos.of(1, 20)):
        chaos.kept(11, PROMOTED.format(name), trials=1, violations=int(seconds > MOST_SECONDS), seconds=seconds)
        assert seconds <= MOST_SECONDS


def test_without_the_watch_it_stays(chaos: Chaos, tmp_path: Path) -> None:
    name = next(iter(WORSE))
    with patch.object(online, "guard_evidence", lambda *_: {}):
        (seconds,) = seconds_each(chaos, name, tmp_path, 1)
    chaos.broken(
        11, PROMOTED.format(name), defence="a promotion is watched", trials=1, violations=int(seconds > MOST_SECONDS),
        seen=f"it was still there after {seconds:.0f} s",
    )  # fmt: skip
