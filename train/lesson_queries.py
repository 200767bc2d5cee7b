"""The queries of a data set as learning asks them: with their answers, and with what the parent release finds now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow.compute as pc

from kaizen.learning.dataset import read_dataset
from kaizen.learning.pairs import POSITIVE
from kaizen.offline import OfflineIndex, Pool, offline_queries, open_query_embedder
from kaizen.release import retrieval_of
from train.recording import Lesson

_COLUMNS = ("query_id", "query", "tenant", "groups", "document_id", "label", "weight", "judged")


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonQuery:
    """A query that has an answer.

    Attributes:
        answers: document -> trust that it answers (label x weight); those of a label of at least 0.5.
        seen: documents that were shown for it: of the others nobody can have said anything.
    """

    text: str
    tenant: str
    groups: tuple[str, ...]
    answers: dict[str, float] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def lesson_queries(lesson: Lesson, split: str = "train") -> list[LessonQuery]:
    """The queries of a split that have an answer, ordered by id."""
    table = read_dataset(lesson.workspace.store, lesson.dataset.artifact).examples
    rows = table.filter(pc.equal(table["split"], split)).select(_COLUMNS).to_pylist()
    found: dict[str, LessonQuery] = {}
    for row in rows:
        query = found.setdefault(
            row["query_id"], LessonQuery(text=row["query"], tenant=row["tenant"], groups=tuple(row["groups"]))
        )
        if row["judged"]:
            query.seen.add(row["document_id"])
        trust = row["label"] * row["weight"]
        if row["label"] >= POSITIVE and trust > 0:
            query.answers[row["document_id"]] = max(trust, query.answers.get(row["document_id"], 0.0))
    return [query for _, query in sorted(found.items()) if query.answers]


def pools(lesson: Lesson, index: OfflineIndex, queries: Sequence[LessonQuery]) -> list[Pool]:
    """The candidates of each query under the parent."""
    settings = retrieval_of(lesson.parent)
    texts = [(query.text, query.tenant, query.groups) for query in queries]
    asked = offline_queries(texts, open_query_embedder(lesson.workspace, lesson.parent))
    return [index.pool(query, settings) for query in asked]
