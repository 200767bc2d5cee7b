"""A query of many words costs what its distinct words cost, and of those only so many are looked up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kaizen.config import Retrieval
from kaizen.retrieval.features import FEATURES
from kaizen.retrieval.query import MOST_WORDS, ShardQuery, search
from kaizen.retrieval.ranked import Ranked
from kaizen.retrieval.ranking import DEEPER, MOST_COUNTS, depth_after, rank
from tests.unit.retrieval.test_ranking_over_shards import WORDS, asked_for, corpus, names, views

(VIEW,) = views(corpus(), 1)


def _ranked(query: ShardQuery) -> list[Ranked]:
    return rank({0: search(VIEW, query)}, mode=query.mode, unit="chunk", k=10, settings=Retrieval())


def test_a_word_said_two_thousand_times_is_looked_up_once() -> None:
    query = asked_for("pump " * 2048, mode="lexical", k=10)
    assert search(VIEW, query).candidates.frequencies.shape[1] == 1
    once = _ranked(asked_for("pump", mode="lexical", k=10))
    assert names(_ranked(query)) == names(once)
    assert [item.score for item in _ranked(query)] == pytest.approx([item.score for item in once])


def test_a_word_said_twice_counts_twice() -> None:
    found = _ranked(asked_for("pump motor pump", mode="lexical", k=10))
    pump, motor = (_ranked(asked_for(word, mode="lexical", k=200)) for word in ("pump", "motor"))
    alone = [{(item.segment, item.row): item.bm25 for item in items} for items in (pump, motor)]
    for item in found:
        parts = [scores.get((item.segment, item.row)) for scores in alone]
        if None not in parts:
            assert item.bm25 == pytest.approx(2 * (parts[0] or 0) + (parts[1] or 0))
        assert item.features[FEATURES.index("log_terms")] == pytest.approx(math.log(1 + 3), abs=1e-6)


def test_what_a_chunk_holds_of_each_word_is_told_in_their_order() -> None:
    query = asked_for("valve pump valve nowhere motor", mode="lexical", k=10)
    for item in _ranked(query):
        text = item.text["text"].split() if item.text else []
        assert item.frequencies == tuple(text.count(word) for word in ("valve", "pump", "nowhere", "motor"))


def test_of_a_long_query_the_first_words_count() -> None:
    query = asked_for("pump", mode="lexical", k=10)
    filler = tuple(f"w{n}" for n in range(MOST_WORDS - 1))
    found = [_ranked(replace(query, terms=("pump", *filler, *rest))) for rest in ((), tuple(WORDS))]
    assert [(item.row, item.score) for item in found[0]] == [(item.row, item.score) for item in found[1]]


@pytest.mark.parametrize(
    ("depth", "words", "wanted"),
    [
        (150, 10, 150 * DEEPER),
        (150, 0, 150 * DEEPER),
        (3_000, MOST_WORDS, MOST_COUNTS // MOST_WORDS),
        (MOST_COUNTS // MOST_WORDS, MOST_WORDS, MOST_COUNTS // MOST_WORDS),
    ],
)
def test_it_goes_deeper_until_the_counts_are_too_many(depth: int, words: int, wanted: int) -> None:
    assert depth_after(depth, words=words) == wanted
