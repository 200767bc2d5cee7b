"""What a search found, and for each place in it who put it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaizen.ids import chunk_id
from kaizen.records import ShownChunk, Team
from kaizen.retrieval.ranked import Ranked
from serve_apps.served import Fingerprints


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A ranked chunk with its row (`item.text`, chunk_table.SHOWN).

    terms: of the query, as its search counted them. release: whose search found it; team and propensity as in
    ShownChunk.
    """

    item: Ranked
    terms: tuple[str, ...]
    release: str
    team: Team = ""
    propensity: float = 1.0

    @property
    def document_id(self) -> str:
        """Of the chunk's document."""
        return str((self.item.text or {})["document_id"])

    @property
    def chunk_id(self) -> str:
        """Of the chunk."""
        return chunk_id(self.document_id, (self.item.text or {})["ordinal"])

    def shown(self, position: int) -> ShownChunk:
        """As an impression records it at `position` (from 1)."""
        return ShownChunk(
            chunk_id=self.chunk_id,
            document_id=self.document_id,
            position=position,
            score=self.item.score,
            dense=self.item.cosine,
            lexical=self.item.bm25,
            propensity=self.propensity,
            team=self.team,
            features=self.item.features,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Places, best first, and what the response must say of itself.

    used: release -> stage -> fingerprint of what did the work, in the stage's own word.
    """

    places: tuple[Place, ...]
    index_seq: int
    coverage: float
    degraded: tuple[str, ...]
    used: Mapping[str, Fingerprints]
