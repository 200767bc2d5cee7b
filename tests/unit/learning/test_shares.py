"""How much of what generators learn from, and of what they are judged on, one identity may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kaizen.learning.dataset import DatasetContent
from kaizen.learning.splits import HELD_OUT, query_id, split_of
from tests.unit.learning.world import World, query_text

SOURCES = ["lathe", "pumps"]


def corrected(many: Mapping[str, Sequence[int]]) -> DatasetContent:
    """Each user corrects the answers to the queries of these numbers."""
    world = World()
    for user, numbers in many.items():
        for number in numbers:
            shown = world.show(query_text(number), SOURCES, kind="answer", answer=f"wrong {number}", user=user)
            world.judge(shown, "correction", text=f"right by {user}")
    return world.curate()


def weights(content: DatasetContent, split: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in content.demonstrations.to_pylist():
        found[row["chosen"].removeprefix("right by ")] += row["weight"] if row["split"] == split else 0
    return found


def questions(content: DatasetContent) -> Counter[str]:
    rows: list[dict[str, Any]] = content.demonstrations.to_pylist()
    return Counter(
        chosen for _, chosen in {(row["query_id"], row["chosen"]) for row in rows if row["split"] == "held_out"}
    )


FLOOD = {"flood": range(200), **{f"honest-{number}": range(200 + number * 5, 205 + number * 5) for number in range(20)}}


def test_a_flood_of_corrections_is_cut_to_its_share() -> None:
    content = corrected(FLOOD)
    train = weights(content, "train")
    assert train["flood"] <= 0.12 * train.total(), "twice an even share, with some luck of the split"
    assert questions(content)["right by flood"] <= 0.12 * questions(content).total()
    assert len(train) == len(FLOOD), "nobody else loses any"
    left = content.record["left_out"]
    assert left["identities_capped_in_demonstrations"] == 1
    assert left["held_out_demonstration_over_a_share"] > 0


def test_whoever_knows_the_split_has_no_more_of_its_questions() -> None:
    held_out = [n for n in range(1000) if split_of(query_id("t", query_text(n)), 0) == "held_out"]
    content = corrected(FLOOD | {"flood": [number for number in held_out if number >= 300]})
    assert questions(content)["right by flood"] <= 0.12 * questions(content).total()


def test_an_answer_that_others_wrote_too_is_theirs() -> None:
    world = World()
    for number in range(100):
        for user in ("flood", f"honest-{number % 10}"):
            shown = world.show(query_text(number), SOURCES, kind="answer", answer="wrong", user=user)
            world.judge(shown, "correction", text="right")
    content = world.curate()
    assert len(questions(content)) == 1
    assert questions(content).total() == pytest.approx(HELD_OUT * 100, abs=10)
    assert content.record["left_out"]["held_out_demonstration_over_a_share"] == 0


@pytest.mark.parametrize("team", [["ann"], ["ann", "bob"]])
def test_a_team_of_one_or_two_learns_from_all_that_it_says(team: list[str]) -> None:
    content = corrected({user: range(number * 40, 40 + number * 40) for number, user in enumerate(team)})
    rows = content.demonstrations.to_pylist()
    assert [row["weight"] for row in rows] == pytest.approx([0.9] * len(rows))
    assert len({row["query"] for row in rows}) == 40 * len(team)
    assert content.record["left_out"]["held_out_demonstration_over_a_share"] == 0


@pytest.mark.parametrize(
    ("team", "weight", "asked"),
    [({"ann": 100, "bob": 1, "eve": 1}, 0.6, 15), ({"ann": 100, "bob": 2, "eve": 1, "joe": 1, "zoe": 1}, 0.35, 15)],
)
def test_one_who_edits_for_a_small_team_still_teaches(team: dict[str, int], weight: float, asked: int) -> None:
    content = corrected({user: range(1000 * n, 1000 * n + many) for n, (user, many) in enumerate(team.items())})
    rows = content.demonstrations.to_pylist()
    assert sum(row["weight"] for row in rows) > weight * 0.9 * len(rows)
    assert len({row["query"] for row in rows if row["split"] == "held_out"}) >= asked


def test_disliking_many_answers_is_a_share_too() -> None:
    world = World()
    for number in range(20):
        liked = world.show("who pays for trains", SOURCES, kind="answer", answer="The company.", user=f"ann-{number}")
        world.judge(liked, "thumb", value=1.0)
        disliked = world.show(query_text(number), SOURCES, kind="answer", answer="Nobody.", user=f"ann-{number}")
        world.judge(disliked, "correction", text="Somebody.")
    for number in range(400):
        shown = world.show("who pays for trains", SOURCES, kind="answer", answer=f"No {number}.", user="flood")
        world.judge(shown, "thumb", value=-1.0)
    rows = world.curate().demonstrations.to_pylist()
    flood = sum(row["weight"] for row in rows if row["rejected"].startswith("No "))
    assert flood <= 0.15 * sum(row["weight"] for row in rows)


def test_who_asks_faster_than_people_do_demonstrates_nothing() -> None:
    world = World()
    for number in range(301):
        world.show("who pays for trains", SOURCES, kind="answer", answer="Nobody.", user="bot", at=number / 10)
    for user in ("bot", "ann"):
        shown = world.show("who pays for trains", SOURCES, kind="answer", answer="Nobody.", user=user, at=99.0)
        world.judge(shown, "correction", text=f"right by {user}")
    content = world.curate()
    assert {row["chosen"] for row in content.demonstrations.to_pylist()} == {"right by ann"}
    assert content.record["left_out"]["identities_too_fast"] == 1
    assert content.feedback_ids.num_rows == 1
