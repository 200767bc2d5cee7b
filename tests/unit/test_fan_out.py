"""Copies of a shard, asked over their lines: a question may go ahead of its vector."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from actors import fan_out
from actors.direct_line import DirectCaller, DirectLine
from actors.fan_out import Answer, FanOut, Gathered
from actors.names import shard_name
from kaizen.config import Retrieval
from kaizen.errors import NotYetSearchable, Unavailable
from kaizen.records import Document, Principal
from kaizen.retrieval.query import ShardQuery, begin, fetch, search, vector_bytes
from kaizen.retrieval.ranking import finished, unpickled
from kaizen.retrieval.view import View
from tests.unit.retrieval.rows import document, segment, vector

MANY = 40  # more than an event loop's own threads
TEXT = "pump motor"
DOCUMENTS = [document(f"d{i}", text) for i, text in enumerate(("pump", "motor", "pump motor", "belt", "gear"))]
Rest = Callable[[], bytes]


def view_of(documents: list[Document]) -> View:
    return View(0, ()).apply(1, [(d.tenant, d.id) for d in documents], segment(*documents))


VIEW = view_of(DOCUMENTS)
QUERY = ShardQuery(
    mode="hybrid",
    vector=None,
    terms=("pump", "motor"),
    principal=Principal(key_id="k", tenant="acme", groups=(), scopes=("search",)),
    condition=None,
    types={},
    settings=Retrieval(),
    depth=10,
    texts=5,
)
WHOLE = QUERY.with_vector(vector_bytes(vector(TEXT)))


class Copy:
    """Answers from the view as a shard's actor does, and counts."""

    def __init__(self, failing: bool = False, view: View = VIEW) -> None:
        self.begun = threading.Semaphore(0)
        self.ended = 0
        self._failing = failing
        self.view = view

    def search(self, pickled: bytes, _min_seq: int = 0, _seconds: float = 10, rest: Rest | None = None) -> bytes:
        query = ShardQuery.unpickled(pickled)
        half = begin(self.view, query)
        self.begun.release()
        if self._failing:
            raise Unavailable("The shard is loading.", advice="Wait.")
        if rest is not None:
            query = query.with_vector(rest())
        self.ended += 1
        return finished(half.end(query), query, partial(fetch, self.view.by_name())).pickled()


def asked_of(*copies: Copy, vector_comes: Callable[[asyncio.Future[bytes]], Any], seconds: float = 10.0) -> Gathered:
    """What comes of QUERY while `vector_comes` works on its vector beside it."""

    async def ask() -> Gathered:
        fan = FanOut("index", shards=1, replicas=len(copies), namespace="tests")
        fan._lines = {(0, i): DirectCaller(DirectLine(copy.search).address) for i, copy in enumerate(copies)}
        rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answers = asyncio.create_task(fan.search(QUERY, min_seq=0, deadline=time.monotonic() + seconds, rest=rest))
        await vector_comes(rest)
        try:
            return await answers
        finally:
            hang_up(fan)

    return asyncio.run(ask())


def hang_up(fan: FanOut) -> None:
    """While the loop of its lines is there."""
    for line in fan._lines.values():
        if line is not None:
            line.close()


def documents(gathered: Gathered) -> list[str]:
    return sorted(row["document_id"] for row in gathered.answers[0].texts.values())


async def at_once(rest: asyncio.Future[bytes]) -> None:
    rest.set_result(vector_bytes(vector(TEXT)))


def test_a_shard_begins_before_the_vector_is_there() -> None:
    copy = Copy()

    async def later(rest: asyncio.Future[bytes]) -> None:
        assert await asyncio.to_thread(copy.begun.acquire, timeout=10)
        await at_once(rest)

    gathered = asked_of(copy, vector_comes=later)
    wanted = search(VIEW, WHOLE)
    assert documents(gathered) == sorted(row["document_id"] for row in wanted.texts.values())
    assert gathered.answers[0].candidates.cosine.tolist() == wanted.candidates.cosine.tolist()


def test_without_a_vector_words_alone_count() -> None:
    async def never(rest: asyncio.Future[bytes]) -> None:
        rest.set_result(b"")

    gathered = asked_of(Copy(), vector_comes=never)
    assert documents(gathered) == ["d0", "d1", "d2"]
    assert not gathered.answers[0].candidates.cosine.any()


def test_a_copy_is_not_slow_because_the_vector_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "HEDGE_SECONDS", 0.5)
    copies = Copy(), Copy()

    async def slowly(rest: asyncio.Future[bytes]) -> None:
        await asyncio.sleep(0.8)
        await at_once(rest)

    assert documents(asked_of(*copies, vector_comes=slowly))
    assert sum(copy.begun.acquire(blocking=False) for copy in copies) == 1


def test_another_copy_gets_question_and_vector_when_one_fails() -> None:
    copies = Copy(failing=True), Copy()
    assert documents(asked_of(*copies, vector_comes=at_once))
    assert copies[1].ended == 1


def test_copies_take_turns_in_every_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[tuple[int, int]] = []

    async def search_one(_fan: FanOut, shard: int, replica: int, *_: object) -> Answer:
        first.append((shard, replica))
        return unpickled(Copy().search(WHOLE.pickled()))

    monkeypatch.setattr(FanOut, "_search_one", search_one)

    async def ask() -> None:
        fan = FanOut("index", shards=2, replicas=2, namespace="tests")
        for _ in range(2):
            await fan.search(WHOLE, min_seq=0, deadline=time.monotonic() + 10)

    asyncio.run(ask())
    assert sorted(first) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_who_stops_waiting_leaves_no_search_behind() -> None:
    async def ask() -> int:
        fan = FanOut("index", shards=1, replicas=2, namespace="tests")
        copy = Copy()
        fan._lines = {(0, i): DirectCaller(DirectLine(copy.search).address) for i in range(2)}
        rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answers = asyncio.create_task(fan.search(QUERY, min_seq=0, deadline=time.monotonic() + 60, rest=rest))
        assert await asyncio.to_thread(copy.begun.acquire, timeout=10)
        answers.cancel()
        await asyncio.wait({answers})
        left = asyncio.all_tasks() - {asyncio.current_task()}
        hang_up(fan)
        return len((await asyncio.wait(left, timeout=10))[1]) if left else 0

    assert asyncio.run(ask()) == 0


def test_a_vector_that_never_comes_costs_no_more_than_the_deadline() -> None:
    async def never(_: asyncio.Future[bytes]) -> None:
        return None

    started = time.monotonic()
    assert asked_of(Copy(), Copy(), vector_comes=never, seconds=0.3).coverage == 0
    assert time.monotonic() - started < 5


def test_where_only_ray_leads_the_vector_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Copy()

    async def call(_fan: FanOut, _shard: int, _replica: int, method: str, deadline: float, *asked: Any) -> bytes:  # noqa: ANN401
        assert method == "search"
        assert 0 < asked[2] < deadline - time.monotonic()  # the shard's word that it is behind must arrive
        return copy.search(*asked)

    monkeypatch.setattr(FanOut, "_call", call)

    async def ask() -> Gathered:
        fan = FanOut("index", shards=1, replicas=1, namespace="tests")
        fan._lines = {(0, 0): None}
        rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answers = asyncio.create_task(fan.search(QUERY, min_seq=0, deadline=time.monotonic() + 2, rest=rest))
        await asyncio.sleep(0.5)
        assert not copy.begun.acquire(blocking=False)
        await at_once(rest)
        return await answers

    wanted = search(VIEW, WHOLE).candidates.cosine.tolist()
    assert asyncio.run(ask()).answers[0].candidates.cosine.tolist() == wanted


class Head:
    """The cluster's head, as Ray asks it for an actor: it answers when it may, for shard 1 at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.error: Exception | None = None

    def get_actor(self, name: str, **_: object) -> str:
        self.asked.append(name)
        if name != shard_name("index", 1, 0):
            assert self.may_answer.wait(10)
        if self.error is not None:
            raise self.error
        return f"handle of {name}"


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    made = Head()
    monkeypatch.setattr(fan_out, "ray", made)
    yield made
    made.may_answer.set()


def handle(fan: FanOut, shard: int = 0, seconds: float = 10.0) -> Coroutine[Any, Any, Any]:
    return fan._handle(shard, 0, time.monotonic() + seconds)


def test_one_looks_for_a_copy_for_all(head: Head) -> None:
    async def ask() -> None:
        fan = FanOut("index", shards=1, replicas=1, namespace="tests")
        waiting = [asyncio.create_task(handle(fan)) for _ in range(MANY)]
        with pytest.raises(TimeoutError):
            await handle(fan, seconds=0.05)
        waiting[0].cancel()
        await asyncio.wait({waiting[0]})
        head.may_answer.set()
        assert set(await asyncio.gather(*waiting[1:])) == {f"handle of {shard_name('index', 0, 0)}"}
        assert head.asked == [shard_name("index", 0, 0)]

    asyncio.run(ask())


def test_neither_other_copies_nor_writes_wait_for_a_look_up(head: Head) -> None:
    async def ask() -> None:
        fan = FanOut("index", shards=MANY, replicas=1, namespace="tests")
        waiting = [asyncio.create_task(handle(fan, shard)) for shard in range(MANY) if shard != 1]
        while not head.asked:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 5)
        assert await handle(fan, shard=1, seconds=5) == f"handle of {shard_name('index', 1, 0)}"
        head.may_answer.set()
        await asyncio.gather(*waiting)

    asyncio.run(ask())


def test_what_is_found_too_late_is_there_for_the_next(head: Head) -> None:
    async def ask() -> None:
        fan = FanOut("index", shards=1, replicas=1, namespace="tests")
        with pytest.raises(TimeoutError):
            await handle(fan, seconds=0.05)
        head.may_answer.set()
        await handle(fan)
        await handle(fan)

    asyncio.run(ask())
    assert len(head.asked) == 1


def test_a_copy_that_is_not_there_is_looked_for_again(head: Head) -> None:
    head.may_answer.set()

    async def ask() -> None:
        fan = FanOut("index", shards=1, replicas=1, namespace="tests")
        head.error = ValueError("no such actor")
        for _ in range(2):
            with pytest.raises(ValueError, match="no such actor"):
                await handle(fan)
        head.error = None
        await handle(fan)
        fan._forget(0, 0)
        await handle(fan)

    asyncio.run(ask())
    assert len(head.asked) == 4


def fetched(monkeypatch: pytest.MonkeyPatch, *copies: Callable[[], Any], first: int = 0) -> tuple[Any, Any, list[int]]:
    """What comes of a fetch from these copies, the handles that are still known then, and who was asked."""
    asked: list[int] = []

    async def call(_fan: FanOut, _shard: int, replica: int, method: str, *_: object) -> Any:  # noqa: ANN401
        assert method == "fetch"
        asked.append(replica)
        answer = copies[replica]()
        return await answer if asyncio.iscoroutine(answer) else answer

    monkeypatch.setattr(FanOut, "_call", call)

    async def ask() -> tuple[Any, Any, list[int]]:
        fan: Any = FanOut("index", shards=1, replicas=len(copies), namespace="tests")
        fan._handles = {(0, replica): "handle" for replica in range(len(copies))}
        async with asyncio.timeout(5):
            rows = await fan.fetch(0, [("segment", 7)], time.monotonic() + 10, copy=first)
            return rows, [r for _, r in fan._handles], asked

    return asyncio.run(ask())


def fails(error: Exception) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


def test_texts_come_from_the_copy_that_has_them_whatever_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    row = [{"text": "pump"}]
    replaced, ended = fails(Unavailable("The segment was replaced meanwhile.")), fails(ValueError("no such actor"))
    monkeypatch.setattr(fan_out, "HEDGE_SECONDS", 0.2)
    assert fetched(monkeypatch, lambda: asyncio.sleep(60), lambda: row) == (row, [0, 1], [0, 1])
    assert fetched(monkeypatch, replaced, lambda: row) == (row, [0, 1], [0, 1])
    assert fetched(monkeypatch, ended, replaced) == ([], [1], [0, 1])


def test_texts_are_asked_of_the_copy_alone_that_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    row = [{"text": "pump"}]
    assert fetched(monkeypatch, lambda: row, lambda: row, lambda: row, first=1) == (row, [0, 1, 2], [1])
    assert asked_of(Copy(failing=True), Copy(), vector_comes=at_once).copies == {0: 1}


Search = Callable[..., bytes]


def waited(*copies: Search) -> float:
    """What a search for a change is told to have waited, of two copies that are asked one after the other."""

    async def ask() -> float:
        fan = FanOut("index", shards=1, replicas=2, namespace="tests")
        fan._lines = {(0, replica): DirectCaller(DirectLine(copy).address) for replica, copy in enumerate(copies)}
        try:
            return (await fan.search(WHOLE, min_seq=3, deadline=time.monotonic() + 10)).waited_s
        finally:
            hang_up(fan)

    return asyncio.run(ask())


def answers_after(seconds: float) -> Search:
    """A copy that has to wait so long until it has the change."""

    def search(*question: Any) -> bytes:  # noqa: ANN401
        return replace(unpickled(Copy().search(*question)), waited_s=seconds).pickled()

    return search


def test_a_wait_for_a_change_is_told_with_that_for_a_copy_before_which_is_behind_and_a_slow_copy_is_no_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def hangs(*_: object) -> bytes:
        assert over.wait(10)
        raise Unavailable("too late")

    def is_behind(*_: object) -> bytes:
        over.wait(0.3)
        raise NotYetSearchable("The index has not reached 3.", advice="Try again.")

    try:
        assert 0.3 <= waited(is_behind, answers_after(0.0)) < 5
        monkeypatch.setattr(fan_out, "HEDGE_SECONDS", 0.2)
        assert 0.7 <= waited(hangs, answers_after(0.5)) < 5
        assert waited(hangs, answers_after(0.0)) == 0
    finally:
        over.set()
