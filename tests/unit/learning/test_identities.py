"""Who is no person, and how much one identity may count for."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from kaizen.learning.evidence import Evidence
from kaizen.learning.identities import MOST_SHARE, RobotRules, Robots, capped, find_robots
from tests.unit.learning.world import World, query_text, ranking

RULES = RobotRules(most_per_minute=30)


def judged(world: World) -> tuple[Evidence, Robots]:
    feedback = defaultdict(list)
    for given in world.feedback:
        feedback[given.impression_id].append(given)
    found = Evidence()
    for impression in world.impressions:
        found.add(impression, feedback[impression.id], ())
    return found, find_robots(found, found.votes(), RULES)


def broken(world: World) -> dict[str, str]:
    """User -> the rule it broke."""
    found, robots = judged(world)
    names = [identity.partition("\0")[2] for identity in found.identities]
    rules = {"fast": robots.too_fast, "all": robots.clicks_all, "constant": robots.constant}
    return {name: rule for rule, who in rules.items() for name, guilty in zip(names, who, strict=True) if guilty}


def test_people_are_no_robots() -> None:
    world = World()
    for number in range(60):
        world.show(query_text(number), ranking(number), [0] if number % 3 else [number % 10], user="ann")
    assert broken(world) == {}


def test_who_clicks_everything_is_one() -> None:
    world = World()
    for number in range(5):
        world.show(query_text(number), ranking(number), range(10), user="bot")
        world.show(query_text(number), ranking(number), [0], user="ann")
    assert broken(world) == {"key/bot": "all"}


@pytest.mark.parametrize(("hits", "rule"), [(1, {}), (2, {}), (3, {"key/ann": "all"})])
def test_clicking_most_of_what_there_is_to_choose_from_is_no_persons_way(hits: int, rule: dict[str, str]) -> None:
    world = World()
    for number in range(40):
        world.show(query_text(number), ranking(number)[:hits], range(hits) if number % 4 else [], user="ann")
    assert broken(world) == rule


def test_who_always_clicks_one_place_is_one_unless_it_is_the_first() -> None:
    world = World()
    for number in range(25):
        world.show(query_text(number), ranking(number), [3], user="bot")
        world.show(query_text(number), ranking(number), [0], user="ann")
    assert broken(world) == {"key/bot": "constant"}


@pytest.mark.parametrize("user", ["bot", ""])
def test_nobody_searches_that_fast_but_a_whole_application_may(user: str) -> None:
    world = World()
    for number in range(40):
        world.show(query_text(number), ranking(number), [0], user=user, at=1000.0 + number)
        world.show(query_text(number), ranking(number), [0], user="ann", at=60.0 * number)
    assert broken(world) == ({"key/bot": "fast"} if user else {})


def counted(clicks: list[float]) -> np.ndarray:
    return capped(np.array(clicks)) * clicks


def test_one_identity_has_a_share_of_what_counts_at_most() -> None:
    found = counted([1000.0] + [10.0] * 100)
    assert found[0] == pytest.approx(MOST_SHARE * found.sum())
    assert found[1:].tolist() == [10.0] * 100


def test_several_that_have_too_much_have_the_same_then() -> None:
    found = counted([10.0] * 50 + [500.0, 400.0, 20.0, 300.0])
    assert found[[50, 51, 53]] == pytest.approx([MOST_SHARE * found.sum()] * 3)
    assert found[:50].tolist() == [10.0] * 50
    assert found[52] == 20.0


@pytest.mark.parametrize("many", [1, 2, 3, 5, 39, 40, 41, 300])
def test_the_share_holds_however_unevenly_people_click(many: int) -> None:
    clicks = np.random.default_rng(many).pareto(0.6, many).round() + 1
    found = counted(clicks.tolist())
    share = max(MOST_SHARE, 2 / many)
    assert found.max() <= share * found.sum() + 1e-9
    cut = found < clicks
    assert found[cut] == pytest.approx(share * found.sum()), "no more than it must be"


def test_few_identities_may_have_more() -> None:
    assert capped(np.array([30.0])).tolist() == [1.0]
    assert capped(np.array([99.0, 1.0])).tolist() == [1.0, 1.0]
    assert counted([98.0, 1.0, 1.0]) == pytest.approx([4.0, 1.0, 1.0])
    assert capped(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]
