"""The best rows of a query's postings, found without scoring all: MaxScore in arrays.

Legend: rows = chunks of the segment, parts = the query's distinct terms, heaviest first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kaizen.retrieval.columns import Mask

# Of so many scores one can tell which are too low to be looked at; with so many spare ones, rarely of too many.
SAMPLE = 4096
SAMPLE_SPARE = 8
# So little is scored in one go where a bar is set: with four segments of 200 rows beside 97,500, words took 4.8 ms, and
# take 3.1.
SMALL_ROWS = 1 << 15
SMALL_POSTINGS = 1 << 13

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


class Part(NamedTuple):
    """A query term: the most that it can add to a score, and its postings in row order."""

    weight: float
    rows: Rows
    counts: npt.NDArray[np.uint16]


class Scratch:
    """Arrays of zeros, one float64 a row, kept for the next search: to make one costs a pass over all rows.

    Who takes one gives it back all zero again. As many are kept as searches ever ran at once.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._free: list[Floats] = []  # append and pop of a list are atomic

    def take(self) -> Floats:
        """Return (rows,) float64, all zero."""
        try:
            return self._free.pop()
        except IndexError:
            return np.zeros(self._rows)

    def give_back(self, zeros: Floats) -> None:
        """Keep `zeros`."""
        self._free.append(zeros)


class Scorer:
    """Finds the best rows without scoring all: MaxScore (Turtle and Flood, 1995), a term at a time.

    Terms come heaviest first, which are the rare ones. Once the k-th best score so far exceeds all that the remaining
    terms can add, no row that holds only those can be among the best: they are looked up in the rows found so far, and
    of these ever fewer, rather than walked through. Those are the words that half of all chunks hold.

    The k-th best score is not waited for: before a long list is walked, the best k rows so far are scored to the end.
    So what is walked grows with the rare terms' lists, not with the number of rows. Where another segment has set a bar
    already, hardly a row of this one is even looked at.
    """

    # Sums of floats in another order differ by less than this.
    SLACK = 1e-9
    # Walking a posting is this much cheaper than looking a row up in the postings of a term.
    LOOK_UP_COST = 6

    def __init__(self, scratch: Scratch, lengths: npt.NDArray[np.int32], base: float, slope: float, k: int) -> None:
        self._scratch = scratch
        self._lengths = lengths
        self._base = base
        self._slope = slope
        self._k = k

    def best(self, parts: list[Part], allowed: Mask | None, floor: float = 0.0) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return rows in order, among them the k best with a term that score at least `floor`, and their scores."""
        if parts and floor > 0 and self._small(parts):
            return self._in_one_go(parts, allowed, floor)
        rests = [math.fsum(part.weight for part in parts[i:]) + self.SLACK for i in range(len(parts) + 1)]
        if allowed is not None and self._few(allowed, parts):
            rows, done = np.flatnonzero(allowed), 0
            scores = np.zeros(len(rows))
        else:
            rows, scores, done, floor = self._walk(parts, rests, allowed, floor)
        for part, rest in zip(parts[done:], rests[done:], strict=False):
            if not len(rows):
                break
            floor = self._raised(floor, scores)
            kept = np.flatnonzero(scores >= floor - rest)
            rows, scores = rows.take(kept), scores.take(kept)
            scores += self._look_up(part, rows)
        return rows[scores > 0], scores[scores > 0]

    def _small(self, parts: list[Part]) -> bool:
        return len(self._lengths) <= SMALL_ROWS and sum(len(part.rows) for part in parts) <= SMALL_POSTINGS

    def _in_one_go(self, parts: list[Part], allowed: Mask | None, floor: float) -> tuple[npt.NDArray[np.int64], Floats]:
        """Score all rows, in the order in which `_walk` adds: where there are few, that is less than a look at each
        term, and of many that reach no bar the best would have to be found first."""
        held, counts = (
            np.concatenate(each) for each in zip(*((part.rows, part.counts) for part in parts), strict=True)
        )
        weights = np.repeat([part.weight for part in parts], [len(part.rows) for part in parts])
        scores = np.bincount(held, self._gains(weights, held, counts), len(self._lengths)).astype(
            np.float64, copy=False
        )
        reaching = scores >= floor
        rows = np.flatnonzero(reaching if allowed is None else reaching & allowed)
        return rows, scores.take(rows)

    def _few(self, allowed: Mask, parts: list[Part]) -> bool:
        cost = int(np.count_nonzero(allowed)) * len(parts) * self.LOOK_UP_COST
        return cost < sum(len(part.rows) for part in parts)

    def _walk(
        self, parts: list[Part], rests: list[float], allowed: Mask | None, floor: float
    ) -> tuple[npt.NDArray[np.int64], Floats, int, float]:
        """Score by whole terms for as long as new rows may matter.

        Return rows, their scores so far, how many terms were done, and what the k-th best score is at least.
        """
        partial = self._scratch.take()
        touched: list[npt.NDArray[np.int64]] = []
        leaders, walked = np.empty(0, np.int64), 0  # the best k rows of touched[:walked]
        done = 0
        while done < len(parts) and floor <= rests[done]:
            if len(parts[done].rows) > self.LOOK_UP_COST * self._k * (len(parts) - done):
                leaders, walked = self._leaders([leaders, *touched[walked:]], partial), len(touched)
                floor = max(floor, self._kth(self._completed(leaders, partial, parts[done:])))
                if floor > rests[done]:
                    break
            rows, gains = self._gained(parts[done], allowed)
            done += 1
            scores = partial.take(rows) + gains
            if floor > rests[done]:  # who cannot come up to the floor any more need not be remembered
                kept = np.flatnonzero(scores >= floor - rests[done])
                rows, scores = rows.take(kept), scores.take(kept)
            partial[rows] = scores
            touched.append(rows)
        if done == len(parts):  # nothing will be added: only the best k matter
            floor = max(floor, self._kth(partial.take(self._leaders([leaders, *touched[walked:]], partial))))
        found, scores = _take_out(partial, touched, floor - rests[done])
        self._scratch.give_back(partial)
        return found, scores, done, floor

    def _gained(self, part: Part, allowed: Mask | None) -> tuple[npt.NDArray[np.int64], Floats]:
        """The allowed rows that hold a term, and what it adds to each."""
        rows, counts = part.rows, part.counts
        if allowed is not None:
            kept = np.flatnonzero(allowed.take(rows))
            rows, counts = rows.take(kept), counts.take(kept)
        wide = rows.astype(np.int64)
        return wide, self._gains(part.weight, wide, counts)

    def _leaders(self, touched: list[npt.NDArray[np.int64]], partial: Floats) -> npt.NDArray[np.int64]:
        """The best k of these rows by their scores so far, in order; a few more where scores are equal."""
        return self._best(distinct(np.concatenate([self._best(rows, partial) for rows in touched])), partial)

    def _best(self, rows: npt.NDArray[np.int64], partial: Floats) -> npt.NDArray[np.int64]:
        if len(rows) <= self._k:
            return rows
        scores = partial.take(rows)
        return rows.take(np.flatnonzero(scores >= self._kth(scores)))

    def _completed(self, rows: npt.NDArray[np.int64], partial: Floats, parts: list[Part]) -> Floats:
        """The whole scores of `rows`, of which `parts` are not in `partial` yet."""
        scores: Floats = partial.take(rows)
        for part in parts:
            scores += self._look_up(part, rows)
        return scores

    def _gains(self, weight: float | Floats, rows: npt.NDArray[np.integer], counts: npt.NDArray[np.uint16]) -> Floats:
        gains: Floats = weight * counts / (counts + (self._base + self._slope * self._lengths.take(rows)))
        return gains

    def _look_up(self, part: Part, rows: npt.NDArray[np.int64]) -> Floats:
        few = len(rows) * self.LOOK_UP_COST < 2 * len(part.rows) + len(rows)
        counts = counts_at(part.rows, part.counts, rows) if few else self._spread(part, rows)
        return np.where(counts > 0, self._gains(part.weight, rows, np.maximum(counts, 1)), 0)

    def _spread(self, part: Part, rows: npt.NDArray[np.int64]) -> Floats:
        """As `counts_at`, for so many rows that it pays to lay the postings out first."""
        laid = self._scratch.take()
        laid[part.rows] = part.counts
        found: Floats = laid.take(rows)
        laid[part.rows] = 0
        self._scratch.give_back(laid)
        return found

    def _raised(self, floor: float, scores: Floats) -> float:
        """The k-th best score if it is above `floor`: to find it among the few above is cheaper than among all."""
        above = scores.compress(scores > floor)
        return max(floor, self._kth(above))

    def _kth(self, scores: Floats) -> float:
        return kth_best(scores, self._k) if len(scores) >= self._k else 0.0


def kth_best(scores: Floats, k: int) -> float:
    """The k-th best of at least k scores. Most of many are seen to be too low by a sample: to partition all would take
    ten times as long as to compare them."""
    step = len(scores) // SAMPLE
    place = k // max(1, step) + SAMPLE_SPARE
    if step > 1 and place < SAMPLE:
        guess = np.partition(scores[::step], -place)[-place]
        above = scores.compress(scores > guess)
        if len(above) >= k:
            scores = above
        elif int(np.count_nonzero(scores >= guess)) >= k:
            return float(guess)
    return float(np.partition(scores, -k)[-k])


def _take_out(
    partial: Floats, touched: list[npt.NDArray[np.int64]], least: float
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the touched rows whose score is at least `least`, each once and in order, and their scores.

    `partial` is all zero afterwards.
    """
    found = [np.empty(0, np.int64)]
    for rows in touched:
        found.append(rows.take(np.flatnonzero(partial.take(rows) >= max(least, np.finfo(float).tiny))))
    best = distinct(np.concatenate(found))
    scores: Floats = partial.take(best)
    for rows in touched:
        partial[rows] = 0
    return best, scores


def distinct(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return `rows` sorted, each once: six times as fast as np.unique on a few hundred."""
    ordered = np.sort(rows)
    return ordered.compress(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])


def counts_at(held: Rows, counts: npt.NDArray[np.uint16], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
    """Return the count of each of `rows` in postings (`held`, `counts`), 0 where it has none."""
    if not len(held):
        return np.zeros(len(rows), np.uint16)
    at = np.minimum(np.searchsorted(held, rows.astype(np.int32)), len(held) - 1)
    return np.where(held.take(at) == rows, counts.take(at), np.uint16(0))
