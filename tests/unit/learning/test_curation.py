"""What enters a data set, what is left out and counted, and that the same ledger gives the same data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from kaizen.learning.curation import ChunkText, Curation, Place, Unshown
from kaizen.learning.dataset import DatasetContent
from kaizen.records import Judgement
from tests.unit.learning.world import World, query_text, ranking, texts, visited

LATHE = ["lathe", "pumps", "travel"]


def queries(content: DatasetContent) -> set[str]:
    return {row["query"] for row in content.examples.to_pylist()}


def curated(world: World, *, without: str) -> DatasetContent:
    """What comes of it when a chunk is gone since."""
    curation = Curation(enumerate(world.feedback, start=1))
    for seq, shown in enumerate(world.impressions, start=1):
        curation.add(seq, shown)

    def remaining(places: Sequence[Place]) -> Mapping[Place, ChunkText]:
        return {place: text for place, text in texts(places).items() if place[1] != without}

    return curation.finish(remaining)


def lathe(**fields: object) -> World:
    """One query that everybody may learn from, and one that was made with `fields`."""
    world = World()
    world.show("pump seal", ["pumps", "lathe"], [0], user="ann")
    world.show("lathe safety", LATHE, [0], **{"user": "bob", **fields})
    return world


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"arm": "shadow"}, "shadow"),
        ({"coverage": 0.5}, "partial_or_degraded"),
        ({"degraded": ("no embedder",)}, "partial_or_degraded"),
    ],
    ids=str,
)
def test_what_nobody_saw_or_saw_in_part_is_left_out(fields: dict[str, object], reason: str) -> None:
    content = lathe(**fields).curate()
    assert queries(content) == {"pump seal"}
    assert content.record["left_out"][reason] == 1


def test_a_key_that_never_sends_feedback_says_nothing_by_not_clicking() -> None:
    world = lathe()
    world.show("travel costs", LATHE, key_id="crawler")
    content = world.curate()
    assert queries(content) == {"pump seal", "lathe safety"}
    assert content.record["left_out"]["key_without_feedback"] == 1


@pytest.mark.parametrize("trusted", ["Lathe safety?", "Safety, lathes"])
def test_the_trusted_set_and_what_is_near_it_stay_out(trusted: str) -> None:
    judged = Judgement(tenant="t", query_id="q", query=trusted, document_id="lathe", grade=1)
    world = lathe()
    world.show("safety of the lathe", LATHE, [0], user="cleo")
    assert "lathe safety" not in queries(world.curate(trusted=[judged]))
    assert "pump seal" in queries(world.curate(trusted=[judged]))


def test_spellings_of_a_query_are_one_query_with_all_their_clicks() -> None:
    world = World()
    for number, spelling in enumerate(["lathe safety", "Lathe  Safety", "lathe safety?"]):
        world.show(spelling, LATHE, [0], user=f"person-{number}")
    rows = world.curate().examples.to_pylist()
    assert [(row["document_id"], row["shown"]) for row in rows] == [("lathe", 3), ("pumps", 3), ("travel", 3)]
    assert rows[0]["clicks"] == pytest.approx(3, abs=0.5)


def test_near_queries_are_on_one_side() -> None:
    world = World()
    for number in range(40):
        for form in ("oil the bearing of {}", "oiling the bearings of {}"):
            world.show(form.format(query_text(number)), ranking(number), [0], user=f"person-{number % 7}")
    sides: dict[str, set[str]] = {}
    for row in world.curate().examples.to_pylist():
        sides.setdefault(row["query"].split()[-1], set()).add(row["split"])
    assert {len(of_one) for of_one in sides.values()} == {1}
    assert set().union(*sides.values()) == {"train", "held_out"}


def test_a_query_that_was_trained_on_is_never_held_out_later() -> None:
    def sides(world: World) -> dict[str, str]:
        return {row["query"]: row["split"] for row in world.curate().examples.to_pylist()}

    world = World()
    for number in range(60):
        # Somebody asked nearly the same before, by a key whose feedback comes later and makes that count.
        world.show(f"oiling bearings in {query_text(number)}", ranking(number), key_id="late")
        world.show(f"oil the bearing in {query_text(number)}", ranking(number), [0], user=f"person-{number % 7}")
    before = sides(world)
    for number in range(60):
        world.show(f"please oil bearings in {query_text(number)}", ranking(number), [0], user=f"person-{number % 5}")
    world.judge(world.impressions[0], "click", chunk_id=world.impressions[0].shown[0].chunk_id)
    after = sides(world)
    assert len(after) > len(before) == 60
    assert {query: after[query] for query in before} == before


def test_groups_are_those_of_the_keys_that_asked() -> None:
    world = lathe()
    world.show("lathe safety", LATHE, [0], key_id="board-key")
    content = world.curate(groups={"key": ("staff",), "board-key": ("board", "staff")})
    groups = {row["query"]: row["groups"] for row in content.examples.to_pylist()}
    assert groups == {"pump seal": ["staff"], "lathe safety": ["board", "staff"]}


def test_a_chunk_that_is_gone_leaves_no_example() -> None:
    content = curated(lathe(), without="lathe#0")
    assert {row["document_id"] for row in content.examples.to_pylist()} == {"pumps", "travel"}
    assert content.record["left_out"]["chunk_not_in_index"] == 2


@pytest.mark.parametrize(
    "fields",
    [{"release": "r2"}, {"arm": "interleaved", "challenger": "r2"}, {"kind": "answer", "release": "r2"}],
    ids=str,
)
def test_a_name_of_a_chunk_that_means_another_text_now_teaches_nothing(fields: dict[str, object]) -> None:
    world = lathe(**fields)
    world.judge(world.impressions[1], "correction", text="Wear glasses.")
    content = world.curate(releases={"r1"})
    assert queries(content) == {"pump seal"}
    assert content.demonstrations.num_rows == 0
    assert content.record["left_out"]["other_chunking"] == 1
    assert world.curate(releases={"r1", "r2"}).record["left_out"].get("other_chunking", 0) == 0


def test_robots_teach_nothing_and_their_feedback_is_not_in_it() -> None:
    world = visited(20, 4)
    honest = world.curate()
    for number in range(5):
        world.show(query_text(number), ranking(number), range(10), user="bot")
    content = world.curate()
    assert content.record["left_out"]["identities_that_click_all"] == 1
    assert content.feedback_ids.equals(honest.feedback_ids)
    assert [row["label"] for row in content.examples.to_pylist()] == [
        row["label"] for row in honest.examples.to_pylist()
    ]


def test_the_feedback_of_a_data_set_is_what_was_learnt_from() -> None:
    world = lathe()
    shown = world.impressions[1]
    for kind, value in (("thumb", -1.0), ("comment", None), ("rating", 3.0)):
        world.judge(shown, kind, chunk_id="pumps#0", value=value)
    kept = {given.id: given.kind for given in world.feedback}
    ids = world.curate().feedback_ids.to_pydict()["id"]
    assert [kept[name] for name in ids] == ["click", "click", "thumb", "rating"]


def test_unshown_candidates_are_hard_negatives_unless_they_were_shown() -> None:
    world = lathe()
    curation = Curation(enumerate(world.feedback, start=1))
    for seq, shown in enumerate(world.impressions, start=1):
        curation.add(seq, shown)
    near = [Unshown(chunk_id=f"{name}#0", document_id=name, features=(0.5, 0.5)) for name in ("lathe", "holidays")]
    content = curation.finish(texts, lambda tenant, query, groups: near if query == "lathe safety" else ())
    added = [row for row in content.examples.to_pylist() if not row["judged"]]
    assert [(row["query"], row["document_id"], row["shown"]) for row in added] == [("lathe safety", "holidays", 0)]
    assert added[0]["label"] < 0.1


def test_the_same_ledger_gives_the_same_data_set_and_another_gives_another() -> None:
    world = visited(10, 3)
    once = world.curate()
    assert once.id == world.curate().id
    assert once.id != world.curate(seed=1).id
    world.show(query_text(0), ranking(0), [0], user="late")
    assert world.curate().id != once.id


def test_an_empty_ledger_gives_an_empty_data_set() -> None:
    content = World().curate()
    assert (content.examples.num_rows, content.demonstrations.num_rows, content.feedback_ids.num_rows) == (0, 0, 0)


# ---------------------------------------------------------------------------------------------- demonstrations


def test_a_correction_is_a_demonstration_and_beats_the_answer_it_corrects() -> None:
    world = World()
    shown = world.show("who pays for trains", LATHE, kind="answer", answer="Nobody.", user="ann")
    world.judge(shown, "correction", text="The company pays.")
    rows = world.curate().demonstrations.to_pylist()
    assert [(row["kind"], row["chosen"], row["rejected"]) for row in rows] == [
        ("correction", "The company pays.", ""),
        ("preference", "The company pays.", "Nobody."),
    ]
    assert [source["text"] for source in rows[0]["sources"]] == [f"text of {name}#0" for name in LATHE]


@pytest.mark.parametrize("documents", [LATHE, []], ids=["one of them is gone", "it had none"])
def test_nothing_teaches_to_answer_without_its_sources(documents: list[str]) -> None:
    world = World()
    for query, sources in (("who pays for trains", documents), ("who pays for lunch", ["pumps", "travel"])):
        shown = world.show(query, sources, kind="answer", answer="Nobody.", user="ann")
        world.judge(shown, "correction", text="The company pays.")
    content = curated(world, without="lathe#0")
    assert {row["query"] for row in content.demonstrations.to_pylist()} == {"who pays for lunch"}
    assert content.record["left_out"]["demonstration_without_its_sources"] == 2, "a correction and a preference"


def test_thumbs_make_pairs_of_answers_to_one_query() -> None:
    world = World()
    for user in ("ann", "bob"):
        good = world.show("who pays for trains", LATHE, kind="answer", answer="The company.", user=user)
        world.judge(good, "thumb", value=1.0)
        bad = world.show("Who pays for trains?", LATHE, kind="answer", answer="The driver.", user=user)
        world.judge(bad, "thumb", value=-1.0)
    world.show("who pays for trains", LATHE, kind="answer", answer="I do not know.", user="cleo")  # no thumb
    rows = world.curate().demonstrations.to_pylist()
    assert [(row["kind"], row["chosen"], row["rejected"]) for row in rows] == [
        ("preference", "The company.", "The driver.")
    ]


def test_the_last_word_of_an_identity_counts_once() -> None:
    world = World()
    for value in (1.0, 1.0, -1.0):
        shown = world.show("who pays for trains", LATHE, kind="answer", answer="The driver.", user="ann")
        world.judge(shown, "thumb", value=value)
    good = world.show("who pays for trains", LATHE, kind="answer", answer="The company.", user="bob")
    world.judge(good, "thumb", value=1.0)
    (row,) = world.curate().demonstrations.to_pylist()
    assert (row["chosen"], row["rejected"]) == ("The company.", "The driver.")
    assert 0 < row["weight"] <= 1


def test_a_rating_of_3_takes_a_thumb_on_an_answer_back_and_a_comment_does_not() -> None:
    def pairs(kind: str, value: float | None) -> int:
        world = World()
        for user, answer, thumb in (("ann", "The company.", 1.0), ("bob", "The driver.", -1.0)):
            shown = world.show("who pays for trains", LATHE, kind="answer", answer=answer, user=user)
            world.judge(shown, "thumb", value=thumb)
            world.judge(shown, kind, value=value)
        return world.curate().demonstrations.num_rows

    assert (pairs("rating", 3.0), pairs("comment", None)) == (0, 1)


def test_answers_are_no_clicks() -> None:
    world = lathe()
    shown = world.impressions[0]
    world.impressions[0] = replace(shown, kind="answer", answer="Oil it.")
    assert queries(world.curate()) == {"lathe safety"}
