"""What was prepared moments ago: copies of a shard ask for the same documents, and must get the same rows."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import inf

import pyarrow as pa

from kaizen.indexing.prepare import Prepared
from kaizen.records import Document

REMEMBERED_DOCUMENTS = 512
# Copies ask within moments of each other; whoever writes a document again after this, has it embedded again.
REFUSED_SECONDS = 60.0

_Key = tuple[str, str, str]  # tenant, id, content


@dataclass(frozen=True, slots=True)
class _Made:
    """`rows`: those of one document, none when it was refused; `until`: of the clock."""

    rows: pa.Table
    refused: bool
    until: float


class Remembered:
    """Prepares documents, each once for all that ask within a while. For one thread at a time.

    Args:
        prepare: cuts and embeds.
        tell: is told of the documents that somebody asks for, and which of them were refused: what is remembered must
            be on record, too, whoever deleted the document and wrote it again meanwhile.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[Document]], Prepared],
        tell: Callable[[Sequence[Document], Set[tuple[str, str]]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prepare = prepare
        self._tell = tell
        self._clock = clock
        self._made: OrderedDict[_Key, _Made] = OrderedDict()

    def rows(self, documents: Sequence[Document]) -> pa.Table:
        """Chunk rows with `vector` of `documents` in order, without those that were refused."""
        keys = [(d.tenant, d.id, d.content_sha256()) for d in documents]
        known = {key: self._made[key] for key in keys if key in self._made and self._made[key].until > self._clock()}
        made = self._make({key: d for key, d in zip(keys, documents, strict=True) if key not in known})
        found = known | made
        self._remember(made)  # first: where the ledger refuses, the same is asked for again and again
        self._tell(documents, {(tenant, name) for (tenant, name, _), one in found.items() if one.refused})
        return pa.concat_tables([found[key].rows for key in keys])

    def _make(self, documents: Mapping[_Key, Document]) -> dict[_Key, _Made]:
        if not documents:
            return {}
        done = self._prepare(list(documents.values()))
        names = done.table.column("document_id").to_pylist()
        tenants = done.table.column("tenant").to_pylist()
        made = {}
        for key in documents:
            tenant, name, _ = key
            own = [t == tenant and n == name for t, n in zip(tenants, names, strict=True)]
            refused = (tenant, name) in done.refused
            until = self._clock() + REFUSED_SECONDS if refused else inf
            made[key] = _Made(done.table.filter(pa.array(own, pa.bool_())), refused, until)
        return made

    def _remember(self, made: dict[_Key, _Made]) -> None:
        self._made.update(made)
        while len(self._made) > REMEMBERED_DOCUMENTS:
            self._made.popitem(last=False)
