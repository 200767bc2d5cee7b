"""What a person sees while documents are taken in: a bar on a terminal, nothing when a machine reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """Shows counts on standard error as they grow. The bar fills where it is known how many documents there are."""

    def __init__(self, *, quiet: bool) -> None:
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._task = self._bar.add_task("Taking documents in", total=None, counts="starting")
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def expect(self, documents: int | None) -> None:
        """So many documents are to be looked at; None: nobody knows."""
        self._bar.update(self._task, total=documents)

    def update(self, counts: Mapping[str, int]) -> None:
        """Show how far the run is."""
        rate = counts["chunks"] / (time.monotonic() - self._started)
        known = counts["unchanged"] + counts["duplicate"]
        text = f"{counts['documents']} documents, {counts['chunks']} chunks, {rate:.0f} chunks/s"
        text += f", {known} known already" if known else ""
        text += f", {counts['quarantined']} quarantined" if counts["quarantined"] else ""
        done = counts["documents"] + known + counts["quarantined"]
        self._bar.update(self._task, counts=text, completed=done)
