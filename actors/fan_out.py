"""The gateway's side of the shards: ask one copy of each, another when it fails or is slow, within one deadline."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.names import shard_name
from kaizen.errors import NotYetSearchable, TransientError
from kaizen.retrieval.query import ShardAnswer, ShardQuery

# A copy that has not answered within this share of the deadline gets company: another copy is asked too.
HEDGE_SHARE = 0.5
# A shard waits for `min_seq` a little less than the caller waits for the shard: its word that it is behind must arrive.
WAIT_SHARE = 0.9
# How a copy fails to answer; ValueError is Ray's for an actor that has no such name now.
UNANSWERED = (RayError, TransientError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Answers by shard number; shards that did not answer in time are not in it."""

    answers: dict[int, ShardAnswer]
    shards: int
    behind: bool  # a shard answered that it has not reached min_seq

    @property
    def coverage(self) -> float:
        """Share of the shards that answered."""
        return len(self.answers) / self.shards


class FanOut:
    """Asks all shards of one index. Belongs to one event loop. `index_id` says which index."""

    def __init__(self, index_id: str, shards: int, replicas: int, namespace: str) -> None:
        self.index_id = index_id
        self._shards = shards
        self._replicas = replicas
        self._namespace = namespace
        self._handles: dict[tuple[int, int], ActorHandle] = {}
        self._turn = itertools.count()

    async def search(self, query: ShardQuery, *, min_seq: int, deadline: float) -> Gathered:
        """Answers of all shards that make it before `deadline` (of time.monotonic)."""
        pickled = query.pickled()
        asked = [self._ask_shard(shard, pickled, min_seq, deadline) for shard in range(self._shards)]
        results = await asyncio.gather(*asked)
        return Gathered(
            answers={shard: answer for shard, answer in enumerate(results) if isinstance(answer, ShardAnswer)},
            shards=self._shards,
            behind=any(isinstance(answer, NotYetSearchable) for answer in results),
        )

    async def fetch(self, shard: int, places: Sequence[tuple[str, int]], deadline: float) -> list[dict[str, Any]]:
        """Texts that did not travel with an answer. Segments are a copy's own: the copy that has them answers."""
        for replica in range(self._replicas):
            try:
                return await self._call(shard, replica, "fetch", deadline, list(places))
            except UNANSWERED:
                self._handles.pop((shard, replica), None)
        return []

    async def reach(self, seq: int, deadline: float) -> bool:
        """Wait until every copy of every shard that answers has applied `seq`; False when one has not by then."""
        copies = itertools.product(range(self._shards), range(self._replicas))
        calls = [self._call(s, r, "reach", deadline, seq, max(0.0, deadline - time.monotonic())) for s, r in copies]
        results = await asyncio.gather(*calls, return_exceptions=True)
        return all(result is True for result in results)

    async def serving(self, deadline: float) -> bool:
        """Whether every copy of every shard says that it serves."""
        copies = list(itertools.product(range(self._shards), range(self._replicas)))
        try:
            # Looking for actors that are not there yet asks the cluster's head and waits: not on the event loop.
            await asyncio.to_thread(lambda: [self._handle(*copy) for copy in copies])
            said = await asyncio.gather(*(self._call(*copy, "ping", deadline) for copy in copies))
        except (RayError, TimeoutError, ValueError):
            self._handles.clear()
            return False
        return all(state == "serving" for state, _, _ in said)

    def poke(self) -> None:
        """Tell all shards that the ledger has news. Nobody waits for them; a dead one finds out by itself."""
        for shard, replica in itertools.product(range(self._shards), range(self._replicas)):
            try:
                self._handle(shard, replica).poke.remote()
            except (RayError, ValueError):
                self._handles.pop((shard, replica), None)

    async def _ask_shard(
        self, shard: int, query: bytes, min_seq: int, deadline: float
    ) -> ShardAnswer | NotYetSearchable | None:
        """The shard's answer; NotYetSearchable when it is behind; None when it gave none in time."""
        if self._replicas > 1:
            return await self._ask_copies(shard, query, min_seq, deadline)
        try:
            return await self._search_one(shard, 0, query, min_seq, deadline)
        except NotYetSearchable as error:
            return error
        except UNANSWERED:
            return None

    async def _ask_copies(
        self, shard: int, query: bytes, min_seq: int, deadline: float
    ) -> ShardAnswer | NotYetSearchable | None:
        """Copies in turn: the next is asked when one fails, or when it is slow, and the first answer counts."""
        first = next(self._turn)
        order = [(first + i) % self._replicas for i in range(self._replicas)]
        patience = (deadline - time.monotonic()) * HEDGE_SHARE
        running: set[asyncio.Task[ShardAnswer]] = set()
        behind: NotYetSearchable | None = None
        while order or running:
            if order:
                running.add(asyncio.create_task(self._search_one(shard, order.pop(0), query, min_seq, deadline)))
            wait = patience if order else max(0.0, deadline - time.monotonic())
            done, running = await asyncio.wait(running, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    _abandon(running)
                    return task.result()
                behind = error if isinstance(error, NotYetSearchable) else behind
                if not isinstance(error, UNANSWERED):
                    _abandon(running)
                    raise error
            if not done and not order:
                break
        _abandon(running)
        return behind

    async def _search_one(self, shard: int, replica: int, query: bytes, min_seq: int, deadline: float) -> ShardAnswer:
        try:
            wait = max(0.0, (deadline - time.monotonic()) * WAIT_SHARE)
            answer: bytes = await self._call(shard, replica, "search", deadline, query, min_seq, wait)
        except (RayError, ValueError):
            self._handles.pop((shard, replica), None)  # a replaced actor has a new handle
            raise
        return ShardAnswer.unpickled(answer)

    async def _call(self, shard: int, replica: int, method: str, deadline: float, *arguments: object) -> Any:  # noqa: ANN401 (Ray's calls are not typed)
        reference = getattr(self._handle(shard, replica), method).remote(*arguments)
        return await asyncio.wait_for(asyncio.wrap_future(reference.future()), max(0.0, deadline - time.monotonic()))

    def _handle(self, shard: int, replica: int) -> ActorHandle:
        key = (shard, replica)
        if key not in self._handles:
            self._handles[key] = ray.get_actor(shard_name(self.index_id, *key), namespace=self._namespace)
        return self._handles[key]


def _abandon(tasks: set[asyncio.Task[ShardAnswer]]) -> None:
    """Answers that come later are nobody's; reading the outcome keeps asyncio from reporting it as lost."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
