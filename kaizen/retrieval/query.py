"""One query on one shard: candidates with everything that an exact global ranking needs, in one round trip.

A shard picks its best `depth` rows by cosine and its best `depth` by BM25 under its own statistics. Where there are
several, the gateway then scores all candidates again, under statistics summed over the shards: term frequencies and
lengths travel with the candidates, so the ranking does not depend on how documents were split (a test holds this).
"""

from __future__ import annotations

import functools
import math
import operator
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kaizen.config import Retrieval
from kaizen.records import FieldType, Principal
from kaizen.retrieval.filters import Filter
from kaizen.retrieval.fusion import Fused, Mode, fuse
from kaizen.retrieval.lexical import TermStatistics, bm25
from kaizen.retrieval.max_score import distinct
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import LiveSegment, View
from kaizen.retrieval.visible import Visible

# More distinct terms of a query are not looked up: 300 pasted words of English have some 170.
MOST_WORDS = 256
# Scores of one row, by another way or in 32 bits, differ by less.
SLACK = 1e-4
_NOTHING = np.empty(0, np.int64), np.empty(0, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardQuery:
    """What a gateway asks of a shard.

    vector: (dim,) float32, normalised; not read in mode lexical. None while it is being made: a shard can begin.
    terms: analysed query, with repeats; not read in mode dense.
    types: of the fields that `condition` tests. texts: how many of the best candidates should bring their text.
    final: of a shard that is the whole index, how many places the result has: it ranks them itself. 0: it does not.
    """

    mode: Mode
    vector: np.ndarray | None
    terms: tuple[str, ...]
    principal: Principal
    condition: Filter | None
    types: Mapping[str, FieldType]
    settings: Retrieval
    depth: int
    texts: int
    final: int = 0

    @property
    def words(self) -> dict[str, int]:
        """The distinct terms that count, in order, and how often the query has each; columns of `frequencies`.

        Of a long query they are the first, as an embedder reads no more than its first tokens: which are the rarest
        is known to each shard for itself, and a ranking must not depend on how documents are split.
        """
        counted: dict[str, int] = {}
        for term in self.terms:
            if term in counted or len(counted) < MOST_WORDS:
                counted[term] = counted.get(term, 0) + 1
        return counted

    def pickled(self) -> bytes:
        """What travels to the shards. Made once for all of them, and by the plain pickler: Ray's own is slower."""
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)

    def with_vector(self, content: bytes) -> ShardQuery:
        """The same with what `vector_bytes` made, in this mode; of no bytes, by words alone."""
        vector = vector_of(content)
        return replace(self, vector=vector, mode=self.mode if vector is not None else "lexical")

    @classmethod
    def unpickled(cls, pickled: bytes) -> ShardQuery:
        """The inverse of `pickled`; only for bytes of our own gateways."""
        query: ShardQuery = pickle.loads(pickled)  # noqa: S301 (as Ray would: from an actor of the same cluster)
        return query


def vector_bytes(vector: np.ndarray | None) -> bytes:
    """How a vector (dim,) float32 travels behind its query; no bytes when there is none to be had."""
    return b"" if vector is None else vector.tobytes()


def vector_of(content: bytes) -> np.ndarray | None:
    """The inverse of `vector_bytes`."""
    return np.frombuffer(content, np.float32) if content else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """n rows that may be among the best. `segments[segment[i]]` and `row[i]` say where candidate i lies.

    key (n,) uint64 stands for its document; ordinal (n,) int32; cosine (n,) float32; frequencies (n, words);
    lengths (n,) int32 in terms.
    """

    segments: tuple[str, ...]
    segment: np.ndarray
    row: np.ndarray
    key: np.ndarray
    ordinal: np.ndarray
    cosine: np.ndarray
    frequencies: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def kept(self, keep: np.ndarray) -> Candidates:
        """Those of the mask `keep` (n,)."""
        arrays = ("segment", "row", "key", "ordinal", "cosine", "frequencies", "lengths")
        return replace(self, **{name: getattr(self, name)[keep] for name in arrays})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAnswer:
    """A shard's part of a result. `texts` maps a candidate's number to its row (chunk_table.SHOWN).

    index: id of the index that the shard is of, in its own word. waited_s: for `min_seq`, before it began.
    """

    seq: int
    statistics: TermStatistics
    candidates: Candidates
    texts: dict[int, dict[str, Any]]
    index: str = ""
    waited_s: float = 0.0

    def pickled(self) -> bytes:
        """What travels back to the gateway."""
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)


def search(view: View, query: ShardQuery) -> ShardAnswer:
    """Answer `query` from `view`; pure, and safe in many threads at once."""
    return begin(view, query).end(query)


def begin(view: View, query: ShardQuery) -> Begun:
    """Do all that needs no vector: what the caller may see, the filter, and the best rows by words."""
    scopes = [_Scope.of(live, query) for live in view.segments]
    statistics = _statistics(scopes, query)
    by_words = _best_of_all(scopes, query.depth, lambda scope, floor: _best_by_words(scope, query, statistics, floor))
    return Begun(seq=view.seq, scopes=scopes, statistics=statistics, by_words=by_words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A search that waits for its vector. `by_words` holds rows for each of `scopes`."""

    seq: int
    scopes: list[_Scope]
    statistics: TermStatistics
    by_words: list[np.ndarray]

    def end(self, query: ShardQuery) -> ShardAnswer:
        """The answer to what was begun, now with its vector; or by words alone."""
        by_vector = _best_of_all(self.scopes, query.depth, lambda scope, _: _best_by_vector(scope, query))
        rows = [distinct(np.concatenate(both)) for both in zip(by_vector, self.by_words, strict=True)]
        candidates = _gather(self.scopes, rows, query)
        if len(self.scopes) > 1:
            candidates = _keep_deepest(candidates, query, self.statistics)
        return ShardAnswer(
            seq=self.seq,
            statistics=self.statistics,
            candidates=candidates,
            texts=_texts(self.scopes, candidates, query, self.statistics),
        )


def fetch(segments: dict[str, Segment], places: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Rows by (segment name, row), as `Segment.show` gives them: of candidates that are shown and have no text yet."""
    return [segments[name].show([row])[0] for name, row in places]


@dataclass(frozen=True, slots=True)
class _Scope:
    """A segment with the rows that this caller may see, and of those the ones that the filter admits."""

    segment: Segment
    visible: Visible
    allowed: np.ndarray | None  # None: all rows

    @classmethod
    def of(cls, live: LiveSegment, query: ShardQuery) -> _Scope:
        visible = live.visible_to(query.principal)
        if query.condition is None:
            return cls(live.segment, visible, visible.mask)
        matching = live.segment.matching(query.condition, query.types)
        return cls(live.segment, visible, matching if visible.mask is None else visible.mask & matching)


def score(
    candidates: Candidates, statistics: TermStatistics, mode: Mode, settings: Retrieval
) -> tuple[Fused, np.ndarray]:
    """Scores of the candidates, and BM25 (n,), under `statistics`: a shard's own, or those of all shards together."""
    lexical = bm25(candidates.frequencies, candidates.lengths, statistics, settings.bm25_k1, settings.bm25_b)
    return fuse(candidates.cosine, lexical, mode, settings, limit=statistics.limit()), lexical


def in_order(scores: np.ndarray, key: np.ndarray, ordinal: np.ndarray) -> np.ndarray:
    """Numbers of the candidates, best first. Equal scores stand by document and ordinal, so that the order is the same
    however documents are split; all (n,)."""
    return np.lexsort((ordinal, key, -scores))


def _statistics(scopes: Sequence[_Scope], query: ShardQuery) -> TermStatistics:
    words = query.words
    repeats = tuple(words.values())
    nothing = TermStatistics(documents=0, total_length=0, document_frequencies=(0,) * len(words), repeats=repeats)
    return functools.reduce(operator.add, (scope.visible.statistics(list(words)) for scope in scopes), nothing)


def _best_of_all(
    scopes: Sequence[_Scope], depth: int, best: Callable[[_Scope, float], tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """Rows of each segment, among them the best `depth` of all. The largest goes first and sets a bar that hardly a row
    of the others reaches: those need not be compared, scored again or sent.

    Args:
        best: gives rows of a segment and their scores, at least its best `depth` of those that score at least a floor.
    """
    found = [np.empty(0, np.int64)] * len(scopes)
    scored: list[np.ndarray] = []
    for number in sorted(range(len(scopes)), key=lambda number: -scopes[number].segment.rows):
        floor = _floor(scored, depth)
        rows, scores = best(scopes[number], floor)
        reaching = scores >= floor
        found[number] = rows[reaching]
        scored.append(scores[reaching])
    return found


def _floor(scored: Sequence[np.ndarray], depth: int) -> float:
    """What a row must score to be among the best `depth`; below all where there are not so many yet."""
    if sum(map(len, scored)) < depth:
        return -math.inf
    return float(np.partition(np.concatenate(scored), -depth)[-depth]) - SLACK


def _best_by_vector(scope: _Scope, query: ShardQuery) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one segment, the best by cosine, and that."""
    if query.mode == "lexical" or query.vector is None:
        return _NOTHING
    return scope.segment.vectors.top(query.vector, query.depth, scope.allowed)


def _best_by_words(
    scope: _Scope, query: ShardQuery, statistics: TermStatistics, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one segment, the best by BM25, and that."""
    if query.mode == "dense":
        return _NOTHING
    k1, b = query.settings.bm25_k1, query.settings.bm25_b
    words, depth = list(query.words), query.depth
    return scope.segment.lexical.top(words, statistics, scope.allowed, depth, k1=k1, b=b, floor=max(floor, 0.0))


def _keep_deepest(candidates: Candidates, query: ShardQuery, statistics: TermStatistics) -> Candidates:
    """With several segments, keep what is among the shard's best `depth` by either signal, not each segment's."""
    keep = np.zeros(len(candidates), bool)
    if query.mode != "lexical":
        keep[_best(candidates.cosine, query.depth)] = True
    if query.mode != "dense":
        settings = query.settings
        lexical = bm25(candidates.frequencies, candidates.lengths, statistics, settings.bm25_k1, settings.bm25_b)
        keep[_best(lexical, query.depth)] = True
    return candidates.kept(keep)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:count]


def _cosines(scope: _Scope, rows: np.ndarray, query: ShardQuery) -> np.ndarray:
    if query.mode == "lexical" or query.vector is None:
        return np.zeros(len(rows), np.float32)
    return scope.segment.vectors.cosines(query.vector, rows)


def _gather(scopes: list[_Scope], rows: list[np.ndarray], query: ShardQuery) -> Candidates:
    pairs = [pair for pair in zip(scopes, rows, strict=True) if len(pair[1])]
    words = list(query.words)
    return Candidates(
        segments=tuple(scope.segment.name for scope in scopes),
        segment=_join((np.full(len(r), i, np.int32) for i, r in enumerate(rows)), np.int32),
        row=_join(rows, np.int64),
        key=_join((s.segment.keys[r] for s, r in pairs), np.uint64),
        ordinal=_join((s.segment.ordinals[r] for s, r in pairs), np.int32),
        cosine=_join((_cosines(s, r, query) for s, r in pairs), np.float32),
        frequencies=np.concatenate(
            [np.zeros((0, len(words)), np.uint16), *(s.segment.lexical.frequencies(words, r) for s, r in pairs)]
        ),
        lengths=_join((s.segment.lexical.lengths[r] for s, r in pairs), np.int32),
    )


def _join(parts: Sequence[np.ndarray] | Iterator[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


def _texts(
    scopes: list[_Scope], candidates: Candidates, query: ShardQuery, statistics: TermStatistics
) -> dict[int, dict[str, Any]]:
    if not query.texts:
        return {}
    fused, _ = score(candidates, statistics, query.mode, query.settings)
    chosen = in_order(fused.scores, candidates.key, candidates.ordinal)[: query.texts]
    texts: dict[int, dict[str, Any]] = {}
    for number, scope in enumerate(scopes):
        own = chosen[candidates.segment[chosen] == number]
        texts |= zip(own.tolist(), scope.segment.show(candidates.row[own].tolist()), strict=True)
    return texts
