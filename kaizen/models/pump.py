"""Turns a blocking producer into an iterator that keeps a deadline: the producer runs in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

from kaizen.errors import DeadlineExceeded
from kaizen.models.chat import Wanted, always

Emit = Callable[[str], bool]
"""Hands over one piece; returns False when nobody wants more and the producer should stop."""

# How soon it is seen that nobody wants more while no piece comes: a prompt is read, or others have their turn.
LOOK_SECONDS = 0.2
_END = object()


def pump(produce: Callable[[Emit], None], *, deadline: float, wanted: Wanted = always) -> Iterator[str]:
    """Yield what `produce` emits, until it returns, raises (the error is raised here), or the deadline comes; or until
    it is not `wanted` any more, which is asked in the thread that iterates.

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
        yield from _until_end(pieces, deadline, wanted)
    finally:
        stopped.set()


def _until_end(pieces: queue.SimpleQueue[object], deadline: float, wanted: Wanted) -> Iterator[str]:
    while wanted():
        left = max(0.0, deadline - time.monotonic())
        try:
            piece = pieces.get(timeout=min(left, LOOK_SECONDS))
        except queue.Empty:
            if left <= LOOK_SECONDS:
                raise _late() from None
            continue
        if isinstance(piece, BaseException):
            raise piece
        if piece is _END:
            if time.monotonic() >= deadline:
                raise _late()
            return
        yield str(piece)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The generator did not end in time.", advice="Allow more time, or use a faster model.")
