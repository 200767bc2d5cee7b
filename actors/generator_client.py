"""The gateway's side of the generator: a blocking iterator over the actor's stream that keeps its deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError

import ray
from ray.exceptions import RayError

from actors.names import generator_name
from kaizen.errors import DeadlineExceeded, KaizenError, Unavailable
from kaizen.models.generator import Message

# How soon a thread that waits for a piece sees that nobody waits for it any more: Ray's wait cannot be called off.
LOOK_SECONDS = 0.2


class GeneratorCall:
    """One answer's way to the generator actor of a release. Used from a worker thread, never from an event loop.

    Attributes:
        fingerprint: of the generator that wrote, in its own word; empty until it did.
    """

    def __init__(self, release_fingerprint: str, namespace: str) -> None:
        self._name = generator_name(release_fingerprint)
        self._namespace = namespace
        self._stopped = threading.Event()
        self.fingerprint = ""

    def stop(self) -> None:
        """Nobody waits for the text any more: `stream` ends in a moment, and the generator at its next piece."""
        self._stopped.set()

    def stream(self, prompt: Sequence[Message], *, max_tokens: int, deadline: float) -> Iterator[str]:
        """Pieces of text; `deadline` is of time.monotonic().

        Raises:
            DeadlineExceeded: the generator is slow or hangs.
            Unavailable: it is dead, or died on the way.
            CancelledError: it was stopped.
        """
        try:
            actor = ray.get_actor(self._name, namespace=self._namespace)
            pieces = actor.stream.remote(list(prompt), max_tokens, max(0.0, deadline - time.monotonic()))
            try:
                while True:
                    self._wait_for(pieces, deadline)
                    try:
                        piece: str = ray.get(next(pieces))
                    except StopIteration:
                        return
                    if self.fingerprint:
                        yield piece
                    self.fingerprint = self.fingerprint or piece
            except (CancelledError, GeneratorExit):
                ray.cancel(pieces)
                raise
        except KaizenError:
            raise
        except (RayError, ValueError) as error:
            raise Unavailable("The generator does not answer.", advice="Try again in a moment.") from error

    def _wait_for(self, pieces: ray.ObjectRefGenerator, deadline: float) -> None:
        """Return when there is a piece, or the end."""
        while not self._stopped.is_set():
            left = max(0.0, deadline - time.monotonic())
            ready, _ = ray.wait([pieces], timeout=min(left, LOOK_SECONDS))
            if ready:
                return
            if left <= LOOK_SECONDS:
                raise DeadlineExceeded("The generator did not end in time.", advice="Allow more time.")
        raise CancelledError


class GeneratorClient:
    """Makes calls to the generator of one release."""

    def __init__(self, release_fingerprint: str, namespace: str) -> None:
        self.fingerprint = release_fingerprint
        self._namespace = namespace

    def call(self) -> GeneratorCall:
        """For one answer."""
        return GeneratorCall(self.fingerprint, self._namespace)

    def serving(self, seconds: float) -> bool:
        """Whether the actor is up; waits for its word at most so long."""
        try:
            actor = ray.get_actor(generator_name(self.fingerprint), namespace=self._namespace)
            state: str = ray.get(actor.ping.remote(), timeout=seconds)[0]
        except (RayError, TimeoutError, ValueError):
            return False
        return state == "serving"
