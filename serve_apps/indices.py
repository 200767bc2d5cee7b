"""The indices that may answer a search, as a writer sees them: each gets the news, each must hold what is searchable.

During a swap there are several. A write that was acknowledged as searchable must be in whichever a later search meets,
on any replica; so not this replica's own view counts, but the rollout as it is after the write became durable. An
index that is named there and does not serve yet needs no waiting for: it takes traffic only after it has caught up
with the ledger's head as it is then, which includes the write.
"""

from __future__ import annotations

import asyncio
import time

from actors.fan_out import FanOut
from kaizen.errors import KaizenError
from kaizen.storage.ledger import Ledger
from serve_apps.rollout_router import RolloutRouter
from serve_apps.served import Opener

LOOK_SECONDS = 1.0


class Indices:
    """All indices of the rollout."""

    def __init__(self, ledger: Ledger, opener: Opener, router: RolloutRouter) -> None:
        self._ledger = ledger
        self._opener = opener
        self._router = router

    def poke(self) -> None:
        """Tell all shards that the ledger has news."""
        for fan_out in self._here().values():
            fan_out.poke()

    async def reach(self, seq: int, seconds: float) -> bool:
        """Wait until every index that may answer has applied `seq`; whether all had within `seconds`."""
        deadline = time.monotonic() + seconds
        here = self._here()
        try:
            named = await asyncio.to_thread(self._named)
        except KaizenError:
            return False
        waits = [fan_out.reach(seq, deadline) for fan_out in here.values()]
        waits += [_reach_if_serving(f, seq, deadline) for name, f in named.items() if name not in here]
        return bool(waits) and all(await asyncio.gather(*waits))

    def _here(self) -> dict[str, FanOut]:
        return {served.fan_out.index_id: served.fan_out for served in self._router.warm()}

    def _named(self) -> dict[str, FanOut]:
        releases = [self._opener.release(name) for name in self._ledger.rollout.state().releases]
        return {fan_out.index_id: fan_out for fan_out in map(self._opener.fan_out, releases)}


async def _reach_if_serving(fan_out: FanOut, seq: int, deadline: float) -> bool:
    if not await fan_out.serving(time.monotonic() + LOOK_SECONDS):
        return True
    return await fan_out.reach(seq, deadline)
