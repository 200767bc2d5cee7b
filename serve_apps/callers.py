"""Who calls, and may they: FastAPI dependencies that turn a key into a Principal."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from kaizen.config import Settings
from kaizen.errors import NotAllowed
from kaizen.records import SCOPES, Principal, Scope
from kaizen.security.keys import Authenticator

Dependency = Callable[..., Coroutine[Any, Any, Principal]]


class Callers:
    """Knows every caller by the key in `Authorization: Bearer`."""

    def __init__(self, settings: Settings, authenticator: Authenticator) -> None:
        self._required = settings.server.require_keys
        self._authenticator = authenticator
        self._anybody = Principal(key_id="open", tenant=settings.workspace.tenant, groups=(), scopes=SCOPES)

    def with_scope(self, scope: Scope) -> Dependency:
        """A dependency that gives the caller, or raises NotAuthenticated (401) or NotAllowed (403)."""

        async def caller(request: Request) -> Principal:
            if not self._required:
                return self._anybody
            header = request.headers.get("authorization")
            principal = self._authenticator.remembered(header)
            if principal is None:  # the ledger must be asked: not on the event loop
                principal = await run_in_threadpool(self._authenticator.authenticate, header)
            if scope not in principal.scopes:
                raise NotAllowed(
                    f"This key has not the scope '{scope}'.",
                    advice=f"Make one that has: kaizen keys create --scope {scope}.",
                )
            return principal

        return caller
