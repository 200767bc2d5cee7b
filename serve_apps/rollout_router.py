"""Which release answers this caller? One function, asked once per request. It follows the ledger without a restart.

Every release that the rollout names is opened beside those that answer: its models here, its actors by the fleet. It
takes traffic on this replica when its actors serve and its index has caught up with the ledger; then one reference is
switched. Until then the replica goes on with what it has. A request holds what it was given to its end; what no rollout
names any more goes when the last request lets go of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kaizen import rollout
from kaizen.errors import Unavailable
from kaizen.records import Arm, Principal, Rollout, identity_of

if TYPE_CHECKING:
    from serve_apps.served import Served  # which imports Ray: this file decides, and needs none

log = logging.getLogger("kaizen.rollout")

POLL_SECONDS = 0.5
# How often a release is looked at whose index is being built: so long replicas may differ when it is done.
WAIT_SECONDS = 0.5
# A release that cannot be opened now is tried again, at first soon, and at last so seldom that it costs nothing.
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 15.0)
# A fresh replica gives the stable release so long to be whole before it answers with the shards that there are.
FIRST_SECONDS = 2.0
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """What one request holds to its end.

    Attributes:
        served: the release that answers.
        arm: on which side of the rollout. `interleaved`: `served` is the stable one, and `challenger` drafts as well.
        rollout: version of the row that it was decided under; 0 while this replica lacks a release that the row names.
        stable: who answers when the challenger cannot.
        challenger: set in the arms `challenger` and `interleaved`.
        shadow: the challenger, when it is to answer as well, unseen.
    """

    served: Served
    arm: Arm
    rollout: int
    stable: Served
    challenger: Served | None = None
    shadow: Served | None = None


@dataclass(frozen=True, slots=True)
class _InService:
    """What this replica answers with, switched as one. `state` says no more than `stable` and `challenger` can do."""

    state: Rollout
    stable: Served
    challenger: Served | None


class RolloutRouter:
    """Holds the releases in service and follows the rollout. Belongs to one event loop.

    Args:
        state: reads the rollout from the ledger (blocking).
        open_release: makes a release ready to serve on this replica (blocking, seconds).
        caught_up: whether a release's actors serve and its index holds all that the ledger held when this was called.
    """

    def __init__(
        self,
        state: Callable[[], Rollout],
        open_release: Callable[[str], Served],
        caught_up: Callable[[Served], Awaitable[bool]],
    ) -> None:
        self._read = state
        self._open = open_release
        self._caught_up = caught_up
        self._row = Rollout(version=0, stable=None)
        self._in_service: _InService | None = None
        self._opened: dict[str, Served] = {}
        self._ready: dict[str, Served] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self._begun = asyncio.Event()  # something answers, or the stable release cannot be opened

    def for_caller(self, principal: Principal, user: str = "", impression: str = "") -> Assigned:
        """Decide who answers. The request keeps it to its end, whatever the rollout does meanwhile."""
        now = self._in_service
        if now is None:
            raise Unavailable(f"No release is in service yet. {self.trouble}".strip(), advice="Try again in a moment.")
        state, stable, challenger = now.state, now.stable, now.challenger
        if challenger is None:
            return Assigned(served=stable, arm="stable", rollout=state.version, stable=stable)
        arm = rollout.assign(state, identity_of(principal.key_id, user), impression)
        return Assigned(
            served=challenger if arm == "challenger" else stable,
            arm=arm,
            rollout=state.version,
            stable=stable,
            challenger=None if arm == "stable" else challenger,
            shadow=challenger if rollout.shadows(state, impression) else None,
        )

    @property
    def ready(self) -> bool:
        """Whether there is a release to answer with."""
        return self._in_service is not None

    @property
    def stable(self) -> str | None:
        """The release that this replica gives as the stable one; None when it has none yet."""
        return None if self._in_service is None else self._in_service.stable.release.id

    @property
    def trouble(self) -> str:
        """What keeps the rollout from being followed; empty when nothing does."""
        return "; ".join(self._troubles.values())

    def warm(self) -> list[Served]:
        """Every release that may answer from now on: those in service, and those that wait beside them."""
        held = {served.release.id: served for served in self._ready.values()}
        if self._in_service is not None:
            held.setdefault(self._in_service.stable.release.id, self._in_service.stable)
        return list(held.values())

    def standing(self) -> dict[str, str]:
        """Each release of the rollout -> how it stands on this replica: `serving`, or what it waits for."""
        waits = {name: self._troubles.get(name) or "opening" for name in self._row.releases}
        return {name: "serving" if name in self._ready else why for name, why in waits.items()}

    async def follow(self) -> None:
        """Switch to what the rollout says when it is ready; runs as long as the replica."""
        while True:
            await self.look()
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Look once; what keeps the rollout from being followed is noted in `trouble`, and the old one goes on."""
        try:
            async with self._looking:  # one after the other: what was read first must not be taken last
                self._take(await asyncio.to_thread(self._read))
            self._note("rollout", "")
        except Exception as error:  # noqa: BLE001 (a replica that no longer looks would answer with what it has for good)
            self._note("rollout", f"the rollout cannot be read: {_words(error)}")

    async def first(self) -> None:
        """Look, and wait for the first word on the stable release: a fresh replica begins with one, if it can."""
        await self.look()
        if self._row.stable is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._begun.wait(), START_SECONDS)

    async def close(self) -> None:
        """Stop opening releases."""
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)

    def _take(self, row: Rollout) -> None:
        """Follow the row: open what it names, let go of what it does not, switch to what is ready."""
        self._row = row
        for name in set(self._opening) - set(row.releases):
            self._opening.pop(name).cancel()
        for held in (self._opened, self._ready, self._troubles):
            for name in set(held) - {*row.releases, "rollout"}:
                del held[name]
        for name in row.releases:
            if name not in self._ready and name not in self._opening:
                self._opening[name] = asyncio.create_task(self._prepare(name))
        self._switch()

    async def _prepare(self, name: str) -> None:
        """Try until the release is ready; `_take` ends this when nobody names it any more."""
        failed = 0
        while not await self._try(name):
            waits = name in self._opened
            failed = 0 if waits else failed + 1
            await asyncio.sleep(WAIT_SECONDS if waits else RETRY_SECONDS[min(failed, len(RETRY_SECONDS)) - 1])
        self._opening.pop(name, None)
        self._ready[name] = self._opened[name]
        log.info("release %s is ready", name)
        self._switch()

    async def _try(self, name: str) -> bool:
        try:
            if name not in self._opened:
                self._opened[name] = await asyncio.to_thread(self._open, name)
                asyncio.get_running_loop().call_later(FIRST_SECONDS, self._begin_with, name)
            done = await self._caught_up(self._opened[name])
            self._note(name, "" if done else f"{name} waits for its actors and its index")
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a release, the others go on)
            self._note(name, f"{name} cannot be opened: {_words(error)}")
            if name == self._row.stable:
                self._begun.set()
            return False
        return done

    def _begin_with(self, name: str) -> None:
        """Nothing answers yet, and the stable release still waits for a part: what it has is better than nothing."""
        if self._in_service is None and name == self._row.stable and name in self._opened:
            self._answer_with(_InService(_alone(self._row), self._opened[name], None))

    def _switch(self) -> None:
        """Answer with what the row says, or with what comes nearest to it of what is ready here."""
        row, before = self._row, self._in_service
        stable = self._ready.get(row.stable or "")
        if stable is not None and (row.challenger is None or row.challenger in self._ready):
            after = _InService(row, stable, self._ready.get(row.challenger or ""))
        else:
            kept = stable or self._nearest(before)
            if kept is None:
                return
            after = _InService(_alone(row), kept, None)
        if after != before:
            self._answer_with(after)

    def _answer_with(self, after: _InService) -> None:
        log.info("rollout %d: %s answers", after.state.version, after.stable.release.id)
        self._in_service = after
        self._begun.set()

    def _nearest(self, before: _InService | None) -> Served | None:
        """The stable release is not ready: stay with what answered before, if that is whole and still kept warm."""
        previous = self._ready.get(self._row.previous or "")
        if before is None:
            return previous
        whole = before.stable.release.id in self._ready
        return before.stable if whole or previous is None else previous

    def _note(self, about: str, trouble: str) -> None:
        if trouble and trouble != self._troubles.get(about):
            log.warning("%s", trouble)
        if trouble:
            self._troubles[about] = trouble
        else:
            self._troubles.pop(about, None)


def _alone(row: Rollout) -> Rollout:
    """The row of a replica that lacks a release: nobody is on trial here, and what it answers is no part of a test."""
    return replace(row, version=0, challenger=None, mode="off", weight=0.0)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
