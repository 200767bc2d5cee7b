"""A chat, and whoever writes its next turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict


class Message(TypedDict):
    """One turn of a chat: role `system`, `user` or `assistant`."""

    role: str
    content: str


class Generator(Protocol):
    """Writes text after a chat. Greedy: the same prompt gives the same text."""

    record: Mapping[str, Any]

    def stream(self, prompt: Sequence[Message], *, max_tokens: int, deadline: float) -> Iterator[str]:
        """Yield pieces of text as they are made. Closing the iterator stops the work.

        Args:
            max_tokens: most tokens to write.
            deadline: `time.monotonic()` seconds by which it must have ended.

        Raises:
            DeadlineExceeded: the deadline came first; what was yielded before stands.
            Unavailable: the model or its endpoint does not answer.
            PermanentError: it refuses this prompt, or is set up wrongly.
        """
        ...

    def close(self) -> None:
        """Release the model. Idempotent."""
        ...
