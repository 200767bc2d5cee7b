"""Labels from clicks: what they find in spite of noise, position and people who do not mean it."""

from __future__ import annotations

import pytest

from kaizen.learning.dataset import DatasetContent
from tests.unit.learning.world import PUSHED, World, answer_place, believed, query_text, ranking, visited

QUERIES = 60
ANSWERS = {f"answer-{number}" for number in range(QUERIES)}


def label(content: DatasetContent, document: str) -> float:
    return max(float(row["label"]) for row in content.examples.to_pylist() if row["document_id"] == document)


def quality(found: set[str]) -> tuple[float, float]:
    """Precision and recall."""
    return len(found & ANSWERS) / len(found), len(found & ANSWERS) / len(ANSWERS)


def test_clean_clicks_find_the_answers() -> None:
    precision, recall = quality(believed(visited(QUERIES, 10).curate()))
    assert precision == 1
    assert recall >= 0.9


@pytest.mark.parametrize(("hostile", "least"), [(5, 0.75), (15, 0.6)], ids=["10 % hostile", "30 % hostile"])
def test_noise_and_hostile_people_cost_answers_and_add_none(hostile: int, least: float) -> None:
    world = visited(QUERIES, 10, noise=0.1, hostile=hostile)
    content = world.curate()
    precision, recall = quality(believed(content))
    assert precision >= 0.97
    assert recall >= least
    assert not believed(content) & PUSHED
    assert content.record["left_out"]["identities_that_disagree"] >= 0.8 * hostile


def test_a_click_far_down_says_more_than_one_at_the_top() -> None:
    world = visited(QUERIES, 6)
    for turn in range(2):
        world.show("high up", [f"h{place}" for place in range(10)], [0], user=f"person-{turn}")
        world.show("low down", [f"l{place}" for place in range(10)], [4], user=f"person-{turn}")
    for turn in range(2, 8):
        world.show("high up", [f"h{place}" for place in range(10)], user=f"person-{turn}")
        world.show("low down", [f"l{place}" for place in range(10)], user=f"person-{turn}")
    content = world.curate()
    assert label(content, "l4") > 0.2 > 0.1 > label(content, "h0")


def test_what_stood_above_a_click_and_was_passed_over_is_less_likely_than_what_nobody_saw() -> None:
    content = visited(QUERIES, 10).curate()
    passed, unseen = [], []
    for row in content.examples.to_pylist():
        number = int(row["query"].split()[0].lstrip("abcdefghijklmnopqrstuvwxyz"))
        if answer_place(number) == 4:
            (passed if row["position"] == 1 else unseen if row["position"] == 10 else []).append(row)
    assert max(row["label"] for row in passed) < 0.05
    assert min(row["weight"] for row in passed) > max(row["weight"] for row in unseen)


def test_one_identity_has_one_vote() -> None:
    once, often = visited(QUERIES, 6), visited(QUERIES, 6)
    for turn in range(30):
        for world in (once, often)[turn > 0 :]:
            world.show(query_text(0), ranking(0), [7], user="fan")
    documents = ranking(0)
    assert label(often.curate(), documents[7]) == pytest.approx(label(once.curate(), documents[7]), abs=0.05)
    assert label(often.curate(), documents[7]) < 0.5


def test_thumbs_find_what_nobody_clicks_and_ratings_refute_what_somebody_clicked() -> None:
    world, liked, clicked = visited(QUERIES, 6), ranking(1)[8], ranking(2)[7]
    for turn in range(2):
        world.show(query_text(2), ranking(2), [7], user=f"person-{turn}")
    before = world.curate()
    for turn in range(4):
        praised = world.show(query_text(1), ranking(1), user=f"fan-{turn}")
        world.judge(praised, "thumb", chunk_id=f"{liked}#0", value=1.0)
        scorned = world.show(query_text(2), ranking(2), user=f"critic-{turn}")
        world.judge(scorned, "rating", chunk_id=f"{clicked}#0", value=1.0)
    after = world.curate()
    assert label(before, liked) < 0.5 < label(after, liked)
    assert label(after, clicked) < label(before, clicked) / 4


@pytest.mark.parametrize("after", [("click", 1.0), ("comment", None)], ids=lambda pair: pair[0])
@pytest.mark.parametrize("thumb", [-1.0, 1.0], ids=["down", "up"])
def test_a_thumb_outlives_what_its_identity_clicks_or_writes_later(
    thumb: float, after: tuple[str, float | None]
) -> None:
    kind, value = after
    later, earlier = labelled(("thumb", thumb), (kind, value)), labelled((kind, value), ("thumb", thumb))
    assert later == earlier
    assert (later > 0.9) if thumb > 0 else (later < 0.01)


def test_a_rating_of_3_takes_back_what_was_said_before_and_may_be_taken_back_itself() -> None:
    silent = labelled()
    assert labelled(("rating", 3.0)) == pytest.approx(silent, abs=0.03)
    assert labelled(("thumb", -1.0), ("rating", 3.0)) == labelled(("rating", 3.0))
    assert labelled(("rating", 3.0), ("thumb", -1.0)) == labelled(("thumb", -1.0))
    assert labelled(("thumb", -1.0), visits=2) < silent / 5
    assert labelled(("thumb", -1.0), between=("rating", 3.0), visits=2) == pytest.approx(silent, abs=0.03)


def labelled(
    *said: tuple[str, float | None], between: tuple[str, float | None] | None = None, visits: int = 1
) -> float:
    """The label of a chunk that nobody clicked until four critics saw it and said this, one after the other.

    Args:
        visits: how often they came; `between`: what they said at the last visit instead.
    """
    world, document = visited(QUERIES, 6), ranking(1)[4]
    for visit in range(visits):
        words = said if between is None or visit < visits - 1 else (between,)
        for critic in range(4):
            shown = world.show(query_text(1), ranking(1), user=f"critic-{critic}")
            for kind, value in words:
                world.judge(shown, kind, chunk_id=f"{document}#0", value=value)
    return label(world.curate(), document)


def test_a_handful_of_clicks_gives_cautious_labels() -> None:
    world = World()
    world.show("pump", ["a", "b", "c"], [1], user="ann")
    labels = {row["document_id"]: row["label"] for row in world.curate().examples.to_pylist()}
    assert 0.2 < labels["b"] < 0.95
    assert labels["a"] < 0.2
