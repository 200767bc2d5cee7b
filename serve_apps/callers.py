"""Who calls, and may they: FastAPI dependencies that turn a key into a Principal."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import Request

from kaizen.config import Settings
from kaizen.errors import NotAllowed
from kaizen.records import SCOPES, Principal, Scope
from kaizen.security.keys import Authenticator
from kaizen.single_flight import SingleFlight
from serve_apps.ledger_reads import LedgerReads

Dependency = Callable[..., Coroutine[Any, Any, Principal]]


class Callers:
    """Knows every caller by the key in `Authorization: Bearer`."""

    def __init__(self, settings: Settings, authenticator: Authenticator) -> None:
        self._required = settings.server.require_keys
        self._authenticator = authenticator
        self._asking: SingleFlight[str | None, Principal] = SingleFlight()
        self._reads = LedgerReads()
        self._anybody = Principal(key_id="open", tenant=settings.workspace.tenant, groups=(), scopes=SCOPES)

    def with_scope(self, scope: Scope) -> Dependency:
        """A dependency that gives the caller, or raises NotAuthenticated (401) or NotAllowed (403)."""

        async def caller(request: Request) -> Principal:
            if not self._required:
                return self._anybody
            principal = await self._who(request.headers.get("authorization"))
            if scope not in principal.scopes:
                raise NotAllowed(
                    f"This key has not the scope '{scope}'.",
                    advice=f"Make one that has: kaizen keys create --scope {scope}.",
                )
            return principal

        return caller

    async def check(self, header: str | None) -> None:
        """Raise NotAuthenticated for a header that names no caller."""
        if self._required:
            await self._who(header)

    async def _who(self, header: str | None) -> Principal:
        """From memory, which is made new while it is still good: nobody who calls often ever waits for the ledger."""
        known = self._authenticator.remembered(header)
        if known is None:
            return await self._asking.answer(header, partial(self._ask, header))
        if known.aging:
            self._asking.begin(header, partial(self._ask, header))
        return known.principal

    async def _ask(self, header: str | None) -> Principal:
        """What the ledger says, which the authenticator remembers; Unavailable when it says nothing."""
        return await self._reads.of(partial(self._authenticator.authenticate, header))
