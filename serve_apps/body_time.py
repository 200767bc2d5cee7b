"""A body comes in time: whoever began to send one and then sends nothing would hold a place that others need."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from kaizen.errors import TooSlow

SILENCE_SECONDS = 10.0
WHOLE_SECONDS = 60.0
# Who sends documents by the megabyte has a key, and gets a second more for so many bytes that came.
BYTES_A_SECOND = 65_536


class InTime:
    """The messages of one request, of which its body is waited for no longer than that."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ends: float | None = None  # of the loop's time
        self._whole = False

    async def receive(self) -> Message:
        """The next message; once the body is whole, that its caller hung up is waited for as long as it takes.

        Raises:
            TooSlow: nothing came for SILENCE_SECONDS, or all of it takes too long.
        """
        if self._whole:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        ends = self._ends or now + WHOLE_SECONDS
        try:
            async with asyncio.timeout_at(min(now + SILENCE_SECONDS, ends)):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(
                "The body did not come in time.",
                advice=f"Send it without a pause of {SILENCE_SECONDS:.0f} s, and in smaller parts over a slow line.",
            ) from None
        self._ends = ends + len(message.get("body", b"")) / BYTES_A_SECOND
        self._whole = not message.get("more_body", False)
        return message
