"""The types of metadata fields, remembered: a field keeps its type for good, so only unknown ones are looked up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial

from kaizen.records import FieldType
from kaizen.single_flight import SingleFlight
from kaizen.storage.ledger import Ledger
from serve_apps.ledger_reads import LedgerReads

# Between the beginnings of two reads of one tenant's fields. Whoever names an unknown one waits for it, and all who do
# have one read; a field that another replica has just stored is found by it.
PAUSE_SECONDS = 0.2


class FieldTypes:
    """Types by tenant and field. Belongs to one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reads = LedgerReads()
        self._known: dict[str, Mapping[str, FieldType]] = {}
        self._began: dict[str, float] = {}  # of time.monotonic
        self._pausing: SingleFlight[str, float] = SingleFlight()
        self._reading: SingleFlight[tuple[str, float], Mapping[str, FieldType]] = SingleFlight()

    async def of(self, tenant: str, wanted: set[str]) -> Mapping[str, FieldType]:
        """All types known of `tenant`; the ledger is read when one of `wanted` is not among those remembered."""
        known = self._known.get(tenant, {})
        if wanted <= known.keys():
            return known
        # Never a read that is under way: it may have begun before the field was there.
        began = await self._pausing.answer(tenant, partial(self._pause, tenant))
        return await self._reading.answer((tenant, began), partial(self._read, tenant))

    async def _pause(self, tenant: str) -> float:
        """Return, once it is time for the next read, when that was."""
        since = time.monotonic() - self._began.get(tenant, float("-inf"))
        await asyncio.sleep(max(0.0, PAUSE_SECONDS - since))
        self._began[tenant] = began = time.monotonic()
        return began

    async def _read(self, tenant: str) -> Mapping[str, FieldType]:
        known = await self._reads.of(partial(self._ledger.documents.schema, tenant))
        self._known[tenant] = known
        return known
