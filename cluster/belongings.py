"""What an installation has on a Ray cluster that is not its own: named actors in its namespace, and a Serve application
that is called like the namespace. Exactly these are taken away, whatever else runs there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import ray
from ray import serve
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError

from actors.fleet import PREFIXES, named_actors
from actors.names import FLEET, STEWARD
from kaizen.config import Settings
from kaizen.errors import Conflict, DeadlineExceeded, Unavailable

GONE_SECONDS = 20.0  # gateways get five to finish what they are at
ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.1
_PAUSE = threading.Event()  # never set: a wait on it is a pause between two looks


def take_away(namespace: str) -> None:
    """End the application and the actors. What goes wrong with the one does not keep the others."""
    with ExitStack() as last:
        last.callback(_end_actors, namespace)
        _end_application(namespace)


def clear_leftovers(settings: Settings) -> None:
    """End the actors of an earlier head that was killed: a fleet that is there would stay, with that one's settings.

    Raises:
        Conflict: they are another installation's.
        Unavailable: whose they are cannot be asked now.
    """
    namespace = settings.cluster.namespace
    if FLEET in named_actors(namespace):
        _check_ours(ray.get_actor(FLEET, namespace=namespace), settings)
    _end_actors(namespace)


def _check_ours(fleet: ActorHandle, settings: Settings) -> None:
    # No method of the fleet, which may be one of an earlier version.
    ledger = fleet.__ray_call__.remote(lambda its: its._settings.ledger_url)
    try:
        ours = ray.get(ledger, timeout=ANSWER_SECONDS) == settings.ledger_url
    except ActorUnavailableError as error:  # it is starting anew, wherever its head is
        raise Unavailable("A fleet of this namespace is just being restarted.", advice="Try again.") from error
    except (RayActorError, GetTimeoutError):
        return  # one that hangs keeps nothing up, and nobody else would ever end it
    if not ours:
        raise Conflict(
            f"Another installation uses the namespace {settings.cluster.namespace!r} of this Ray cluster.",
            advice="Give this one a `cluster.namespace` of its own.",
        )


def _end_application(name: str) -> None:
    if name not in serve.status().applications:
        return
    serve.delete(name, _blocking=False)  # it would wait for a minute, and whoever ends the head waits no longer
    _wait_until_gone(f"application {name}", lambda: name in serve.status().applications)


def _end_actors(namespace: str) -> None:
    """First the supervisor, who would start the others anew; again those that it still did."""

    def some_left() -> bool:
        for name in sorted(left := _ours(namespace), key=lambda name: name != FLEET):
            with suppress(RayError, ValueError):  # it has ended meanwhile
                ray.kill(ray.get_actor(name, namespace=namespace))
        return bool(left)

    _wait_until_gone(f"actors of {namespace}", some_left)


def _ours(namespace: str) -> list[str]:
    return [name for name in named_actors(namespace) if name in (FLEET, STEWARD) or name.startswith(PREFIXES)]


def _wait_until_gone(what: str, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while there():
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"The {what} did not end within {GONE_SECONDS:.0f} s.", advice="See Ray's logs.")
        _PAUSE.wait(_POLL_SECONDS)
