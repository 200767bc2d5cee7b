"""A ranked chunk as the API shows it, with where its score came from when that was asked for."""

from __future__ import annotations

import json

from kaizen.ids import chunk_id
from kaizen.retrieval.ranked import Ranked
from serve_apps.places import Place
from serve_apps.schemas import Explanation, Hit


def hit_of(position: int, place: Place, explain: bool, interleaved: bool) -> Hit:
    """The hit at `position` (from 1); its text is there by now."""
    item, row = place.item, place.item.text or {}
    return Hit(
        position=position,
        chunk_id=chunk_id(row["document_id"], row["ordinal"]),
        document_id=row["document_id"],
        title=row["title"],
        text=row["text"],
        start=row["start"],
        end=row["end"],
        score=item.score,
        source=row["source"],
        metadata=json.loads(row["metadata"]),
        release=place.release if interleaved else None,
        explain=_explanation(item, place.terms) if explain else None,
    )


def _explanation(item: Ranked, terms: tuple[str, ...]) -> Explanation:
    held = {term: count for term, count in zip(terms, item.frequencies, strict=False) if count}
    return Explanation(
        cosine=item.cosine, bm25=item.bm25, dense_part=item.dense, lexical_part=item.lexical, matched_terms=held
    )
