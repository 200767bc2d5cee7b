"""Where a gateway puts what was shown: on its way to the ledger, and in a spool of its host until it is there.

So a response need not wait for the ledger, which may be a round trip away, and still nothing is shown that a killed
gateway forgets. When the ledger did not take something, or the spool is full, responses wait for it until it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import Future
from pathlib import Path

from kaizen.errors import KaizenError, StorageFull, Unavailable
from kaizen.records import Impression
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.impressions import packed, unpacked
from kaizen.storage.spool import Spool, take_over
from serve_apps.committed import committed
from serve_apps.ledger_reads import ANSWER_SECONDS

log = logging.getLogger("kaizen.impressions")
# How soon at most a gateway looks after what another one of its host has left, and what the ledger refused.
LOOK_SECONDS = 5.0
# Between looks for an impression that is on its way, of so many callers at a time: each is a query.
ARRIVAL_SECONDS = (0.01, 0.04, 0.15, 0.5)
ARRIVALS = 8


class ImpressionLog:
    """The impressions of one gateway. `folder` is where the spools of this host's gateways lie."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self._ledger = ledger
        self._folder = folder
        self._spool = _spool(folder)
        self._lock = threading.Lock()
        self._owed = 0  # records of the spool that the ledger refused
        self._well_again = asyncio.Event()
        self._arrivals = asyncio.Semaphore(ARRIVALS)

    def waiting(self) -> int:
        """How many are in the spool and not in the ledger yet: hardly any, unless the ledger is in trouble."""
        return self._spool.waiting if self._spool is not None else 0

    def submit(self, impression: Impression) -> Future[None] | None:
        """Begin to store it. Returns what its response must wait for; None when it is safe already."""
        spool = None if self._owed else self._spool
        spooled = spool is not None and spool.add(packed(impression))
        write = self._ledger.impressions.submit_record(impression)
        if not spooled:
            return write
        write.add_done_callback(self._settle)
        return None

    async def stored(self, write: Future[None]) -> bool:
        """Wait, but not for ever; whether the ledger has it. When it has, it will take what it refused before, too."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await committed(write)
        except (KaizenError, TimeoutError):
            return False
        if self._owed:
            self._well_again.set()
        return True

    async def arrives(self, tenant: str, name: str) -> bool:
        """Wait for an impression that may be on its way from another gateway, which tells nobody when it has arrived.

        Returns whether it has within a moment. Raises Unavailable when too many wait.
        """
        if self._arrivals.locked():
            raise Unavailable("Too many ask for impressions that are not on record.", advice="Send the same again.")
        async with self._arrivals:
            for pause in ARRIVAL_SECONDS:
                await asyncio.sleep(pause)
                if await asyncio.to_thread(self._ledger.impressions.has, tenant, name):
                    return True
        return False

    async def keep_up(self) -> None:
        """Store what gateways of this host left that were killed, and what the ledger refused. A killed process tells
        nobody, so this looks again and again."""
        while True:
            try:
                await asyncio.to_thread(self.catch_up)
            except Exception:
                log.exception("What is left in %s is not in the ledger yet.", self._folder)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._well_again.wait(), LOOK_SECONDS)
            self._well_again.clear()

    def catch_up(self) -> None:
        """One look of `keep_up`. What the ledger does not take now stays."""
        taken = take_over(self._folder, self._store)
        if taken:
            log.warning("Impressions that gateways had left when they ended, stored now: %d", taken)
        with self._lock:
            owed = self._owed
        if owed and self._spool is not None:
            self._store(self._spool.left())
            self._spool.settle(owed)
            with self._lock:
                self._owed -= owed

    async def close(self) -> None:
        """Wait for what is on its way. What comes later waits for the ledger."""
        with contextlib.suppress(KaizenError):
            await committed(self._ledger.submit(lambda _: None))
        if self._spool is not None:
            self._spool.close()

    def _store(self, records: list[bytes]) -> list[bytes]:
        """Returns the records that are none."""
        read, unread = [], []
        for record in records:
            try:
                read.append(unpacked(record))
            except ValueError:
                unread.append(record)
        self._ledger.impressions.record_missing(read)
        return unread

    def _settle(self, write: Future[None]) -> None:
        """In the ledger's thread: a turn of the event loop for each search would be dearer than the write."""
        if write.exception() is not None:
            with self._lock:
                self._owed += 1
        elif self._spool is not None:
            self._spool.settle()


def _spool(folder: Path) -> Spool | None:
    """None where the disk has no place for one: each response waits for the ledger then."""
    try:
        return Spool(folder)
    except (StorageFull, Unavailable):
        log.exception("There is no spool in %s: responses wait for the ledger.", folder)
        return None
