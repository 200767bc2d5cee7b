"""A learnt ranker: it puts the best of the fused ranking into a new order, from `features` alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kaizen.errors import BadModel
from kaizen.retrieval.features import FEATURES

Scores = npt.NDArray[np.float64]
MODEL_FILE = "ranker.txt"


class Ranker(Protocol):
    """Scores chunks. `depth`: how many of the fused ranking it looks at; the rest keep their order below."""

    @property
    def depth(self) -> int: ...

    def scores(self, table: npt.NDArray[np.float32]) -> Scores:
        """(n, len(FEATURES)) -> (n,), more is better."""
        ...


@dataclass(frozen=True, slots=True)
class LinearRanker:
    """A weight for each feature."""

    weights: tuple[float, ...]
    depth: int

    def scores(self, table: npt.NDArray[np.float32]) -> Scores:
        """See Ranker."""
        scored: Scores = table.astype(np.float64) @ np.array(self.weights)
        return scored


class TreeRanker:
    """Gradient-boosted trees (LambdaMART, as LightGBM trains and stores them: a text file, which holds no code)."""

    def __init__(self, text: str, depth: int) -> None:
        import lightgbm  # only a replica that serves such a ranker pays for it

        try:
            self._trees = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise BadModel("LightGBM cannot read the ranker.", advice="Learn it again.") from error
        if self._trees.num_feature() != len(FEATURES):
            raise BadModel("The ranker has another number of features.", advice="Learn it again.")
        self.depth = depth

    def scores(self, table: npt.NDArray[np.float32]) -> Scores:
        """See Ranker."""
        return np.asarray(self._trees.predict(table, num_threads=1), np.float64)


def open_ranker(part: Mapping[str, Any], directory: Path | None) -> Ranker:
    """Open the ranker that a release's part describes; `directory` holds its file when it has one.

    Raises:
        BadModel: it was learnt on other features, its weights are not finite, or its file cannot be read.
    """
    if tuple(part["features"]) != FEATURES:
        raise BadModel("The ranker was learnt on other features.", advice="Learn it again.")
    if part["kind"] == "linear":
        weights = tuple(float(weight) for weight in part["weights"])
        if len(weights) != len(FEATURES) or not np.isfinite(weights).all():
            raise BadModel("The ranker's weights are not one finite number a feature.", advice="Learn it again.")
        return LinearRanker(weights, part["depth"])
    if directory is None:
        raise BadModel("The ranker's file is missing.", advice="Restore it, or learn it again.")
    return TreeRanker((directory / MODEL_FILE).read_text(), part["depth"])
