"""The trusted judgements beside the documents that there are.

A query none of whose relevant documents its tenant has is answered equally badly by every release. Enough of them, and
no candidate could be proven better: they are left out, and counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaizen.records import Judgement

if TYPE_CHECKING:
    from kaizen.storage.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Trusted judgements, and what of them cannot be met.

    Attributes:
        judgements: without those of the queries that are left out.
        left_out: how many queries have relevant documents, none of which their tenant has.
        documents: how many documents are judged.
        missing: tenant -> ids of its judged documents that it does not have, sorted.
    """

    judgements: Sequence[Judgement]
    left_out: int
    documents: int
    missing: Mapping[str, Sequence[str]]


def trusted_with_documents(judgements: Sequence[Judgement], ledger: Ledger) -> Trusted:
    """Look the judged documents up in the ledger."""
    judged: dict[str, set[str]] = defaultdict(set)
    relevant: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in judgements:
        judged[one.tenant].add(one.document_id)
        if one.grade > 0:
            relevant[one.tenant, one.query_id].add(one.document_id)
    missing = {tenant: ids - ledger.documents.states(tenant, sorted(ids)).keys() for tenant, ids in judged.items()}
    left_out = {query for query, ids in relevant.items() if ids <= missing[query[0]]}
    return Trusted(
        judgements=[one for one in judgements if (one.tenant, one.query_id) not in left_out],
        left_out=len(left_out),
        documents=sum(len(ids) for ids in judged.values()),
        missing={tenant: sorted(ids) for tenant, ids in missing.items() if ids},
    )


def words_on_left_out(left_out: int) -> str:
    """Say that so many queries are left out; empty when none is."""
    if not left_out:
        return ""
    queries, have = ("One trusted query is", "its") if left_out == 1 else (f"{left_out} trusted queries are", "their")
    return f"{queries} left out, as {have} tenant has none of the relevant documents: see `kaizen trusted list`."
