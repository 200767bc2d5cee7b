"""The types of metadata fields, remembered: a field keeps its type for good, so only unknown ones are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from kaizen.records import FieldType
from kaizen.storage.ledger import Ledger
from serve_apps.ledger_reads import LedgerReads


class FieldTypes:
    """Types by tenant and field."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reads = LedgerReads()
        self._known: dict[str, Mapping[str, FieldType]] = {}

    async def of(self, tenant: str, wanted: set[str]) -> Mapping[str, FieldType]:
        """All types known of `tenant`; the ledger is read when one of `wanted` is not among those remembered."""
        known = self._known.get(tenant, {})
        if not wanted <= set(known):
            known = await self._reads.of(partial(self._ledger.documents.schema, tenant))
            self._known[tenant] = known
        return known
