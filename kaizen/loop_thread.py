"""From any thread to an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Let the loop call `callback` at its next turn; one that has ended, by then or meanwhile, is left alone."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
