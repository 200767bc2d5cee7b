"""Turns a blocking producer into an iterator that keeps a deadline: the producer runs in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

from kaizen.errors import DeadlineExceeded

Emit = Callable[[str], bool]
"""Hands over one piece; returns False when nobody wants more and the producer should stop."""

_END = object()


def pump(produce: Callable[[Emit], None], *, deadline: float) -> Iterator[str]:
    """Yield what `produce` emits, until it returns, raises (the error is raised here), or the deadline comes.

    A producer may emit an empty piece to ask whether to go on: it is not yielded. One that ignores the answer
    keeps its thread, not its caller.

    Raises:
        DeadlineExceeded: `time.monotonic()` passed `deadline`.
    """
    pieces: queue.SimpleQueue[object] = queue.SimpleQueue()
    stopped = threading.Event()

    def emit(piece: str) -> bool:
        if piece:
            pieces.put(piece)
        return not stopped.is_set() and time.monotonic() < deadline

    def run() -> None:
        try:
            produce(emit)
        except BaseException as error:  # noqa: BLE001 (it is raised again in the thread that asked)
            pieces.put(error)
        else:
            pieces.put(_END)

    threading.Thread(target=run, name="pump", daemon=True).start()
    try:
        yield from _until_end(pieces, deadline)
    finally:
        stopped.set()


def _until_end(pieces: queue.SimpleQueue[object], deadline: float) -> Iterator[str]:
    while True:
        try:
            piece = pieces.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise _late() from None
        if isinstance(piece, BaseException):
            raise piece
        if piece is _END:
            if time.monotonic() >= deadline:
                raise _late()
            return
        yield str(piece)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The generator did not end in time.", advice="Allow more time, or use a faster model.")
