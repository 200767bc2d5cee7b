"""The queries of a data set as learning asks them: with their answers, and with what the parent release finds now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from kaizen.learning.dataset import read_dataset
from kaizen.learning.pairs import POSITIVE
from kaizen.offline import OfflineIndex, Pool, offline_queries, open_query_embedder
from kaizen.release import retrieval_of
from train.recording import Lesson

_COLUMNS = ("query_id", "query", "tenant", "groups", "document_id", "label", "weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonQuery:
    """A query with the trusted probability that each document answers it (label x weight; those of label >= 0.5)."""

    text: str
    tenant: str
    groups: tuple[str, ...]
    answers: Mapping[str, float]


def lesson_queries(lesson: Lesson, split: str = "train") -> list[LessonQuery]:
    """The queries of a split that have an answer, ordered by id."""
    table = read_dataset(lesson.workspace.store, lesson.dataset.artifact).examples
    rows = table.filter(pc.equal(table["split"], split)).select(_COLUMNS).to_pylist()
    found: dict[str, tuple[str, str, tuple[str, ...], dict[str, float]]] = {}
    for row in rows:
        trust = row["label"] * row["weight"]
        if row["label"] >= POSITIVE and trust > 0:
            own = found.setdefault(row["query_id"], (row["query"], row["tenant"], tuple(row["groups"]), {}))
            own[3][row["document_id"]] = max(trust, own[3].get(row["document_id"], 0.0))
    return [
        LessonQuery(text=text, tenant=tenant, groups=groups, answers=answers)
        for _, (text, tenant, groups, answers) in sorted(found.items())
    ]


def pools(lesson: Lesson, index: OfflineIndex, queries: Sequence[LessonQuery]) -> list[Pool]:
    """The candidates of each query under the parent."""
    settings = retrieval_of(lesson.parent)
    texts = [(query.text, query.tenant, query.groups) for query in queries]
    asked = offline_queries(texts, open_query_embedder(lesson.workspace, lesson.parent))
    return [index.pool(query, settings) for query in asked]
