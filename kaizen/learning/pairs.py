"""Examples of a data set as what embedders learn from: a query, what answers it, what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kaizen.errors import InvalidInput
from kaizen.text.chunk import embedded_text

POSITIVE = 0.5  # probability of being relevant from which a chunk counts as an answer
_NEEDED = ("query_id", "query", "split", "chunk_id", "title", "text", "label", "weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk as the embedder reads it. `weight`: trust that it answers the query (0 for one that does not)."""

    chunk_id: str
    text: str
    weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One query with at least one answer."""

    query_id: str
    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]

    @property
    def weight(self) -> float:
        """What it counts for: the trust in its best answer."""
        return max(passage.weight for passage in self.positives)


def questions(examples: pa.Table, split: str = "train") -> list[Question]:
    """Return the queries of `split` that have an answer, ordered by id, whatever the order of the rows.

    Args:
        examples: see `kaizen.learning.dataset`. A chunk counts as an answer from a label of 0.5 on, with the weight
            label x weight; one below is a negative, the least likely to be relevant first.

    Raises:
        InvalidInput: no query has an answer of any weight.
    """
    rows = examples.select(list(_NEEDED)).filter(pa.compute.equal(examples["split"], split)).to_pylist()
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["query_id"], []).append(row)
    made = [_question(name, grouped[name]) for name in sorted(grouped)]
    kept = [question for question in made if question.positives]
    if not kept:
        raise InvalidInput("No query of the data set has an answer.", advice="Collect more feedback first.")
    return kept


def _question(query_id: str, rows: Sequence[dict[str, Any]]) -> Question:
    rows = sorted(rows, key=lambda row: (row["label"], row["chunk_id"]))
    positives = [row for row in rows if row["label"] >= POSITIVE and row["weight"] > 0]
    negatives = [row for row in rows if row["label"] < POSITIVE]
    return Question(
        query_id=query_id,
        query=rows[0]["query"],
        positives=tuple(_passage(row, row["label"] * row["weight"]) for row in positives),
        negatives=tuple(_passage(row, 0.0) for row in negatives),
    )


def _passage(row: dict[str, Any], weight: float) -> Passage:
    return Passage(chunk_id=row["chunk_id"], text=embedded_text(row["title"], row["text"]), weight=float(weight))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Texts of one step. Documents: the answer of each row, then `negatives` others of each row in turn.

    Attributes:
        queries: (b,) texts.
        documents: (b * (1 + negatives),) texts; the answer of row i is number i.
        chunk_ids: of the documents.
        relevant: for each row the ids of all its answers, which are no negatives of it.
        weights: (b,) float32.
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    chunk_ids: tuple[str, ...]
    relevant: tuple[frozenset[str], ...]
    weights: tuple[float, ...]


def draw_batch(pool: Sequence[Question], rows: Sequence[int], *, negatives: int, seed: int) -> Batch:
    """Draw for each row one answer (by its weight) and `negatives` that are none; the same seed draws the same.

    A row draws by itself, so that it gets the same documents whichever rows are beside it. A query with too few
    negatives of its own borrows answers of other queries.
    """
    chosen = [pool[row] for row in rows]
    draws = [_draw(pool, row, negatives, np.random.default_rng((seed, row))) for row in rows]
    documents = [one for one, _ in draws] + [other for _, others in draws for other in others]
    return Batch(
        queries=tuple(question.query for question in chosen),
        documents=tuple(passage.text for passage in documents),
        chunk_ids=tuple(passage.chunk_id for passage in documents),
        relevant=tuple(frozenset(passage.chunk_id for passage in question.positives) for question in chosen),
        weights=tuple(question.weight for question in chosen),
    )


def _draw(
    pool: Sequence[Question], row: int, negatives: int, random: np.random.Generator
) -> tuple[Passage, list[Passage]]:
    question = pool[row]
    weights = np.array([passage.weight for passage in question.positives])
    answer = question.positives[int(random.choice(len(weights), p=weights / weights.sum()))]
    own = len(question.negatives)
    others = [question.negatives[int(i)] for i in random.permutation(own)[:negatives]]
    while len(others) < negatives:
        stranger = pool[int(random.integers(len(pool)))]
        others.append(stranger.positives[int(random.integers(len(stranger.positives)))])
    return answer, others
