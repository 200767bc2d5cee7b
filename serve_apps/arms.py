"""One search under the rollout: by the stable release, by the challenger, or by both in one list.

Whatever a challenger does wrong, the user gets what the stable release finds, and the response says
`challenger-unavailable`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from kaizen.errors import InvalidInput
from kaizen.evaluation.interleaving import team_draft
from kaizen.records import WAIT, Arm, Principal
from kaizen.retrieval.exploration import explore
from serve_apps.places import Found, Place
from serve_apps.rollout_router import Assigned
from serve_apps.searching import Query, QueryFor, Searcher
from serve_apps.served import Served
from serve_apps.stopwatch import Stopwatch

log = logging.getLogger("kaizen.arms")

UNAVAILABLE = "challenger-unavailable"
# A challenger that has not answered within this share of the stable release's time leaves it the rest.
CHALLENGER_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found, and by whom in the end.

    challenger: set when it drafted as well (`interleaved`), or should have answered and could not.
    """

    found: Found
    served: Served
    arm: Arm
    challenger: str = ""


class Arms:
    """Searches as the rollout wants it."""

    def __init__(self, searcher: Searcher, explore_share: float) -> None:
        self._searcher = searcher
        self._explore_share = explore_share

    async def search(
        self, assigned: Assigned, principal: Principal, query: QueryFor, watch: Stopwatch, impression: str
    ) -> Outcome:
        """Search for a list that a person will look at: it may be drafted by two teams, or hold a little chance.

        Raises what `Searcher.search` of the stable release raises.
        """
        if assigned.arm == "interleaved":
            return await self._interleaved(assigned, principal, query, watch, impression)
        outcome = await self.search_alone(assigned, principal, query, watch)
        places, propensities = explore(outcome.found.places, self._explore_share, impression)
        if min(propensities, default=1.0) == 1.0:
            return outcome
        told = tuple(
            place if propensity == 1.0 else replace(place, propensity=propensity)
            for place, propensity in zip(places, propensities, strict=True)
        )
        return replace(outcome, found=replace(outcome.found, places=told))

    async def search_alone(
        self, assigned: Assigned, principal: Principal, query: QueryFor, watch: Stopwatch
    ) -> Outcome:
        """Search by one release: the challenger for its own arm, else the stable one."""
        missed = ""
        if assigned.arm == "challenger":
            found = await self._by_challenger(assigned, principal, query, watch)
            if found is not None:
                return Outcome(found=found, served=assigned.served, arm="challenger")
            missed = assigned.served.release.id
        found = await self._searcher.search(assigned.stable, principal, query(assigned.stable), watch)
        outcome = Outcome(found=found, served=assigned.stable, arm="stable")
        return outcome if not missed else _without(outcome, missed)

    async def _interleaved(
        self, assigned: Assigned, principal: Principal, query: QueryFor, watch: Stopwatch, impression: str
    ) -> Outcome:
        stable, challenger = assigned.stable, assigned.challenger
        assert challenger is not None  # noqa: S101 (what the arm means)
        watches = Stopwatch(), Stopwatch()
        with watch.stage("search"):
            # Stages of the two run side by side: they are timed together.
            own, other = await asyncio.gather(
                self._searcher.search(stable, principal, query(stable), watches[0]),
                self._by_challenger(assigned, principal, query, watches[1]),
            )
        # Without a wait both would have taken as long as the longer of what they do besides.
        waited_ms = max(each.spent_ms() for each in watches) - max(each.spent_ms(without=WAIT) for each in watches)
        watch.part(WAIT, waited_ms / 1000, of="search")
        name = challenger.release.id
        if other is None:
            return _without(Outcome(found=own, served=stable, arm="stable"), name)
        with watch.stage("draft"):
            found = _drafted(own, other, query(stable), impression)
        return Outcome(found=found, served=stable, arm="interleaved", challenger=name)

    async def _by_challenger(
        self, assigned: Assigned, principal: Principal, query: QueryFor, watch: Stopwatch
    ) -> Found | None:
        """What the challenger finds; None when it is in any trouble. What is wrong with the query itself is raised."""
        challenger = assigned.challenger
        assert challenger is not None  # noqa: S101 (what the arms mean that come here)
        now, own = time.monotonic(), query(challenger)
        share = now + (query(assigned.stable).deadline - now) * CHALLENGER_SHARE
        hurried = replace(own, deadline=min(own.deadline, share))
        try:
            found = await self._searcher.search(challenger, principal, hurried, watch)
        except InvalidInput:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a challenger does wrong, the user gets an answer)
            log.warning("challenger %s: %s: %s", challenger.release.id, type(error).__name__, error)
            return None
        return None if found.degraded else found


def _drafted(own: Found, other: Found, query: Query, impression: str) -> Found:
    """Both lists in one, by a draft that can be drawn again from the impression's id."""
    key: Callable[[Place], str] = _document if query.unit == "document" else _chunk
    stable, challenger = ({key(place): place for place in found.places} for found in (own, other))
    chance = Random(f"draft {impression}")  # noqa: S311 (no secret)
    draft = team_draft(list(stable), list(challenger), query.k, chance)
    places = tuple(
        replace(stable[name] if team != "challenger" and name in stable else challenger[name], team=team)
        for name, team in draft
    )
    return Found(
        places=places,
        index_seq=min(own.index_seq, other.index_seq),
        coverage=min(own.coverage, other.coverage),
        degraded=own.degraded,
        used={**own.used, **other.used},
    )


def _document(place: Place) -> str:
    return place.document_id


def _chunk(place: Place) -> str:
    return place.chunk_id


def _without(outcome: Outcome, challenger: str) -> Outcome:
    found = replace(outcome.found, degraded=(*outcome.found.degraded, UNAVAILABLE))
    return replace(outcome, found=found, challenger=challenger)
