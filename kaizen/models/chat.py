"""A chat, and whoever writes its next turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict

Wanted = Callable[[], bool]


class Message(TypedDict):
    """One turn of a chat: role `system`, `user` or `assistant`."""

    role: str
    content: str


def always() -> bool:
    """Somebody waits for the text to its end."""
    return True


class Generator(Protocol):
    """Writes text after a chat. Greedy: the same prompt gives the same text."""

    record: Mapping[str, Any]

    def stream(
        self, prompt: Sequence[Message], *, max_tokens: int, deadline: float, wanted: Wanted = always
    ) -> Iterator[str]:
        """Yield pieces of text as they are made. Closing the iterator stops the work.

        Args:
            max_tokens: most tokens to write.
            deadline: `time.monotonic()` seconds by which it must have ended.
            wanted: whether anybody still waits for the text. It is asked now and then, also before the first piece, in
                the thread that iterates; once nobody does, the iterator ends and the work stops.

        Raises:
            DeadlineExceeded: the deadline came first; what was yielded before stands.
            Unavailable: the model or its endpoint does not answer.
            PermanentError: it refuses this prompt, or is set up wrongly.
        """
        ...

    def close(self) -> None:
        """Release the model. Idempotent."""
        ...
