"""Which queries candidates are judged on, and with which grades."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from kaizen.judging.query_sets import Asked, dataset_queries, slices_of, trusted_queries
from kaizen.learning.dataset import table
from kaizen.records import Judgement


def example(query: str, document: str, label: float, *, split: str = "held_out", ordinal: int = 0) -> dict[str, Any]:
    return {
        "query_id": query, "query": f"text of {query}", "tenant": "t", "groups": ["g"], "split": split,
        "chunk_id": f"{document}#{ordinal}", "document_id": document, "title": "", "text": "x", "label": label,
        "weight": 1.0, "shown": 1, "clicks": 1.0, "position": 1.0, "features": [], "judged": True,
    }  # fmt: skip


def test_a_documents_grade_is_that_of_its_best_chunk_and_accidents_do_not_count() -> None:
    rows = [
        example("q1", "a", 0.9), example("q1", "a", 0.4, ordinal=1), example("q1", "b", 0.2),
        example("q2", "b", 0.1), example("q3", "a", 1.0, split="train"),
    ]  # fmt: skip
    assert dataset_queries(table("examples", rows), "held_out", 10) == {
        "t/q1": Asked(text="text of q1", tenant="t", groups=("g",), grades={"a": 9, "b": 0})
    }


def test_trusted_queries_are_those_with_something_relevant_and_always_the_same_ones() -> None:
    judged = [
        Judgement(tenant="t", query_id=f"q{n}", query=f"text {n}", document_id="d", grade=n % 2) for n in range(40)
    ]
    found = trusted_queries(judged, 5)
    assert len(found) == 5
    assert found == trusted_queries(reversed(judged), 5)
    assert all(one.grades == {"d": 1} for one in found.values())


def test_slices_are_made_of_the_relevant_documents_of_the_querys_own_tenant() -> None:
    asked = {"t/q": Asked(text="two words", tenant="t", grades={"d": 1, "e": 0})}
    rows = pa.table(
        {
            "tenant": ["t", "t", "other"],
            "document_id": ["d", "e", "d"],
            "metadata": ['{"kind": "law", "tags": ["x"]}', '{"kind": "news"}', '{"kind": "secret"}'],
        }
    )
    assert set(slices_of(asked, rows)) == {"query length = 1 to 3 words", "kind = law", "tags = x"}
