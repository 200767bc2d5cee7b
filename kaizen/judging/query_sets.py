"""The queries that candidates are judged on: the trusted ones, and those of a data set, split by split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kaizen.evaluation.slices import Slices, by_length, by_metadata
from kaizen.records import Judgement

_RELEVANT = 0.3  # least probability of relevance that counts: below it, a click may have been an accident
_GRADES = 10  # a probability of 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query, who asks it, and its judged documents with their grades."""

    text: str
    tenant: str
    groups: tuple[str, ...] = ()
    grades: Mapping[str, int]

    @property
    def relevant(self) -> list[str]:
        """The documents with a grade above 0."""
        return [name for name, grade in self.grades.items() if grade > 0]


def trusted_queries(judgements: Iterable[Judgement], most: int) -> dict[str, Asked]:
    """Return `tenant/query` -> the query; at most `most`, chosen by a hash, so always the same ones."""
    texts: dict[str, tuple[str, str]] = {}
    grades: dict[str, dict[str, int]] = {}
    for one in judgements:
        name = f"{one.tenant}/{one.query_id}"
        texts[name] = (one.query, one.tenant)
        grades.setdefault(name, {})[one.document_id] = one.grade
    asked = {name: Asked(text=text, tenant=tenant, grades=grades[name]) for name, (text, tenant) in texts.items()}
    return _some(asked, most)


def dataset_queries(examples: pa.Table, split: str, most: int) -> dict[str, Asked]:
    """Return the queries of a split of a data set's examples, as `trusted_queries` does.

    A document's grade is ten times the probability that its best chunk is relevant, and 0 under three in ten.
    """
    asked: dict[str, Asked] = {}
    grades: dict[str, dict[str, int]] = {}
    columns = ["query_id", "query", "tenant", "groups", "split", "document_id", "label"]
    for row in examples.select(columns).to_pylist():
        if row["split"] != split:
            continue
        name, label = f"{row['tenant']}/{row['query_id']}", float(row["label"])
        grade = round(label * _GRADES) if label >= _RELEVANT else 0
        own = grades.setdefault(name, {})
        own[row["document_id"]] = max(grade, own.get(row["document_id"], 0))
        asked[name] = Asked(text=row["query"], tenant=row["tenant"], groups=tuple(row["groups"]), grades=own)
    return _some(asked, most)


def slices_of(asked: Mapping[str, Asked], rows: pa.Table) -> Slices:
    """Return the slices of queries by their length and by the metadata of their relevant documents.

    Args:
        rows: `tenant`, `document_id` and `metadata` (JSON) of all chunks.
    """
    relevant = {name: [f"{one.tenant}/{document}" for document in one.relevant] for name, one in asked.items()}
    wanted = {document for documents in relevant.values() for document in documents}
    metadata = {
        name: _metadata(row["metadata"])
        for row in rows.to_pylist()
        if (name := f"{row['tenant']}/{row['document_id']}") in wanted
    }
    lengths = by_length({name: one.text for name, one in asked.items()})
    return {**lengths, **by_metadata(relevant, metadata)}


def _some(asked: Mapping[str, Asked], most: int) -> dict[str, Asked]:
    """At most `most` of the queries for which something is relevant."""
    names: Collection[str] = [name for name, one in asked.items() if one.relevant]
    chosen = sorted(names, key=lambda name: hashlib.blake2b(name.encode()).digest())[:most]
    return {name: asked[name] for name in sorted(chosen)}


def _metadata(text: str) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text or "{}").items()
    }
