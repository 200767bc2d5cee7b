"""What a sweep draws, plans and keeps, and that narrowing a deep pool is searching less deep."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaizen.config import Retrieval
from kaizen.errors import Conflict
from kaizen.judging.query_sets import Asked
from kaizen.learning.query_encoder import QueryEncoderPlan
from kaizen.learning.sweep import Trial
from kaizen.offline import OfflineIndex
from kaizen.records import Release
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.query import ShardAnswer, ShardQuery, search
from kaizen.retrieval.ranking import rank
from kaizen.retrieval.view import View
from kaizen.storage.local_store import LocalStore
from kaizen.storage.object_store import ObjectStore
from tests.unit.retrieval.rows import document, vector
from tests.unit.retrieval.test_ranking_over_shards import ANYBODY, views
from tune import sweep
from tune.asked import Planned, Wish, planned
from tune.judged import Judgements
from tune.kept import Kept
from tune.retrieval import narrowed
from tune.spaces import (
    Either,
    Range,
    draw,
    present_retrieval,
    present_training,
    retrieval_settings,
    retrieval_space,
    training_space,
)

PRESENT = Retrieval(dense_weight=0.4, lexical_weight=1.0, depth=123)


def test_the_present_settings_come_first_and_are_themselves_again() -> None:
    drawn = draw(retrieval_space(ranker=True), present_retrieval(PRESENT, ranker=True), 8, seed=0)
    assert len(drawn) == 8
    assert drawn[0]["ranker"] is True
    assert retrieval_settings(PRESENT, drawn[0]).model_dump() == pytest.approx(PRESENT.model_dump())


def test_what_is_drawn_can_be_used_stays_in_its_space_and_is_the_same_again() -> None:
    space = retrieval_space(ranker=True)
    present = present_retrieval(PRESENT, ranker=True)
    drawn = draw(space, present, 64, seed=3)
    assert drawn == draw(space, present, 64, seed=3)
    assert drawn[1:] != draw(space, present, 64, seed=4)[1:]
    assert {trial["ranker"] for trial in drawn} == {True, False}
    for trial in drawn:
        settings = retrieval_settings(PRESENT, trial)
        assert 50 <= settings.depth <= 400
        assert settings.dense_weight + settings.lexical_weight == pytest.approx(1.4)
    for trial in draw(training_space(), present_training(QueryEncoderPlan()), 16, seed=0):
        assert QueryEncoderPlan(**trial).steps(1000) <= 600


def test_axes() -> None:
    assert Range(low=1, high=3).at(0.5) == 2
    assert Range(low=1, high=100, log=True).at(0.5) == 10
    assert Range(low=1, high=100, log=True, whole=True).at(0.999) == 100
    assert (Either().at(0.49), Either().at(0.5)) == (False, True)


def test_a_sweep_is_kept_and_another_one_cannot_take_its_name(tmp_path: Path) -> None:
    kept = Kept(store=LocalStore(tmp_path), name="mine")
    kept.begin({"trials": 2, "settings": {"1": {"depth": 3}}})
    kept.begin({"trials": 2, "settings": {"1": {"depth": 3}}})
    with pytest.raises(Conflict):
        kept.begin({"trials": 3})
    trial = Trial(
        number=7, settings={"depth": 3}, values={"q": 0.5}, test={"p": 0.25}, share=1.0, steps=(0.5,),
        cpu_s=1.0, seconds=2.0,
    )  # fmt: skip
    kept.add(trial)
    assert kept.trials() == [trial]
    assert kept.read("result.json") is None


def plan(store: ObjectStore, *, grade: int = 1, seqs: tuple[int, ...] = (7, 9), name: str | None = None) -> Planned:
    """The plan of the same command, judged on one query with this grade, over shards that are so far."""
    base = Release(
        id="r1-0", number=1, at=0.0, fingerprint="0", parts={"retrieval": Retrieval().model_dump()}, parent=None
    )
    known = Judgements(trusted=[], examples={"t/q": Asked(text="a pump", tenant="t", grades={"d": grade})})
    index = OfflineIndex({shard: View(seq, ()) for shard, seq in enumerate(seqs)}, len(seqs), ())
    wish = Wish(what="retrieval", release=None, dataset=None, trials=2, name=name)
    return planned(store, wish, base, None, known, index)


def test_a_sweep_goes_on_whatever_is_written_and_answers_for_its_own_documents_when_it_has_ended(
    tmp_path: Path,
) -> None:
    store = LocalStore(tmp_path)
    first = plan(store)
    first.kept.begin(first.record())
    later = plan(store, seqs=(7, 10))
    later.kept.begin(later.record())
    assert later.kept.name == first.kept.name, "a service takes writes: a killed sweep would never go on"
    later.kept.write("result.json", {"index_seqs": [7, 10]})
    assert plan(store, seqs=(7, 10)).kept.name == first.kept.name
    fresh = plan(store, seqs=(8, 10))
    assert fresh.kept.name == f"{first.kept.name}-2"
    fresh.kept.begin(fresh.record())
    assert plan(store, seqs=(8, 11)).kept.name == fresh.kept.name


def test_other_judgements_are_another_sweep(tmp_path: Path) -> None:
    assert plan(LocalStore(tmp_path), grade=2).kept.name != plan(LocalStore(tmp_path)).kept.name


def test_a_name_stands_for_the_judgements_that_its_sweep_began_with(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first, other = plan(store, name="mine"), plan(store, name="mine", grade=2)
    first.kept.begin(first.record())
    with pytest.raises(Conflict, match="other judgements"):
        other.kept.begin(other.record())


def test_what_ended_before_is_told_with_its_date(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = {"again": True, "at": 1e9, "decision": "keep", "reason": "None beat it.", "release": None}
    monkeypatch.setattr(sweep, "table", lambda _: "")
    workspace: Any = SimpleNamespace(store=LocalStore(tmp_path))
    sweep._tell(workspace, "mine", ended, as_json=False)
    assert "Ended 2001-09-09 01:46 UTC; not run again" in capsys.readouterr().out
    sweep._tell(workspace, "mine", ended | {"again": False}, as_json=False)
    assert "Ended" not in capsys.readouterr().out


@pytest.mark.parametrize("depth", [1, 3, 10, 40])
def test_narrowing_a_deep_pool_is_searching_less_deep(depth: int) -> None:
    settings = Retrieval(depth=depth)
    # No two are equally long, so that no two have the same BM25: which of equals is at the end of a pool is open.
    texts = [" ".join(["pump"] * (i % 3) + ["motor"] * (i % 2) + ["wheel"] * i) or "belt" for i in range(60)]
    shards = views([document(f"d{number}", text) for number, text in enumerate(texts)], 2, segments=2)

    def answers(depth: int) -> dict[int, ShardAnswer]:
        query = ShardQuery(
            mode="hybrid", vector=vector("pump motor"), terms=tuple(Analyser()("pump motor")), principal=ANYBODY,
            condition=None, types={}, settings=settings, depth=depth, texts=0,
        )  # fmt: skip
        return {number: search(view, query) for number, view in enumerate(shards)}

    def ranked(found: dict[int, ShardAnswer]) -> list[tuple[str, int, float]]:
        best = rank(found, mode="hybrid", unit="document", k=10, settings=settings)
        return [(item.segment, item.row, round(item.score, 6)) for item in best]

    deep = {number: narrowed(answer, settings) for number, answer in answers(100).items()}
    assert ranked(deep) == ranked(answers(depth))
    assert max(len(answer.candidates) for answer in deep.values()) <= 2 * depth
