"""The gateway's side of the generator: a blocking iterator over the actor's stream that keeps its deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import ray
from ray.exceptions import RayError

from actors.names import generator_name
from kaizen.errors import DeadlineExceeded, KaizenError, Unavailable
from kaizen.models.generator import Message


class GeneratorCall:
    """One answer's way to the generator actor of a release. Used from a worker thread, never from an event loop.

    Attributes:
        fingerprint: of the generator that wrote, in its own word; empty until it did.
    """

    def __init__(self, release_fingerprint: str, namespace: str) -> None:
        self._name = generator_name(release_fingerprint)
        self._namespace = namespace
        self.fingerprint = ""

    def stream(self, prompt: Sequence[Message], *, max_tokens: int, deadline: float) -> Iterator[str]:
        """Pieces of text; `deadline` is of time.monotonic().

        Raises:
            DeadlineExceeded: the generator is slow or hangs.
            Unavailable: it is dead, or died on the way.
        """
        try:
            actor = ray.get_actor(self._name, namespace=self._namespace)
            pieces = actor.stream.remote(list(prompt), max_tokens, max(0.0, deadline - time.monotonic()))
            while True:
                ready, _ = ray.wait([pieces], timeout=max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise DeadlineExceeded("The generator did not end in time.", advice="Allow more time.")
                try:
                    piece: str = ray.get(next(pieces))
                except StopIteration:
                    return
                if self.fingerprint:
                    yield piece
                self.fingerprint = self.fingerprint or piece
        except KaizenError:
            raise
        except (RayError, ValueError) as error:
            raise Unavailable("The generator does not answer.", advice="Try again in a moment.") from error


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
