"""HAProxy that is started again, on a stand-in for Serve's actor whose HAProxy is a process that sleeps."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable

with warnings.catch_warnings():  # Serve warns of itself when it is imported
    warnings.simplefilter("ignore")
    from cluster.kept_haproxy import kept

SLEEPER = (sys.executable, "-c", "import threading; threading.Event().wait()")


class Manager:
    """As Serve's: it starts HAProxy, puts another in its place when the configuration changes, and stops it."""

    def __init__(self) -> None:
        self._reload_lock = asyncio.Lock()
        self._haproxy = self
        self._proc: asyncio.subprocess.Process | None = None
        self.started = 0

    async def _start_and_wait_for_haproxy(self) -> asyncio.subprocess.Process:
        self.started += 1
        return await asyncio.create_subprocess_exec(*SLEEPER)

    async def reload(self) -> asyncio.subprocess.Process:
        async with self._reload_lock:
            old, self._proc = self._proc, await self._start_and_wait_for_haproxy()
        assert old is not None
        return old

    async def stop(self) -> None:
        process, self._proc = self._proc, None
        assert process is not None
        process.kill()
        await process.wait()


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.01)


def test_one_that_ends_is_started_again_and_one_that_was_replaced_or_stopped_is_not() -> None:
    async def run() -> None:
        manager = Manager()
        manager._proc = await manager._start_and_wait_for_haproxy()
        keeping = asyncio.create_task(kept(manager))
        for number in (2, 3):
            killed = manager._proc
            killed.kill()
            await until(lambda number=number: manager.started == number)  # type: ignore[misc]
            await until(lambda killed=killed: manager._proc is not killed)  # type: ignore[misc]
        old = await manager.reload()
        old.kill()
        await old.wait()
        await manager.stop()
        await asyncio.wait_for(keeping, 20)
        assert manager.started == 4

    asyncio.run(run())
