"""The gateway's side of the shards: ask one copy of each, another when it fails or is slow, within one deadline."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.direct_line import DirectCaller, LineLost
from actors.names import shard_name
from kaizen.errors import NotYetSearchable, TransientError
from kaizen.retrieval.query import ShardAnswer, ShardQuery
from kaizen.retrieval.ranked import FinalAnswer
from kaizen.retrieval.ranking import unpickled
from kaizen.single_flight import SingleFlight

# A copy that has not answered within this share of the deadline, or this time, gets company: another is asked too.
HEDGE_SHARE = 0.5
HEDGE_SECONDS = 1.0
# A shard waits for `min_seq` a little less than the caller waits for the shard: its word that it is behind must arrive.
WAIT_SHARE = 0.9
_FIRST = asyncio.FIRST_COMPLETED
Answer = ShardAnswer | FinalAnswer
# How a copy fails to answer; ValueError is Ray's for an actor that has no such name now.
UNANSWERED = (RayError, TransientError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A search on its way to the shards. `rest` is its vector's bytes (none: by words alone) when that comes later."""

    query: ShardQuery
    pickled: bytes  # once for all shards
    min_seq: int
    rest: asyncio.Future[bytes] | None
    turn: int  # which copy of each shard comes first
    began: float  # of time.monotonic

    async def whole(self) -> bytes:
        """With its vector, for who must have all at once."""
        if self.rest is None:
            return self.pickled
        return self.query.with_vector(await asyncio.shield(self.rest)).pickled()


@dataclass(frozen=True, slots=True)
class _Told:
    """A shard's answer, and the copy that gave it."""

    answer: Answer
    copy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Answers by shard number, and which copy gave each; shards that did not answer in time are in neither."""

    answers: dict[int, Answer]
    copies: dict[int, int]
    shards: int
    behind: bool  # a shard answered that it has not reached min_seq

    @property
    def coverage(self) -> float:
        """Share of the shards that answered."""
        return len(self.answers) / self.shards

    @property
    def waited_s(self) -> float:
        """Seconds until the last of them had reached `min_seq`; without end where one has not."""
        return math.inf if self.behind else max((answer.waited_s for answer in self.answers.values()), default=0.0)


class FanOut:
    """Asks all shards of one index. Belongs to one event loop. `index_id` says which index."""

    def __init__(self, index_id: str, shards: int, replicas: int, namespace: str) -> None:
        self.index_id = index_id
        self._shards = shards
        self._replicas = replicas
        self._namespace = namespace
        self._handles: dict[tuple[int, int], ActorHandle] = {}
        self._looking: SingleFlight[tuple[int, int], ActorHandle] = SingleFlight()
        # One for each copy, begun when it is needed: no look-up waits behind another, and nothing else behind them.
        self._threads = ThreadPoolExecutor(shards * replicas, thread_name_prefix="look-up")
        self._lines: dict[tuple[int, int], DirectCaller | None] = {}  # None: only Ray leads to the copy
        self._turn = itertools.count()

    async def search(
        self, query: ShardQuery, *, min_seq: int, deadline: float, rest: asyncio.Future[bytes] | None = None
    ) -> Gathered:
        """Answers of all shards that make it before `deadline` (of time.monotonic).

        A query without its vector is begun with; `rest` brings the bytes of it, or none when there will be no vector.
        """
        question = Question(
            query=query,
            pickled=query.pickled(),
            min_seq=min_seq,
            rest=rest,
            turn=next(self._turn),
            began=time.monotonic(),
        )
        asked = [self._ask_shard(shard, question, deadline) for shard in range(self._shards)]
        # Gathering makes a task of each, which one alone need not cost.
        results = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
        told = {shard: result for shard, result in enumerate(results) if isinstance(result, _Told)}
        return Gathered(
            answers={shard: one.answer for shard, one in told.items()},
            copies={shard: one.copy for shard, one in told.items()},
            shards=self._shards,
            behind=any(isinstance(result, NotYetSearchable) for result in results),
        )

    async def fetch(
        self, shard: int, places: Sequence[tuple[str, int]], deadline: float, *, copy: int
    ) -> list[dict[str, Any]]:
        """Texts that did not travel with the answer of a copy; none when they are not to be had in time.

        Segments are a copy's own. The others are asked when it does not give them, or is slow: another may have built
        the same segment.
        """
        asked = [asyncio.create_task(self._fetch_from(shard, copy, places, deadline))]
        try:
            done, _ = await asyncio.wait(asked, timeout=_patience(deadline))
            if done and (rows := asked[0].result()):
                return rows
            others = (r for r in range(self._replicas) if r != copy)
            asked += [asyncio.create_task(self._fetch_from(shard, r, places, deadline)) for r in others]
            for each in asyncio.as_completed(asked):
                if rows := await each:
                    return rows
        finally:
            abandon(asked)
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
        said = await asyncio.gather(*(self._call(*c, "ping", deadline) for c in copies), return_exceptions=True)
        for copy, answer in zip(copies, said, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, UNANSWERED):
                    raise answer
                self._forget(*copy)
        return all(not isinstance(answer, BaseException) and answer[0] == "serving" for answer in said)

    def poke(self) -> None:
        """Tell the shards that were asked before that the ledger has news; the others find out by themselves."""
        for copy, handle in list(self._handles.items()):
            try:
                handle.poke.remote()
            except RayError:
                self._forget(*copy)

    async def _ask_shard(self, shard: int, question: Question, deadline: float) -> _Told | NotYetSearchable | None:
        """The shard's answer; NotYetSearchable when it is behind; None when it gave none in time."""
        if self._replicas > 1:
            return await self._ask_copies(shard, question, deadline)
        try:
            return _Told(await self._search_one(shard, 0, question, deadline), copy=0)
        except NotYetSearchable as error:
            return error
        except UNANSWERED:
            return None

    async def _ask_copies(self, shard: int, question: Question, deadline: float) -> _Told | NotYetSearchable | None:
        """Copies in turn: the next is asked when one fails, or when it is slow, and the first answer counts.

        One that failed is asked once more after the others: it may be back when they are not there any more.
        """
        order = [(question.turn + i) % self._replicas for i in range(self._replicas)]
        running: dict[asyncio.Task[Answer], tuple[int, float]] = {}  # the copy, and how late it was asked
        failed: set[int] = set()
        behind: NotYetSearchable | None = None
        try:
            while order or running:
                if order:
                    replica = order.pop(0)
                    task = asyncio.create_task(self._search_one(shard, replica, question, deadline))
                    running[task] = replica, time.monotonic() - question.began
                    if order and question.rest is not None:  # a copy is not slow because the vector is
                        await asyncio.wait({*running, question.rest}, timeout=_left(deadline), return_when=_FIRST)
                wait = _patience(deadline) if order else _left(deadline)
                done, _ = await asyncio.wait(running, timeout=wait, return_when=_FIRST)
                for task in done:
                    (replica, asked_after), error = running.pop(task), task.exception()
                    if error is None:
                        return _Told(_waited_before(task.result(), asked_after, behind), copy=replica)
                    if not isinstance(error, UNANSWERED):
                        raise error
                    if isinstance(error, NotYetSearchable):
                        behind = error
                    elif replica not in failed and _left(deadline):
                        failed.add(replica)
                        order.append(replica)
                if not done and not order:
                    break
        finally:
            abandon(set(running))
        return behind

    async def _search_one(self, shard: int, replica: int, question: Question, deadline: float) -> Answer:
        if not _left(deadline):
            raise TimeoutError  # under a timeout of nothing it would be sent all the same
        try:
            line = await self._line(shard, replica, deadline)
            if line is None:
                answer = await self._search_by_ray(shard, replica, question, deadline)
            else:
                seconds = _left(deadline)
                async with asyncio.timeout(seconds):  # `wait_for` would make a task of it
                    answer = await line.ask(
                        question.pickled, question.min_seq, seconds * WAIT_SHARE, rest=question.rest
                    )
        except (RayError, ValueError, LineLost):
            self._forget(shard, replica)  # a replaced actor has a new handle
            raise
        return unpickled(answer)

    async def _fetch_from(
        self, shard: int, replica: int, places: Sequence[tuple[str, int]], deadline: float
    ) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = await self._call(shard, replica, "fetch", deadline, list(places))
        except TransientError:  # it is well, and has not got the segment
            return []
        except UNANSWERED:
            self._forget(shard, replica)
            return []
        return rows

    async def _search_by_ray(self, shard: int, replica: int, question: Question, deadline: float) -> bytes:
        whole = await asyncio.wait_for(question.whole(), _left(deadline))
        seconds = _left(deadline) * WAIT_SHARE
        answer: bytes = await self._call(shard, replica, "search", deadline, whole, question.min_seq, seconds)
        return answer

    async def _line(self, shard: int, replica: int, deadline: float) -> DirectCaller | None:
        """The way to a copy on this node without Ray between; None where there is none."""
        key = (shard, replica)
        if key not in self._lines:
            node, address = await self._call(shard, replica, "line", deadline)
            here = ray.get_runtime_context().get_node_id()
            caller = DirectCaller(address)
            near = node == here and await asyncio.wait_for(caller.reachable(), _left(deadline))
            self._lines[key] = caller if near else None
        return self._lines[key]

    def _forget(self, shard: int, replica: int) -> None:
        self._handles.pop((shard, replica), None)
        self._lines.pop((shard, replica), None)

    async def _call(self, shard: int, replica: int, method: str, deadline: float, *arguments: object) -> Any:  # noqa: ANN401 (Ray's calls are not typed)
        handle = await self._handle(shard, replica, deadline)
        reference = getattr(handle, method).remote(*arguments)
        return await asyncio.wait_for(asyncio.wrap_future(reference.future()), _left(deadline))

    async def _handle(self, shard: int, replica: int, deadline: float) -> ActorHandle:
        """The copy's handle, looked for once for all who want it."""
        known = self._handles.get((shard, replica))
        if known is not None:
            return known
        looked = self._looking.answer((shard, replica), partial(self._look, shard, replica))
        return await asyncio.wait_for(looked, _left(deadline))

    async def _look(self, shard: int, replica: int) -> ActorHandle:
        """Ask the cluster's head, which may take seconds while an actor restarts, and keep what it says: when all who
        asked have given up by then, the next finds it."""
        look = partial(ray.get_actor, shard_name(self.index_id, shard, replica), namespace=self._namespace)
        handle = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        self._handles[shard, replica] = handle
        return handle


def _waited_before(found: Answer, asked_after: float, behind: NotYetSearchable | None) -> Answer:
    """What it took until this copy was asked was a wait for `min_seq`, too, where a copy was behind: itself, or one
    that has said so. Another that has not answered may hang, or be slow."""
    if found.waited_s or behind is not None:
        return replace(found, waited_s=asked_after + found.waited_s)
    return found


def _patience(deadline: float) -> float:
    """Seconds that a copy has for itself."""
    return min(HEDGE_SECONDS, _left(deadline) * HEDGE_SHARE)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def abandon(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Answers that come later are nobody's; reading the outcome keeps asyncio from reporting it as lost."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
