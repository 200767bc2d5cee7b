"""What takes the place of a defence that is switched off: what one would write who had not thought of the fault."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

Function = Callable[..., Any]


def whole(_: object) -> property:
    """`Gathered.coverage`: nobody counts the shards that did not answer."""
    return property(lambda gathered: 1.0)


def ask_one_copy(_: Function) -> Function:
    """`FanOut._ask_copies`: one copy is asked, and that is that."""

    async def ask(fan_out: Any, shard: int, question: Any, deadline: float) -> Any:  # noqa: ANN401
        from actors.fan_out import _Told

        replica = question.turn % fan_out._replicas
        try:
            return _Told(await fan_out._search_one(shard, replica, question, deadline), copy=replica)
        except Exception:  # noqa: BLE001 (a stand-in)
            return None

    return ask


def patient(original: Function) -> Function:
    """`FanOut._search_one`: hardly a deadline."""

    async def search(fan_out: Any, shard: int, replica: int, question: object, _: float) -> Any:  # noqa: ANN401
        return await original(fan_out, shard, replica, question, time.monotonic() + 60)

    return search


def never_replaces(original: Function) -> Function:
    """`fleet.plan`: who hangs, hangs."""
    return lambda *names, **known: replace(original(*names, **known), replace=())


def none_at_all(_: object) -> int:
    """`fleet.MAX_RESTARTS`: Ray is not told to start the actor again."""
    return 0


def starts_once(original: Function) -> Function:
    """`fleet.plan`: whom it started once, it does not start again."""
    begun: set[str] = set()

    def plan(*names: Any, **known: Any) -> Any:  # noqa: ANN401
        wanted = original(*names, **known)
        start = tuple(name for name in wanted.start if name not in begun)
        begun.update(start)
        return replace(wanted, start=start, replace=())

    return plan


def no_end(_: Function) -> Function:
    """`GeneratorCall.stream`: waits for the generator as long as it takes."""

    def stream(call: Any, prompt: Any, *, max_tokens: int, deadline: float) -> Iterator[str]:  # noqa: ANN401
        import ray

        actor = ray.get_actor(call._name, namespace=call._namespace)
        pieces = actor.stream.remote(list(prompt), max_tokens, 60.0)
        for number, piece in enumerate(pieces):
            if number:
                yield ray.get(piece)

    return stream


def everybody(_: Function) -> Function:
    """`Admission.slot`: all come in."""

    @asynccontextmanager
    async def slot(_admission: object, **_asked: object) -> AsyncIterator[None]:
        yield

    return slot


def last_one_wins(original: Function) -> Function:
    """`ledger.rollout._change`: writes without comparing the version."""

    def change(connection: Any, wanted: Any) -> Any:  # noqa: ANN401
        from kaizen.storage.ledger.rollout import _state

        return original(connection, replace(wanted, version=_state(connection).version))

    return change


def serves_own_pace(health: Mapping[str, str]) -> Mapping[str, str]:
    """`ingress.PROXY_HEALTH`: the seconds that Serve has by itself."""
    seconds = {"HEALTH_CHECK_PERIOD": 10.0, "HEALTH_CHECK_TIMEOUT": 10.0, "READY_CHECK_TIMEOUT": 5.0}
    own = {f"RAY_SERVE_PROXY_{name}_S": str(value) for name, value in seconds.items()}
    assert own.keys() == health.keys(), "Write down what Serve does by itself in place of what is set now."
    return own


def keyless(original: Function) -> Function:
    """`ledger.feedback._record`: nobody looks for the key."""
    return lambda connection, judgement: original(connection, replace(judgement, idempotency_key=""))


def at_once(_: object) -> float:
    """A time that something lingers: none."""
    return 0.0


def one_way_for_all(original: Function) -> Function:
    """`Opener.fan_out`: a swap changes where the one way leads, also for those who are on it."""

    def fan_out(opener: Any, release: Any) -> Any:  # noqa: ANN401
        made = original(opener, release)
        shared = opener.__dict__.setdefault("_one_way", made)
        shared.index_id, shared._handles = made.index_id, {}
        return shared

    return fan_out


def never(_: Function) -> Function:
    """Something that is asked whether it is so: it never is."""
    return lambda *_: False


def mortal(original: Function) -> Function:
    """Serve's `get_controller_impl`: nobody starts it again."""
    return lambda *controller, **options: original(*controller, **options).options(max_restarts=0)


def not_fatal(_: object) -> tuple[type[Exception], ...]:
    """`group_commit._FATAL`: after a failed sync the writer goes on."""
    return ()


def fatal_when_full(original: tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    """The same: a full disk is taken for a broken one."""
    from kaizen.errors import StorageFull

    return (*original, StorageFull)


def wall_clock(original: ModuleType) -> SimpleNamespace:
    """The module `time` of one that counts seconds by the clock that somebody may set."""
    return SimpleNamespace(**{**vars(original), "monotonic": original.time})


def nobody(_: Function) -> Function:
    """`keep_gcs`: nobody looks whether it lives."""
    return lambda: lambda: None


def nothing_happens(_: Function) -> Function:
    """A function that does something: it does not."""
    return lambda *_: None
