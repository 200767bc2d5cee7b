"""Rung 1: fusion weights and rankers, learnt from the features of what was shown and of what stood below it.

Three kinds, the simplest first: other weights of cosine and BM25; a linear ranker over all features; LambdaMART
(Burges, "From RankNet to LambdaRank to LambdaMART", 2010) as LightGBM trains it. Which one is proposed is decided by
cross-validation over queries: a more complex kind must beat the simpler by more than its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.optimize

from kaizen.errors import InvalidInput
from kaizen.evaluation.ranking import dcg
from kaizen.retrieval.features import FEATURES

Kind = Literal["fusion", "linear", "lambdarank"]
Score = Callable[[np.ndarray], np.ndarray]  # (n, features) -> (n,)

FOLDS = 5
RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.5)  # of the cosine's weight to BM25's
TREES: dict[str, Any] = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 10,
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 50,
    "lambda_l2": 1.0,
    "num_threads": 1,  # and so the same trees every time
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
ROUNDS = 100
GRADES = 4  # lambdarank wants whole grades: probabilities are rounded to quarters
_COSINE, _SHARE = FEATURES.index("cosine"), FEATURES.index("bm25_share")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankedQuery:
    """The best chunks of the documents found for one query, in the order that users were given.

    Attributes:
        table: (n, len(FEATURES)) float32.
        labels: (n,) float64: probability that each is relevant; 0 where nobody said so.
        trust: what the query counts for.
    """

    table: np.ndarray
    labels: np.ndarray
    trust: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What was learnt. `ratio` is set for fusion, `weights` for linear, `trees` (LightGBM's text) for lambdarank.

    gain, error: mean change of nDCG@10 in cross-validation and its standard error.
    """

    kind: Kind
    gain: float
    error: float
    ratio: float = 0.0
    weights: tuple[float, ...] = ()
    trees: str = ""


@dataclass(frozen=True, slots=True)
class _Model:
    score: Score
    ratio: float = 0.0
    weights: tuple[float, ...] = ()
    trees: str = ""


def learn_ranker(queries: Sequence[RankedQuery], *, ratio: float) -> tuple[Proposal, list[Proposal]]:
    """Return the proposal, and what each kind came to. The same queries give the same proposal.

    Args:
        ratio: weight of the cosine to that of BM25 today; the proposal is always another order.

    Raises:
        InvalidInput: fewer queries with an answer than folds.
    """
    useful = [query for query in queries if query.labels.max(initial=0) > 0]
    if len(useful) < FOLDS:
        raise InvalidInput(f"{len(useful)} queries have an answer; {FOLDS} are needed.", advice="Collect more first.")
    fits: dict[Kind, Callable[[Sequence[RankedQuery]], _Model]] = {
        "fusion": lambda part: _fit_fusion(part, ratio),
        "linear": lambda part: _fit_linear(part, ratio),
        "lambdarank": _fit_trees,
    }
    before = np.array([ndcg(query, _fusion(ratio)(query.table)) for query in useful])
    tried: list[Proposal] = []
    for kind, fit in fits.items():
        change = _cross_validated(useful, fit) - before
        model = fit(useful)
        error = float(change.std(ddof=1) / math.sqrt(len(change)))
        tried.append(
            Proposal(
                kind=kind,
                gain=float(change.mean()),
                error=error,
                ratio=model.ratio,
                weights=model.weights,
                trees=model.trees,
            )
        )
    chosen = tried[0]
    for proposal in tried[1:]:
        if proposal.gain - proposal.error > chosen.gain:
            chosen = proposal
    return chosen, tried


def ndcg(query: RankedQuery, scores: np.ndarray, k: int = 10) -> float:
    """nDCG@k of the order that `scores` give, with the labels as gains."""
    gains = query.labels[np.argsort(-scores, kind="stable")][:k]
    ideal = np.sort(query.labels)[::-1][:k]
    return dcg(gains) / dcg(ideal)


def _cross_validated(queries: Sequence[RankedQuery], fit: Callable[[Sequence[RankedQuery]], _Model]) -> np.ndarray:
    """(queries,) nDCG@10 of each under a model that has not seen it."""
    found = np.empty(len(queries))
    for fold in range(FOLDS):
        model = fit([query for number, query in enumerate(queries) if number % FOLDS != fold])
        for number in range(fold, len(queries), FOLDS):
            found[number] = ndcg(queries[number], model.score(queries[number].table))
    return found


def _fusion(ratio: float) -> Score:
    return lambda table: ratio * table[:, _COSINE].astype(np.float64) + table[:, _SHARE]


def _fit_fusion(queries: Sequence[RankedQuery], today: float) -> _Model:
    """The best ratio of a grid that leaves today's out."""
    grid = [ratio for ratio in RATIOS if not math.isclose(ratio, today, rel_tol=0.05)]
    means = [np.average([ndcg(q, _fusion(r)(q.table)) for q in queries], weights=_trust(queries)) for r in grid]
    best = grid[int(np.argmax(means))]
    return _Model(_fusion(best), ratio=best)


def _fit_linear(queries: Sequence[RankedQuery], today: float) -> _Model:
    """Softmax cross-entropy over each query's list (ListNet, Cao et al. 2007), pulled towards today's weights."""
    start = np.zeros(len(FEATURES))
    start[_COSINE], start[_SHARE] = today, 1.0
    spread = np.maximum(np.concatenate([query.table for query in queries]).std(0), 1e-6)
    tables = [query.table.astype(np.float64) for query in queries]
    wanted = [query.labels / query.labels.sum() for query in queries]
    trust = _trust(queries)
    sharpness = 20.0

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros_like(weights)
        for table, target, share in zip(tables, wanted, trust, strict=True):
            scores = sharpness * (table @ weights)
            scores -= scores.max()
            chances = np.exp(scores)
            chances /= chances.sum()
            total -= share * float(target @ (scores - np.log(np.exp(scores).sum())))
            slope += share * sharpness * (table.T @ (chances - target))
        pull = (weights - start) * spread
        return total / trust.sum() + float(pull @ pull), slope / trust.sum() + 2 * pull * spread

    weights = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    return _Model(lambda table: table.astype(np.float64) @ weights, weights=tuple(float(w) for w in weights))


def _fit_trees(queries: Sequence[RankedQuery]) -> _Model:
    import lightgbm

    data = lightgbm.Dataset(
        np.concatenate([query.table for query in queries]),
        label=np.concatenate([np.rint(query.labels * GRADES) for query in queries]),
        weight=np.concatenate([np.full(len(query.labels), query.trust) for query in queries]),
        group=[len(query.labels) for query in queries],
        params={"verbosity": -1},
    )
    trees = lightgbm.train(TREES, data, num_boost_round=ROUNDS)
    return _Model(lambda table: np.asarray(trees.predict(table, num_threads=1)), trees=trees.model_to_string())


def _trust(queries: Sequence[RankedQuery]) -> np.ndarray:
    return np.array([query.trust for query in queries])
