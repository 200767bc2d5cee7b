"""Reads of the ledger that a request waits for: in threads of their own, and not for ever.

A ledger whose host is gone neither answers nor refuses until the network gives it up, and one behind a proxy that is
stuck does not even then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kaizen.errors import Unavailable

T = TypeVar("T")
ANSWER_SECONDS = 5.0
_THREADS = 8


class LedgerReads:
    """So many at once; others wait for a thread. Those that nobody waits for any more are not begun."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger-read")

    async def of(self, read: Callable[[], T]) -> T:
        """What `read` returns or raises; Unavailable when that takes longer than a request should wait."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        except TimeoutError:
            raise Unavailable("The ledger does not answer.", advice="Try again shortly.") from None
