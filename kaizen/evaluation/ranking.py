"""How good a ranking is, as trec_eval (https://github.com/usnistgov/trec_eval) and so BEIR count it.

A ranking is a sequence of document ids, best first, each at most once; grades map the judged documents of a query
to integers: 0 and below not relevant, above 0 relevant, more is better; a document without a grade is not relevant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import fsum, log2

Ranking = Sequence[str]
Grades = Mapping[str, int]


def dcg(gains: Iterable[float]) -> float:
    """Return the sum of gain / log2(position + 1) over positions from 1.

    The gain is the grade itself, as Järvelin and Kekäläinen (2002) have it, not 2**grade - 1.
    """
    return fsum(gain / log2(position + 1) for position, gain in enumerate(gains, start=1))


def ndcg(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return nDCG@k (trec_eval `ndcg_cut.k`): DCG of the first k over the best that any ranking could have.

    0 when nothing is relevant.
    """
    gains = [max(0, grades.get(document, 0)) for document in _distinct(ranking[:k])]
    ideal = dcg(sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k])
    return dcg(gains) / ideal if ideal else 0.0


def recall(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return the share of the relevant documents that are among the first k (trec_eval `recall.k`); 0 for none."""
    relevant = {document for document, grade in grades.items() if grade > 0}
    return len(relevant.intersection(_distinct(ranking[:k]))) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return 1 / position of the first relevant document among the first k, 0 when there is none (MRR@k's term)."""
    hits = (place for place, document in enumerate(_distinct(ranking[:k]), start=1) if grades.get(document, 0) > 0)
    return 1 / place if (place := next(hits, 0)) else 0.0


METRICS: Mapping[str, Callable[[Ranking, Grades], float]] = {
    "ndcg@10": partial(ndcg, k=10),
    "recall@100": partial(recall, k=100),
    "mrr@10": partial(reciprocal_rank, k=10),
}


def measure(rankings: Mapping[str, Ranking], judgements: Mapping[str, Grades]) -> dict[str, dict[str, float]]:
    """Return metric -> query -> value for every judged query; one without a ranking counts as an empty ranking."""
    return {
        name: {query: metric(rankings.get(query, ()), grades) for query, grades in judgements.items()}
        for name, metric in METRICS.items()
    }


def means(measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return metric -> mean over the queries; 0 when there are none."""
    return {name: fsum(values.values()) / max(1, len(values)) for name, values in measured.items()}


def documents_of(chunks: Iterable[str]) -> list[str]:
    """Return the document ids of chunks that come best first: each document once, where its best chunk stands."""
    return list(dict.fromkeys(chunks))


def _distinct(ranking: Ranking) -> Ranking:
    if len(set(ranking)) < len(ranking):
        raise ValueError("a ranking has a document twice: see documents_of")
    return ranking
