"""The lexical index of one segment (BM25): immutable postings that share row numbers with the segment.

Legend: rows = chunks of the segment, terms = its distinct terms, postings = its distinct (term, row) pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kaizen.errors import Corrupt
from kaizen.retrieval.columns import Mask
from kaizen.retrieval.max_score import Floats, Part, Rows, Scorer, Scratch, counts_at

# Chunks times terms that are scored in one go: two arrays of float64, which a processor's cache should hold.
BLOCK = 1 << 17

_ARRAYS = {"starts": np.int64, "rows": np.int32, "counts": np.uint16, "lengths": np.int32}


@dataclass(frozen=True, slots=True, kw_only=True)
class TermStatistics:
    """What BM25 needs to know of a set of chunks; sets that do not overlap add up with `+`.

    Attributes:
        documents: chunks in the set.
        total_length: terms in them, repeats included.
        document_frequencies: for each distinct query term, in the query's order, how many of the chunks hold it.
        repeats: how often the query has each of them; empty: once.
    """

    documents: int
    total_length: int
    document_frequencies: tuple[int, ...]
    repeats: tuple[int, ...] = ()

    def __add__(self, other: TermStatistics) -> TermStatistics:
        pairs = zip(self.document_frequencies, other.document_frequencies, strict=True)
        return TermStatistics(
            documents=self.documents + other.documents,
            total_length=self.total_length + other.total_length,
            document_frequencies=tuple(a + b for a, b in pairs),
            repeats=self.repeats,
        )

    @property
    def mean_length(self) -> float:
        """Terms per chunk; 1 for an empty set, so that it can be divided by."""
        return self.total_length / self.documents if self.total_length else 1.0

    def inverse_frequencies(self) -> list[float]:
        """Return ln(1 + (N - df + 0.5) / (df + 0.5)) for each query term: above 0 even when all chunks hold it."""
        return [math.log1p((self.documents - df + 0.5) / (df + 0.5)) for df in self.document_frequencies]

    def weights(self) -> list[float]:
        """Return the idf of each query term, as often as the query has it."""
        return [count * idf for count, idf in zip(self.counts, self.inverse_frequencies(), strict=True)]

    @property
    def counts(self) -> tuple[int, ...]:
        """How often the query has each term."""
        return self.repeats or (1,) * len(self.document_frequencies)

    def limit(self) -> float:
        """Return what BM25 is divided by to be compared with a cosine: a score that no chunk reaches.

            (sum of idf)^2 / (sum of idf^2) * ln(1 + N), over the query's terms that occur; 0 when none does

        The first factor is how many terms the query has in effect (rare ones count, common ones hardly); the second
        bounds the idf of any term. So it is the score that a chunk would have at most if each of them were the
        rarest of words, and a query of common words, which say little, is far from it whatever a chunk holds.
        """
        terms = zip(self.counts, self.inverse_frequencies(), self.document_frequencies, strict=True)
        known = [(count, idf) for count, idf, df in terms if df > 0]
        total = math.fsum(count * idf for count, idf in known)
        squares = math.fsum(count * (idf * idf) for count, idf in known)
        return total**2 / squares * math.log1p(self.documents) if known else 0.0


def bm25(
    frequencies: npt.NDArray[np.generic],
    lengths: npt.NDArray[np.generic],
    statistics: TermStatistics,
    k1: float,
    b: float,
) -> Floats:
    """Return the BM25 score of each of n chunks, (n,) float64.

        sum over the query's terms t of  idf(t) * tf / (tf + k1 * (1 - b + b * length / mean length))

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), eq. 3.15, with the
    idf and without the constant factor (k1 + 1), as Lucene has it since version 8. A term that the query repeats
    counts as often. The score of a chunk depends on nothing but its own row and the statistics: terms are added one
    at a time, in order.

    Args:
        frequencies: (n, distinct query terms): how often each chunk holds each of them.
        lengths: (n,): terms in each chunk, repeats included.
        statistics: over the chunks that the caller may see.
    """
    norms = np.maximum(k1 * (1 - b + b * lengths.astype(np.float64) / statistics.mean_length), 1e-12)  # 0 / 0: k1 of 0
    weights = statistics.weights()
    step = max(1, BLOCK // max(1, len(weights)))
    if len(lengths) <= step:
        return _scores(frequencies, norms, weights)
    starts = range(0, len(lengths), step)
    blocks = (_scores(frequencies[i : i + step], norms[i : i + step], weights) for i in starts)
    return np.concatenate(list(blocks))


def _scores(frequencies: npt.NDArray[np.generic], norms: Floats, weights: Sequence[float]) -> Floats:
    counts = np.ascontiguousarray(frequencies.T, np.float64)  # (terms, n)
    gains = counts / (counts + norms)
    scores = np.zeros(len(norms))
    for gain, weight in zip(gains, weights, strict=True):
        scores += weight * gain  # not a matrix product: its rounding would depend on n
    return scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LexicalIndex:
    """Postings in CSR form, sorted by term and then by row; build, load or merge one rather than construct it.

    Attributes:
        vocabulary: term -> its number; numbers follow the terms' order.
        starts: (terms + 1,) int64: term i has postings[starts[i] : starts[i + 1]].
        rows: (postings,) int32.
        counts: (postings,) uint16: how often the row holds the term, at most 65,535.
        lengths: (rows,) int32: terms in each row, repeats included.
    """

    vocabulary: dict[str, int]
    starts: npt.NDArray[np.int64]
    rows: Rows
    counts: npt.NDArray[np.uint16]
    lengths: npt.NDArray[np.int32]
    _scratch: Scratch = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scratch", Scratch(len(self.lengths)))

    @classmethod
    def build(cls, texts: Sequence[Sequence[str]]) -> LexicalIndex:
        """Index `texts`, the analysed chunks in row order."""
        lengths = np.fromiter((len(terms) for terms in texts), dtype=np.int32, count=len(texts))
        numbers: dict[str, int] = {}
        flat = np.fromiter(
            (numbers.setdefault(term, len(numbers)) for terms in texts for term in terms), np.int64, int(lengths.sum())
        )
        vocabulary, rank = _sorted_vocabulary(numbers)
        pairs = rank[flat] * max(1, len(texts)) + np.repeat(np.arange(len(texts)), lengths)
        distinct, counts = np.unique(pairs, return_counts=True)
        return cls._of_pairs(vocabulary, distinct, counts, lengths)

    @classmethod
    def merge(cls, parts: Sequence[LexicalIndex], keeps: Sequence[Mask]) -> LexicalIndex:
        """Return the index of the kept rows of `parts`, numbered one after the other; texts are not needed."""
        names = sorted(set().union(*(part.vocabulary for part in parts)))
        vocabulary = {term: number for number, term in enumerate(names)}
        lengths = np.concatenate([part.lengths[keep] for part, keep in zip(parts, keeps, strict=True)])
        pairs, counts, base = [], [], 0
        for part, keep in zip(parts, keeps, strict=True):
            alive = keep[part.rows]
            renumbered = base + np.cumsum(keep, dtype=np.int64) - 1
            numbers = np.fromiter((vocabulary[term] for term in part.vocabulary), np.int64, len(part.vocabulary))
            terms = np.repeat(numbers, np.diff(part.starts))
            pairs.append(terms[alive] * max(1, len(lengths)) + renumbered[part.rows[alive]])
            counts.append(part.counts[alive])
            base += int(keep.sum())
        flat = np.concatenate(pairs)
        order = np.argsort(flat, kind="stable")
        return cls._of_pairs(vocabulary, flat[order], np.concatenate(counts)[order], lengths)

    @classmethod
    def _of_pairs(
        cls,
        vocabulary: dict[str, int],
        pairs: npt.NDArray[np.int64],
        counts: npt.NDArray[np.generic],
        lengths: npt.NDArray[np.int32],
    ) -> LexicalIndex:
        """Make the index of sorted `pairs` = term * rows + row; terms that no row holds are dropped."""
        terms, rows = np.divmod(pairs, max(1, len(lengths)))
        held = np.bincount(terms, minlength=len(vocabulary))
        kept = (term for term, count in zip(vocabulary, held, strict=True) if count)
        return cls(
            vocabulary={term: number for number, term in enumerate(kept)},
            starts=np.concatenate([[0], np.cumsum(held[held > 0])]).astype(np.int64),
            rows=rows.astype(np.int32),
            counts=np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16),
            lengths=lengths.astype(np.int32),
        )

    def save(self, directory: Path) -> None:
        """Write `lexical_*.npy` and `lexical_terms.arrow` into `directory`, which exists."""
        for name in _ARRAYS:
            np.save(_path(directory, name), getattr(self, name), allow_pickle=False)
        table = pa.table({"term": pa.array(list(self.vocabulary), pa.large_string())})
        with pa.OSFile(str(_path(directory, "terms")), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

    @classmethod
    def load(cls, directory: Path) -> LexicalIndex:
        """Map what `save` wrote; raise Corrupt when files are missing, of another type, or disagree."""
        try:
            arrays = {name: _mapped(_path(directory, name)) for name in _ARRAYS}
            with pa.memory_map(str(_path(directory, "terms"))) as source:
                terms = pa.ipc.open_file(source).read_all()["term"].to_pylist()
        except (OSError, ValueError, EOFError, KeyError, pa.ArrowInvalid) as error:
            raise _corrupt(directory, type(error).__name__) from error
        if any(arrays[name].dtype != dtype or arrays[name].ndim != 1 for name, dtype in _ARRAYS.items()):
            raise _corrupt(directory, "an array has another type")
        sizes = len(arrays["starts"]) - 1, int(arrays["starts"][-1]), len(arrays["counts"])
        if sizes != (len(terms), len(arrays["rows"]), len(arrays["rows"])):
            raise _corrupt(directory, "the sizes disagree")
        return cls(vocabulary={term: number for number, term in enumerate(terms)}, **arrays)

    def document_frequency(self, term: str, visible: Mask | None = None) -> int:
        """Return how many rows hold `term`, of those of the mask `visible` (None: all)."""
        held = self._postings(term)[0]
        return len(held) if visible is None else int(np.count_nonzero(visible.take(held)))

    def statistics(self, terms: Sequence[str], visible: Mask | None = None) -> TermStatistics:
        """Return what BM25 needs for `terms`, over the rows of the mask `visible` (None: all)."""
        lengths = self.lengths if visible is None else self.lengths[visible]
        return TermStatistics(
            documents=len(lengths),
            total_length=int(lengths.sum()),
            document_frequencies=tuple(self.document_frequency(term, visible) for term in terms),
        )

    def top(
        self,
        terms: Sequence[str],
        statistics: TermStatistics,
        allowed: Mask | None,
        k: int,
        *,
        k1: float,
        b: float,
        floor: float = 0.0,
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Return the k best rows by BM25 and their scores, best first, equal ones by row.

        Args:
            terms: distinct.
            statistics: over whatever set the scores are to be relative to, aligned with `terms`.
            allowed: (rows,) mask of what may be returned; None: all.
            k: at least 1. Fewer rows come back only when fewer than k are allowed, hold a term, and reach `floor`.
            floor: rows that score less are not wanted; some may come back all the same.
        """
        weights = statistics.weights()
        parts = [Part(weight, *self._postings(term)) for term, weight in zip(terms, weights, strict=True)]
        held = sorted((part for part in parts if len(part.rows)), key=lambda part: -part.weight)
        scorer = Scorer(self._scratch, self.lengths, k1 * (1 - b), k1 * b / statistics.mean_length, k)
        rows, scores = scorer.best(held, allowed, floor)
        if len(rows) > k:  # to sort them all can cost more than to have found them
            best = scores >= np.partition(scores, -k)[-k]
            rows, scores = rows[best], scores[best]
        order = np.argsort(-scores, kind="stable")[:k]
        return rows[order].astype(np.int32), scores[order].astype(np.float32)

    def frequencies(self, terms: Sequence[str], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
        """Return how often each of `rows` holds each of `terms`: (len(rows), len(terms)) uint16."""
        order = np.argsort(rows, kind="stable")  # neighbouring look-ups share cache lines
        result = np.empty((len(rows), len(terms)), np.uint16)
        ordered = rows[order]
        for column, term in enumerate(terms):
            result[order, column] = counts_at(*self._postings(term), ordered)
        return result

    def _postings(self, term: str) -> tuple[Rows, npt.NDArray[np.uint16]]:
        number = self.vocabulary.get(term)
        span = slice(0, 0) if number is None else slice(int(self.starts[number]), int(self.starts[number + 1]))
        return self.rows[span], self.counts[span]


def _sorted_vocabulary(numbers: dict[str, int]) -> tuple[dict[str, int], npt.NDArray[np.int64]]:
    """Return the terms numbered in their order, and old number -> new number."""
    names = sorted(numbers)
    rank = np.empty(len(names), np.int64)
    rank[[numbers[name] for name in names]] = np.arange(len(names))
    return {name: number for number, name in enumerate(names)}, rank


def _mapped(path: Path) -> npt.NDArray[Any]:
    """Map a .npy file as a plain array: slicing a `memmap` costs ten times as much."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _path(directory: Path, name: str) -> Path:
    return directory / f"lexical_{name}{'.arrow' if name == 'terms' else '.npy'}"


def _corrupt(directory: Path, reason: str) -> Corrupt:
    return Corrupt(
        f"The lexical index in {directory.name} cannot be read: {reason}.",
        advice="Serve the previous segment, or rebuild this one from the ledger.",
    )
