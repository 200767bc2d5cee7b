"""One place in a ranking, and the answer of a shard that ranks by itself."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple


class Ranked(NamedTuple):
    """Candidate `number` of shard `shard`, with the parts of its score.

    `text` is its row when it travelled with the answer; otherwise it must be fetched from (segment, row). A tuple,
    because ten of them travel with an answer: a tuple is read in a tenth of the time.
    """

    shard: int
    number: int
    segment: str
    row: int
    score: float
    dense: float
    lexical: float
    cosine: float | None
    bm25: float | None
    frequencies: tuple[float, ...]
    features: tuple[float, ...]
    text: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalAnswer:
    """The result itself, of a shard that is the whole index: places, best first, each with its text.

    seq, index, waited_s: as of ShardAnswer.
    """

    seq: int
    ranked: tuple[Ranked, ...]
    index: str = ""
    waited_s: float = 0.0

    def pickled(self) -> bytes:
        """What travels back to the gateway."""
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)
