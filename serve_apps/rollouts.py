"""The rollout over HTTP: read it, change it by compare-and-set, and read who changed it and why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from kaizen import rollout
from kaizen.errors import Conflict, InvalidInput
from kaizen.records import Principal, Rollout
from kaizen.release import models_of
from kaizen.storage.object_store import is_lost
from kaizen.workspace import Workspace
from serve_apps.rollout_router import RolloutRouter
from serve_apps.rollout_schemas import (
    Adjust,
    Begin,
    DecisionReply,
    HistoryReply,
    Retire,
    RolloutReply,
    Stop,
    Switch,
)

KINDS = ("begin", "adjust", "stop", "promote", "rollback", "retire", "configure")
Step = Callable[[Rollout], Rollout]


class Rollouts:
    """Changes of the rollout on behalf of callers.

    Args:
        wake: tells the fleet that it has something to do.
    """

    def __init__(self, workspace: Workspace, router: RolloutRouter, wake: Callable[[], Awaitable[object]]) -> None:
        self._ledger = workspace.ledger
        self._store = workspace.store
        self._router = router
        self._wake = wake

    async def show(self) -> RolloutReply:
        """The row as it is now."""
        await self._router.look()
        return self._reply(await asyncio.to_thread(self._ledger.rollout.state))

    async def change(self, principal: Principal, wanted: Begin | Adjust | Stop | Retire) -> RolloutReply:
        """Raises Conflict when the version is not the present one, or the rollout is not such; NotFound."""
        return await self._do(principal, wanted.action, wanted.version, wanted.reason, lambda s: _after(s, wanted))

    async def promote(self, principal: Principal, release: str, switch: Switch) -> RolloutReply:
        """Make a release stable. Raises Conflict or NotFound."""
        return await self._do(
            principal, "promote", switch.version, switch.reason, lambda state: rollout.promote(state, release)
        )

    async def rollback(self, principal: Principal, switch: Switch) -> RolloutReply:
        """Go back to the previous release. Raises Conflict."""
        return await self._do(principal, "rollback", switch.version, switch.reason, rollout.rollback)

    async def history(self, limit: int) -> HistoryReply:
        """The newest changes."""
        found = await asyncio.to_thread(self._ledger.decisions.newest, limit, kinds=KINDS)
        return HistoryReply(decisions=[DecisionReply(**asdict(decision)) for decision in found])

    async def _do(self, principal: Principal, kind: str, version: int | None, reason: str, step: Step) -> RolloutReply:
        def decide() -> Rollout:
            state = self._ledger.rollout.state()
            if version not in (None, state.version):
                raise Conflict(
                    f"The rollout is at version {state.version}, not {version}.",
                    advice="Read its state again, then decide again.",
                )
            following = step(state)
            for name in {following.stable, following.challenger} - {state.stable, state.challenger, None}:
                self._check_models(str(name))
            if following.mode == "interleave" != state.mode:
                self._check_lists(following)
            return self._ledger.rollout.change(following, by=principal.key_id, kind=kind, reason=reason)

        stored = await asyncio.to_thread(decide)
        await self._router.look()
        await self._wake()
        return self._reply(stored)

    def _check_models(self, name: str) -> None:
        """Raises NotFound for no release, and Conflict for one whose models were collected: it could not answer."""
        gone = [model for model in sorted(models_of(self._ledger.releases.get(name))) if is_lost(self._store, model)]
        if gone:
            raise Conflict(
                f"{name} cannot answer any more: {', '.join(gone)} was taken away, since nobody needed it.",
                advice="Learn it again. Models stay with the rollout and the newest candidates; see the README.",
            )

    def _check_lists(self, wanted: Rollout) -> None:
        """Raises InvalidInput for a challenger that writes answers differently: no list of two would show them."""
        stable, challenger = (self._ledger.releases.get(name or "") for name in (wanted.stable, wanted.challenger))
        if not challenger.writes_as(stable):
            raise InvalidInput(
                f"{challenger.id} has another prompt or generator, and answers are never interleaved.",
                advice="Use mode ab: it compares what people say of the answers.",
            )

    def _reply(self, state: Rollout) -> RolloutReply:
        return RolloutReply(
            version=state.version,
            stable=state.stable,
            challenger=state.challenger,
            mode=state.mode,
            weight=state.weight,
            previous=state.previous,
            at=state.at,
            standing=self._router.standing(),
        )


def _after(state: Rollout, wanted: Begin | Adjust | Stop | Retire) -> Rollout:
    if isinstance(wanted, Begin):
        return rollout.begin(state, wanted.challenger, wanted.mode, wanted.weight)
    if isinstance(wanted, Adjust):
        return rollout.adjust(state, wanted.mode or state.mode, wanted.weight or state.weight)
    return rollout.stop(state) if isinstance(wanted, Stop) else rollout.retire(state)
