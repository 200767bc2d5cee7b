"""A response's head and its body leave in one write.

uvicorn writes the head as soon as it has it, and its loop hands each write to the system at once. So whoever reads
(the HTTP proxy on the same machine, and behind it the caller) woke twice for each response. Figures are in
docs/decisions.md.
"""

from __future__ import annotations

import asyncio


class JoinedWrites:
    """What a response is written to: a write waits for the next, at most to the loop's next turn."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""

    def write(self, data: bytes) -> None:
        """Keep `data` back, or send it with what was kept back."""
        if self._held:
            self._held += data
            self._flush()
        elif data:
            self._held = data
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """As of any transport."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)
