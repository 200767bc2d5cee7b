import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen.errors import Corrupt
from kaizen.retrieval import lexical, max_score
from kaizen.retrieval.lexical import LexicalIndex, TermStatistics, bm25

TEXTS = [["a", "b", "a"], ["b"], [], ["c", "b", "d", "e"], ["a"]]
words = st.sampled_from("abcdefgh")
corpora = st.lists(st.lists(words, max_size=12), min_size=1, max_size=30)
K1, B = 1.2, 0.75


def top(index: LexicalIndex, terms: list[str], k: int, allowed: np.ndarray | None = None) -> list[int]:
    rows, _ = index.top(terms, index.statistics(terms), allowed, k, k1=K1, b=B)
    return rows.tolist()


def test_bm25_is_the_formula() -> None:
    statistics = TermStatistics(documents=10, total_length=50, document_frequencies=(3,))
    expected = math.log(1 + 7.5 / 3.5) * 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 8 / 5))
    scores = bm25(np.array([[2], [0]]), np.array([8, 8]), statistics, K1, B)
    assert scores.tolist() == pytest.approx([expected, 0])


def test_a_repeated_term_counts_by_its_number() -> None:
    index = LexicalIndex.build(TEXTS)
    once, _ = score_all(index, ["a"])
    twice, _ = score_all(index, ["a", "a"])
    assert twice.tolist() == pytest.approx((2 * once).tolist())


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=9), st.integers(0, 9))
@settings(deadline=None)
def test_a_term_once_with_its_number_scores_as_a_column_for_each_time(repeats: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    frequencies, lengths = random.integers(0, 4, (30, len(repeats))), random.integers(1, 99, 30)
    dfs = random.integers(0, 90, len(repeats))
    once = TermStatistics(
        documents=90, total_length=3000, document_frequencies=tuple(dfs.tolist()), repeats=tuple(repeats)
    )
    each = TermStatistics(documents=90, total_length=3000, document_frequencies=tuple(np.repeat(dfs, repeats).tolist()))
    scores = bm25(np.repeat(frequencies, repeats, axis=1), lengths, each, K1, B)
    assert bm25(frequencies, lengths, once, K1, B).tolist() == pytest.approx(scores.tolist(), rel=1e-12)
    assert once.limit() == pytest.approx(each.limit(), rel=1e-12)


def score_all(index: LexicalIndex, terms: list[str]) -> tuple[np.ndarray, TermStatistics]:
    rows, statistics = np.arange(len(index.lengths)), index.statistics(terms)
    return bm25(index.frequencies(terms, rows), index.lengths, statistics, K1, B), statistics


def test_the_score_of_a_chunk_is_the_same_to_the_last_bit_alone_and_among_others() -> None:
    random = np.random.default_rng(3)
    frequencies, lengths = random.integers(0, 4, (50, 17)), random.integers(1, 99, 50)
    statistics = TermStatistics(documents=90, total_length=3000, document_frequencies=tuple(range(1, 18)))
    together = bm25(frequencies, lengths, statistics, K1, B)
    alone = [bm25(frequencies[i : i + 1], lengths[i : i + 1], statistics, K1, B)[0] for i in range(50)]
    assert together.tolist() == alone


def test_scores_in_blocks_are_those_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    frequencies, lengths = random.integers(0, 4, (50, 5)), random.integers(1, 99, 50)
    statistics = TermStatistics(documents=90, total_length=3000, document_frequencies=(1, 2, 3, 4, 5))
    whole = bm25(frequencies, lengths, statistics, K1, B)
    for block in (1, 35, 249):
        monkeypatch.setattr(lexical, "BLOCK", block)
        assert bm25(frequencies, lengths, statistics, K1, B).tolist() == whole.tolist()


def test_many_candidates_take_no_more_memory_than_a_block() -> None:
    frequencies = np.ones((20_000, 200), np.uint16)
    statistics = TermStatistics(documents=20_000, total_length=2_000_000, document_frequencies=(10_000,) * 200)
    tracemalloc.start()
    try:
        bm25(frequencies, np.full(20_000, 100), statistics, K1, B)
        assert tracemalloc.get_traced_memory()[1] < 8e6  # at once it would be 64 MB and more
    finally:
        tracemalloc.stop()


def test_k1_of_zero_asks_only_whether_a_term_is_there() -> None:
    statistics = TermStatistics(documents=4, total_length=9, document_frequencies=(1,))
    scores = bm25(np.array([[0], [1], [7]]), np.array([0, 3, 9]), statistics, 0, B)
    assert scores.tolist() == pytest.approx([0, math.log(1 + 3.5 / 1.5), math.log(1 + 3.5 / 1.5)])


@given(corpora, st.lists(words, max_size=6), st.integers(1, 40), st.data())
@settings(deadline=None)
def test_top_agrees_with_scoring_every_row(
    texts: list[list[str]], terms: list[str], k: int, data: st.DataObject
) -> None:
    index = LexicalIndex.build(texts)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    scores, statistics = score_all(index, terms)
    rows, values = index.top(terms, statistics, allowed, k, k1=K1, b=B)
    matching = [row for row in range(len(texts)) if allowed[row] and scores[row] > 0]
    assert len(rows) == min(k, len(matching))
    assert set(rows.tolist()) <= set(matching)
    assert values.tolist() == pytest.approx(sorted(scores[matching], reverse=True)[:k], rel=1e-6)
    assert values.tolist() == pytest.approx(scores[rows].tolist(), rel=1e-6)


@given(corpora, st.data())
@settings(deadline=None)
def test_statistics_of_two_halves_add_up_to_those_of_the_whole(texts: list[list[str]], data: st.DataObject) -> None:
    visible = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    terms, cut = ["a", "b", "nowhere"], len(texts) // 2
    left, right = LexicalIndex.build(texts[:cut]), LexicalIndex.build(texts[cut:])
    parts = left.statistics(terms, visible[:cut]) + right.statistics(terms, visible[cut:])
    seen = [text for text, shown in zip(texts, visible, strict=True) if shown]
    assert parts == LexicalIndex.build(seen).statistics(terms)
    assert parts == LexicalIndex.build(texts).statistics(terms, visible)


@given(corpora, corpora, st.data())
@settings(deadline=None)
def test_merge_equals_building_from_what_is_kept(
    one: list[list[str]], two: list[list[str]], data: st.DataObject
) -> None:
    keeps = [np.array(data.draw(st.lists(st.booleans(), min_size=len(t), max_size=len(t)))) for t in (one, two)]
    merged = LexicalIndex.merge([LexicalIndex.build(one), LexicalIndex.build(two)], keeps)
    kept = [t for texts, keep in zip((one, two), keeps, strict=True) for t, k in zip(texts, keep, strict=True) if k]
    assert contents(merged) == contents(LexicalIndex.build(kept))


def contents(index: LexicalIndex) -> list[object]:
    return [index.vocabulary, *(getattr(index, name).tolist() for name in ("starts", "rows", "counts", "lengths"))]


@pytest.mark.parametrize("share", [None, 0.9, 0.02])
def test_pruning_finds_the_same_rows_in_a_large_index(share: float | None) -> None:
    random = np.random.default_rng(7)
    texts = [[f"t{n}" for n in random.zipf(1.3, 40) if n < 5000] for _ in range(3000)]
    index = LexicalIndex.build(texts)
    allowed = np.ones(3000, bool) if share is None else random.random(3000) < share
    for _ in range(30):
        terms = [f"t{n}" for n in random.zipf(1.2, 12)]
        scores, statistics = score_all(index, terms)
        scores *= allowed
        rows, values = index.top(terms, statistics, None if share is None else allowed, 20, k1=K1, b=B)
        assert values.tolist() == pytest.approx(sorted(scores, reverse=True)[: len(rows)], rel=1e-6)
        assert values.tolist() == pytest.approx(scores[rows].tolist(), rel=1e-6)
        assert len(rows) == min(20, np.count_nonzero(scores))


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("share", [None, 0.9, 0.02])
def test_where_a_bar_is_set_all_that_reach_it_are_found(
    share: float | None, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not small:
        monkeypatch.setattr(max_score, "SMALL_ROWS", 0)
    random = np.random.default_rng(8)
    index = LexicalIndex.build([[f"t{n}" for n in random.zipf(1.3, 20) if n < 5000] for _ in range(1000)])
    allowed = None if share is None else random.random(1000) < share
    nowhere = index.top(["x"], index.statistics(["x"]), allowed, 20, k1=K1, b=B, floor=1.0)
    assert [len(each) for each in nowhere] == [0, 0]
    looked_up = 0
    for _ in range(30):
        terms = sorted({f"t{n}" for n in random.zipf(1.2, 12)})
        scores, statistics = score_all(index, terms)
        scores *= 1 if allowed is None else allowed
        floor = float(np.sort(scores)[-random.integers(1, 60)])
        rows, values = index.top(terms, statistics, allowed, 20, k1=K1, b=B, floor=floor - 1e-9)
        wanted = np.sort(scores[(scores >= floor) & (scores > 0)])[::-1][:20]
        assert values[: len(wanted)].tolist() == pytest.approx(wanted.tolist(), rel=1e-6)
        assert values.tolist() == pytest.approx(scores[rows].tolist(), rel=1e-6)
        looked_up += len(rows) - len(wanted)
    assert looked_up <= 30, "the bar keeps the others out"


def test_limit_depends_on_how_many_terms_count_and_not_on_how_rare_they_are() -> None:
    rare, common, unknown = (
        TermStatistics(documents=100, total_length=900, document_frequencies=dfs) for dfs in [(1, 1), (90, 90), (0, 0)]
    )
    assert rare.limit() == common.limit() == pytest.approx(2 * math.log(101))
    assert unknown.limit() == 0


def test_limit_counts_the_terms_that_matter() -> None:
    one = TermStatistics(documents=1000, total_length=9000, document_frequencies=(2,))
    with_noise = TermStatistics(documents=1000, total_length=9000, document_frequencies=(2, 999, 998, 0))
    assert with_noise.limit() == pytest.approx(one.limit(), rel=0.01)


def test_equal_scores_rank_by_row() -> None:
    assert top(LexicalIndex.build([["x"]] * 50), ["x"], 10) == list(range(10))


def test_frequencies_take_rows_in_any_order() -> None:
    index = LexicalIndex.build(TEXTS)
    assert index.frequencies(["b", "a", "z", "b"], np.array([4, 0, 1])).tolist() == [
        [0, 1, 0, 0],
        [1, 2, 0, 1],
        [1, 0, 0, 1],
    ]


def test_nothing_matches_nothing() -> None:
    index = LexicalIndex.build(TEXTS)
    assert (top(index, [], 5), top(index, ["z"], 5), top(LexicalIndex.build([]), ["a"], 5)) == ([], [], [])


def test_a_saved_index_comes_back(tmp_path: Path) -> None:
    index = LexicalIndex.build(TEXTS)
    index.save(tmp_path)
    loaded = LexicalIndex.load(tmp_path)
    assert contents(loaded) == contents(index)
    assert top(loaded, ["a", "c"], 3) == top(index, ["a", "c"], 3)


@pytest.mark.parametrize("name", ["lexical_starts.npy", "lexical_rows.npy", "lexical_terms.arrow"])
def test_a_broken_file_is_refused(tmp_path: Path, name: str) -> None:
    LexicalIndex.build(TEXTS).save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    with pytest.raises(Corrupt, match="lexical index"):
        LexicalIndex.load(tmp_path)
