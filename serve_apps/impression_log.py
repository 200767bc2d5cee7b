"""Where a gateway puts what was shown: on its way to the ledger, and in a spool of its host until it is there.

So a response need not wait for the ledger, which may be a round trip away, and still nothing is shown that a killed
gateway forgets. When the ledger did not take something, or the spool is full, responses wait for it until it does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from pathlib import Path

from kaizen.errors import KaizenError
from kaizen.records import Impression
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.impressions import packed
from kaizen.storage.spool import Spool, take_over
from serve_apps.committed import committed

log = logging.getLogger("kaizen.impressions")
# How soon at most one gateway of a host looks after what another one left.
TAKE_OVER_SECONDS = 5.0


class ImpressionLog:
    """The impressions of one gateway. `folder` is where the spools of this host's gateways lie."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self._ledger = ledger
        self._folder = folder
        self._spool = Spool(folder)
        self._lock = threading.Lock()
        self._owed = 0  # records of the spool that the ledger refused
        self._catching_up = False

    def submit(self, impression: Impression) -> Future[None] | None:
        """Begin to store it. Returns what its response must wait for; None when it is safe already."""
        spooled = not self._owed and self._spool.add(packed(impression))
        write = self._ledger.impressions.submit_record(impression)
        if not spooled:
            return write
        write.add_done_callback(self._settle)
        return None

    async def stored(self, write: Future[None]) -> bool:
        """Wait; whether the ledger has it. When it has, it will take what it refused before, too."""
        try:
            await committed(write)
        except KaizenError:
            return False
        self._catch_up()
        return True

    async def keep_taking_over(self) -> None:
        """See `take_over`; also what the ledger refused while nobody asks any more. A killed process tells nobody."""
        while True:
            await self.take_over()
            self._catch_up()
            await asyncio.sleep(TAKE_OVER_SECONDS)

    async def take_over(self) -> None:
        """Store what gateways of this host left that were killed. What the ledger does not take now stays."""
        try:
            taken = await asyncio.to_thread(take_over, self._folder, self._store)
        except (KaizenError, OSError):
            log.exception("What gateways had left in %s is not in the ledger yet.", self._folder)
            return
        if taken:
            log.warning("Impressions that gateways had left when they ended, stored now: %d", taken)

    def close(self) -> None:
        """To be called when the ledger is closed: nothing comes any more."""
        self._spool.close()

    def _store(self, records: list[bytes]) -> None:
        self._ledger.impressions.submit_packed(records).result()

    def _settle(self, write: Future[None]) -> None:
        """In the ledger's thread: a turn of the event loop for each search would be dearer than the write."""
        if write.exception() is None:
            self._spool.settle()
        else:
            with self._lock:
                self._owed += 1

    def _catch_up(self) -> None:
        """Once more what the ledger refused. Until it has all of it, responses wait for it."""
        with self._lock:
            owed = 0 if self._catching_up else self._owed
            self._catching_up = self._catching_up or owed > 0
        if owed:
            again = self._ledger.impressions.submit_packed(self._spool.left())
            again.add_done_callback(lambda write: self._caught_up(write, owed))

    def _caught_up(self, write: Future[None], owed: int) -> None:
        stored = write.exception() is None
        if stored:
            self._spool.settle(owed)
        with self._lock:
            self._catching_up = False
            self._owed -= owed if stored else 0
