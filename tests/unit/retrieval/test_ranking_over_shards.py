"""A ranking is a function of what the caller may see, not of how documents are split."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from kaizen.config import Retrieval
from kaizen.ids import shard_of
from kaizen.records import Document, Principal
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.filters import Filter, parse
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.query import ShardQuery, fetch, score, search
from kaizen.retrieval.ranked import FinalAnswer, Ranked
from kaizen.retrieval.ranking import Unit, final_places, finished, rank, texts_needed, unpickled
from kaizen.retrieval.view import View
from tests.unit.retrieval.rows import document, segment, vector

WORDS = ["pump", "valve", "motor", "belt", "gear", "wheel", "shaft", "brake", "clutch", "piston"]
ANYBODY = Principal(key_id="k", tenant="acme", groups=(), scopes=("search",))


def corpus(count: int = 60) -> list[Document]:
    rng = np.random.default_rng(7)
    texts = [" ".join(rng.choice(WORDS, size=6)) + ". " + " ".join(rng.choice(WORDS, size=4)) for _ in range(count)]
    return [document(f"d{i}", text, year=2000 + i % 10) for i, text in enumerate(texts)]


def views(documents: list[Document], shards: int, segments: int = 1) -> list[View]:
    result = []
    for shard in range(shards):
        mine = [d for d in documents if shard_of(d.tenant, d.id, shards) == shard]
        view = View(0, ())
        for part in range(segments):
            some = mine[part::segments]
            if some:
                view = view.apply(view.seq + 1, [(d.tenant, d.id) for d in some], segment(*some))
        result.append(view)
    return result


def ask(
    shards: list[View],
    text: str,
    *,
    mode: Mode = "hybrid",
    k: int = 10,
    unit: Unit = "chunk",
    principal: Principal = ANYBODY,
    condition: Filter | None = None,
) -> list[Ranked]:
    query = asked_for(text, mode=mode, k=k, principal=principal, condition=condition)
    answers = {number: search(view, query) for number, view in enumerate(shards)}
    return rank(answers, mode=mode, unit=unit, k=k, settings=Retrieval())


def asked_for(
    text: str, *, mode: Mode, k: int, principal: Principal = ANYBODY, condition: Filter | None = None
) -> ShardQuery:
    return ShardQuery(
        mode=mode,
        vector=vector(text),
        terms=tuple(Analyser()(text)),
        principal=principal,
        condition=condition,
        types={"year": "number"},
        settings=Retrieval(),
        depth=200,
        texts=texts_needed(k),
    )


def names(ranked: list[Ranked]) -> list[tuple[str, int]]:
    return [(item.text["document_id"], item.text["ordinal"]) for item in ranked if item.text]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_the_same_ranking_from_one_shard_and_from_five_of_three_segments(mode: Mode) -> None:
    documents = corpus()
    one = ask(views(documents, 1), "pump motor", mode=mode)
    many = ask(views(documents, 5, segments=3), "pump motor", mode=mode)
    assert all(item.text for item in (*one, *many)), "a text did not travel with its shard's answer"
    assert names(one) == names(many)
    assert [round(item.score, 6) for item in one] == [round(item.score, 6) for item in many]


@pytest.mark.parametrize("sizes", [(60,), (40, 15, 5), (5, 40, 15), (1,) * 60])
@pytest.mark.parametrize("condition", [None, {"field": "year", "range": {"gte": 2003}}])
def test_the_deepest_candidates_are_the_same_however_a_shard_is_cut(
    sizes: tuple[int, ...], condition: dict[str, object] | None
) -> None:
    documents = corpus()
    view, first = View(0, ()), 0
    for size in sizes:
        view = view.apply(view.seq + 1, [], segment(*documents[first : first + size]))
        first += size
    (whole,) = views(documents, 1)
    only = None if condition is None else parse(condition)
    for text in ("pump motor", "brake", "clutch piston gear wheel"):
        query = replace(asked_for(text, mode="hybrid", k=10, condition=only), depth=8, texts=0)
        (cosines, scores), (wanted_cosines, wanted_scores) = (deepest(each, query) for each in (view, whole))
        assert cosines == pytest.approx(wanted_cosines, abs=1e-6)
        assert scores == pytest.approx(wanted_scores)


def deepest(view: View, query: ShardQuery) -> tuple[list[float], list[float]]:
    """The best `depth` cosines and BM25 scores among the candidates."""
    answer = search(view, query)
    _, lexical = score(answer.candidates, answer.statistics, query.mode, query.settings)
    both = answer.candidates.cosine, lexical
    cosines, scores = (np.sort(each)[::-1][: query.depth].tolist() for each in both)
    return cosines, scores


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_of_equal_chunks_those_that_are_shown_bring_their_texts(mode: Mode) -> None:
    found = ask(views([document(f"d{i}", "pump motor") for i in range(30)], 1), "pump motor", mode=mode)
    assert len(found) == 10
    assert all(item.text for item in found)


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_shard_that_is_the_whole_index_ranks_as_the_gateway_would(mode: Mode, segments: int) -> None:
    (view,) = views(corpus(), 1, segments=segments)
    wanted = ask([view], "pump motor", mode=mode)
    query = replace(asked_for("pump motor", mode=mode, k=10), texts=0, final=10)
    answer = finished(search(view, query), query, partial(fetch, view.by_name()))
    assert isinstance(answer, FinalAnswer)
    assert unpickled(answer.pickled()) == answer
    assert answer.ranked == tuple(wanted)
    assert all(item.text for item in wanted)


def test_who_ranks_last() -> None:
    alone = final_places(10, unit="chunk", shards=1, reranked=False)
    others = [
        final_places(10, unit="document", shards=1, reranked=False),
        final_places(10, unit="chunk", shards=2, reranked=False),
        final_places(10, unit="chunk", shards=1, reranked=True),
    ]
    assert (alone, others) == (10, [0, 0, 0])


def test_documents_of_others_change_neither_results_nor_scores() -> None:
    ours = corpus(20)
    theirs = [document(f"x{i}", "pump pump pump motor", tenant="rival") for i in range(50)]
    secret = [document(f"s{i}", "pump motor", groups=("board",)) for i in range(5)]
    alone, together = ask(views(ours, 2), "pump motor"), ask(views([*ours, *theirs, *secret], 2), "pump motor")
    assert [(n, i.score) for n, i in zip(names(alone), alone, strict=True)] == [
        (n, i.score) for n, i in zip(names(together), together, strict=True)
    ]


def test_a_group_sees_what_is_open_and_what_is_its_own() -> None:
    documents = [document("open", "pump"), document("board", "pump", groups=("board",))]
    member = Principal(key_id="k", tenant="acme", groups=("board", "x"), scopes=("search",))
    assert {name for name, _ in names(ask(views(documents, 1), "pump", principal=member))} == {"open", "board"}
    assert {name for name, _ in names(ask(views(documents, 1), "pump"))} == {"open"}


def test_a_filter_never_costs_results_that_match() -> None:
    condition = parse({"field": "year", "equals": 2003})
    found = ask(views(corpus(), 3, segments=2), "pump", mode="dense", k=12, condition=condition)
    assert len(found) == 12  # six documents of two chunks
    assert {item.text["document_id"] for item in found if item.text} == {f"d{i}" for i in range(3, 60, 10)}


def test_a_document_counts_once_by_its_best_chunk() -> None:
    shards = views(corpus(), 2)
    chunks, documents = ask(shards, "gear wheel", k=200), ask(shards, "gear wheel", k=200, unit="document")
    assert len(documents) == len({name for name, _ in names(documents)}) == len({name for name, _ in names(chunks)})
    best = {}
    for (name, _), item in zip(names(chunks), chunks, strict=True):
        best.setdefault(name, item.score)
    assert {name: item.score for (name, _), item in zip(names(documents), documents, strict=True)} == best


def test_nothing_is_found_in_nothing() -> None:
    assert ask([View(0, ()), View(0, ())], "pump") == []


def test_a_query_of_unknown_words_still_ranks_by_meaning() -> None:
    found = ask(views(corpus(), 2), "zzz qqq")
    assert len(found) == 10
    assert {item.bm25 for item in found} == {0.0}
