"""When a replica is to be replaced: its ledger's writer has stopped, which only another process can mend."""

from __future__ import annotations

import time
from collections.abc import Callable

from kaizen.errors import KaizenError, WriterStopped

# One fault of a disk may stop the writers of all replicas; those that were replaced together would leave nobody to
# search. It is also the pace at which each is replaced when every sync fails.
APART_SECONDS = 30.0


class Replacement:
    """Of one replica. It still searches until then.

    stopped: why its ledger takes no writes any more, or None. rank: its number among the replicas, from 0, as it is
    now: they take their turns by it.
    """

    def __init__(
        self,
        stopped: Callable[[], KaizenError | None],
        rank: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stopped = stopped
        self._rank = rank
        self._clock = clock
        self._made = clock()
        self._since: float | None = None

    def check(self) -> None:
        """Raise WriterStopped once it is due. A damaged database is the same for every process, and replaces nobody."""
        stopped = self._stopped()
        if not isinstance(stopped, WriterStopped):
            return
        now = self._clock()
        if self._since is None:
            self._since = now
        if now >= max(self._since + self._rank() * APART_SECONDS, self._made + APART_SECONDS):
            raise stopped
