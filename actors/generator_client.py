"""The gateway's side of the generator: a blocking iterator over the actor's stream that keeps its deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import ray
from ray.exceptions import RayError

from actors.names import generator_name
from kaizen.errors import DeadlineExceeded, KaizenError, Unavailable
from kaizen.models.generator import Message


class GeneratorClient:
    """Asks the generator actor of one release. Used from worker threads, never from an event loop."""

    def __init__(self, fingerprint: str, namespace: str) -> None:
        self._name = generator_name(fingerprint)
        self._namespace = namespace

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
                yield piece
        except KaizenError:
            raise
        except (RayError, ValueError) as error:
            raise Unavailable("The generator does not answer.", advice="Try again in a moment.") from error
