"""Does a candidate that is better on average leave somebody behind? The same comparison on parts of the queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import stdtrit

from kaizen.records import MetadataValue

Slices = Mapping[str, frozenset[str]]
MIN_QUERIES = 10  # fewer say nothing of a mean
_LEVEL = 0.95
_LENGTHS = ((3, "1 to 3 words"), (8, "4 to 8 words"), (None, "9 words or more"))
_MOST_VALUES = 20  # of one field; one with more is a name or a number, not a group


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceResult:
    """One slice. `low`, `high`: t interval of the difference that holds for all slices at once with 95 %."""

    name: str
    queries: int
    difference: float
    low: float
    high: float

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(self).items()}


def by_length(queries: Mapping[str, str]) -> Slices:
    """Put each query (id -> text) in the slice of its length."""
    return _grouped((f"query length = {_length(text)}", name) for name, text in queries.items())


def by_metadata(relevant: Mapping[str, Collection[str]], metadata: Mapping[str, Mapping[str, MetadataValue]]) -> Slices:
    """Put each query in the slices `field = value` of its relevant documents' metadata.

    Args:
        relevant: query -> relevant documents.
        metadata: document -> field -> value. Numbers, and fields with more than 20 values, make no slices.
    """
    pairs = {
        (field, value, query)
        for query, documents in relevant.items()
        for document in documents
        for field, held in metadata.get(document, {}).items()
        for value in _values(held)
    }
    values: dict[str, set[str]] = defaultdict(set)
    for field, value, _ in pairs:
        values[field].add(value)
    return _grouped((f"{f} = {v}", query) for f, v, query in sorted(pairs) if len(values[f]) <= _MOST_VALUES)


def compare_slices(differences: Mapping[str, float], slices: Slices) -> list[SliceResult]:
    """Compare on every slice with at least 10 queries and not all of them; the worst first.

    Bonferroni over the slices, so that one of many does not look bad by chance.
    """
    parts = {name: sorted(queries & differences.keys()) for name, queries in slices.items()}
    parts = {name: part for name, part in parts.items() if MIN_QUERIES <= len(part) < len(differences)}
    level = 1 - (1 - _LEVEL) / max(1, len(parts))
    found = [_compared(name, [differences[query] for query in part], level) for name, part in parts.items()]
    return sorted(found, key=lambda result: (result.high, result.name))


def _compared(name: str, values: Collection[float], level: float) -> SliceResult:
    sample = np.array(values, np.float64)
    mean = float(sample.mean())
    # A slice of equal values has no spread: the t interval would be a point however few they are.
    spread = max(float(sample.std(ddof=1)), 1 / (2 * len(sample)))
    reach = float(stdtrit(len(sample) - 1, (1 + level) / 2)) * spread / sqrt(len(sample))
    return SliceResult(name=name, queries=len(sample), difference=mean, low=mean - reach, high=mean + reach)


def _grouped(pairs: Iterable[tuple[str, str]]) -> Slices:
    groups: dict[str, set[str]] = defaultdict(set)
    for name, query in pairs:
        groups[name].add(query)
    return {name: frozenset(queries) for name, queries in groups.items()}


def _length(text: str) -> str:
    words = len(text.split())
    return next(name for most, name in _LENGTHS if most is None or words <= most)


def _values(held: MetadataValue) -> tuple[str, ...]:
    if isinstance(held, bool):
        return (str(held).lower(),)
    if isinstance(held, str):
        return (held,)
    return held if isinstance(held, tuple) else ()
