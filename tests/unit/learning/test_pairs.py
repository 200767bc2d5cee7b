"""Which texts an embedder learns from."""

from __future__ import annotations

from typing import Any

import pytest

from kaizen.errors import InvalidInput
from kaizen.learning.dataset import table
from kaizen.learning.pairs import draw_batch, questions


def example(query: str, chunk: str, label: float, weight: float = 1.0, split: str = "train") -> dict[str, Any]:
    return {
        "query_id": query, "query": f"text of {query}", "tenant": "default", "groups": [], "split": split,
        "chunk_id": chunk, "document_id": chunk, "title": "T", "text": f"body of {chunk}", "label": label,
        "weight": weight, "shown": 1, "clicks": 0.0, "position": 1.0, "features": [], "judged": True,
    }  # fmt: skip


ROWS = [
    example("q1", "good", 0.9, 0.5), example("q1", "better", 1.0), example("q1", "bad", 0.2),
    example("q1", "worse", 0.1),
    example("q2", "fine", 0.5), example("q3", "bad", 0.3), example("q4", "good", 0.9, 0.0),
    example("q5", "hidden", 1.0, split="held_out"),
]  # fmt: skip


def test_a_label_of_a_half_makes_an_answer_and_queries_without_one_are_left_out() -> None:
    found = questions(table("examples", ROWS[::-1]))
    assert [question.query_id for question in found] == ["q1", "q2"]
    assert {p.chunk_id: p.weight for p in found[0].positives} == pytest.approx({"good": 0.45, "better": 1.0})
    assert [p.chunk_id for p in found[0].negatives] == ["worse", "bad"]
    assert found[0].positives[0].text == "T body of good"
    assert found[0].weight == 1.0


def test_no_answers_at_all_is_said() -> None:
    with pytest.raises(InvalidInput, match="No query"):
        questions(table("examples", [example("q", "c", 0.1)]))


def test_a_row_draws_the_same_whoever_is_beside_it() -> None:
    pool = questions(table("examples", ROWS))
    both, alone = (draw_batch(pool, rows, negatives=2, seed=5) for rows in ([0, 1], [1]))
    assert both.queries == ("text of q1", "text of q2")
    assert both.documents[1] == alone.documents[0]
    assert both.documents[4:] == alone.documents[1:]
    assert both == draw_batch(pool, [0, 1], negatives=2, seed=5)


def test_own_negatives_first_and_then_other_queries_answers() -> None:
    pool = questions(table("examples", ROWS))
    drawn = draw_batch(pool, [0], negatives=3, seed=1)
    assert {"bad", "worse"} < set(drawn.chunk_ids[1:])
    assert drawn.relevant == (frozenset({"good", "better"}),)
    assert len(drawn.documents) == 4


def test_answers_are_drawn_by_their_weight() -> None:
    pool = questions(table("examples", ROWS))
    drawn = [draw_batch(pool, [0], negatives=0, seed=seed).chunk_ids[0] for seed in range(300)]
    assert 0.58 < drawn.count("better") / 300 < 0.8  # 1 / 1.45 = .69
