"""Which release answers this caller? One function, asked once per request. It follows the ledger without a restart.

Today everybody gets the stable release; challengers, shadow, canary and A/B weights will be decided in `for_caller`
and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kaizen.errors import KaizenError, Unavailable
from kaizen.records import Principal
from serve_apps.served import Served

log = logging.getLogger("kaizen.rollout")

POLL_SECONDS = 0.5


class RolloutRouter:
    """Holds the releases in service and follows the rollout.

    Args:
        stable: reads the id of the stable release from the ledger (blocking).
        open_release: makes a release ready to serve (blocking, seconds).
    """

    def __init__(self, stable: Callable[[], str | None], open_release: Callable[[str], Served]) -> None:
        self._stable = stable
        self._open = open_release
        self._served: Served | None = None
        self.trouble = ""

    def for_caller(self, principal: Principal) -> Served:
        """The release for this caller. The request keeps it to its end, whatever the rollout does meanwhile."""
        if self._served is None:
            raise Unavailable(f"No release is in service yet. {self.trouble}".strip(), advice="Try again in a moment.")
        return self._served

    @property
    def ready(self) -> bool:
        """Whether there is a release to answer with."""
        return self._served is not None

    async def follow(self) -> None:
        """Switch to a new stable release when it is ready; runs as long as the replica."""
        while True:
            await self.look()
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Look once; what keeps a new release from being served is noted in `trouble`, and the old one goes on."""
        try:
            await self._refresh()
            self.trouble = ""
        except KaizenError as error:
            if str(error) != self.trouble:
                log.warning("cannot follow the rollout: %s", error)
            self.trouble = str(error)

    async def _refresh(self) -> None:
        """The new release is made whole beside the old; then one reference is switched."""
        wanted = await asyncio.to_thread(self._stable)
        if wanted is None or (self._served is not None and self._served.release.id == wanted):
            return
        self._served = await asyncio.to_thread(self._open, wanted)
        log.info("release %s is in service", wanted)
