"""What a long job tells on standard error: what it does now, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Tells one step after the other; nothing when quiet. `out`: for what is told within a step."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.out = Console(stderr=True, quiet=quiet, highlight=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Tell what begins, and at its end how long it took."""
        self.out.print(f"[bold green]==>[/bold green] {text}")
        started = time.perf_counter()
        yield
        self.out.print(f"  [dim]{time.perf_counter() - started:.1f} s[/dim]")
