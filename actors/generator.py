"""The actor that runs one generator and streams what it writes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import ray

from kaizen.config import Settings
from kaizen.models.generator import Message, open_generator
from kaizen.records import Release
from kaizen.release import generator_of
from kaizen.workspace import open_workspace


class GeneratorActor:
    """One generator, as a release has it. Requests that cannot run side by side wait, until their deadline."""

    def __init__(self, settings: Settings, release: Release) -> None:
        self._generator = open_generator(
            generator_of(release, settings.generator), os.environ, open_workspace(settings).model_path
        )

    @ray.method(num_returns="streaming")
    def stream(self, prompt: Sequence[Message], max_tokens: int, seconds: float) -> Iterator[str]:
        """First the fingerprint of what writes, taken from its files; then pieces of text as they are made.

        Ends after `seconds`, and in a moment when it is cancelled, be it before the first piece. Raises as
        `Generator.stream` does.
        """
        deadline, task = time.monotonic() + seconds, ray.get_runtime_context()
        yield str(self._generator.record["fingerprint"])
        yield from self._generator.stream(
            prompt, max_tokens=max_tokens, deadline=deadline, wanted=lambda: not task.is_canceled()
        )

    @ray.method(concurrency_group="control")
    def ping(self) -> tuple[str, str, int]:
        """State, node and process."""
        return "serving", ray.get_runtime_context().get_node_id(), os.getpid()
