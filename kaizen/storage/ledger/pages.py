"""Long tables, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

Row = TypeVar("Row")
_PAGE = 1000


def rows_between(
    after: Callable[[int, int], list[tuple[int, Row]]], since: int = 0, until: int | None = None
) -> Iterator[tuple[int, Row]]:
    """Yield the rows with a `seq` in (since, until], in order; None: to the end.

    Args:
        after: gives (seq, row) after a `seq`, at most so many.
    """
    since = max(0, since)
    while page := after(since, _PAGE):
        for seq, row in page:
            if until is not None and seq > until:
                return
            yield seq, row
        since = page[-1][0]
