"""How far a run is and what it has cost: one small file for each process, also for those that were killed."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One process: where it is and what it took."""

    step: int
    steps: int
    loss: float
    cpu_s: float
    gpu_s: float


class Meter:
    """Writes the reading of this process to `directory`. `gpus`: how many it holds."""

    def __init__(self, directory: Path, *, gpus: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / f"{os.uname().nodename}-{os.getpid()}.json"
        self._began = time.monotonic()
        self._gpus = gpus

    def write(self, step: int, steps: int, loss: float) -> None:
        """Replace what was written before."""
        gpu_s = self._gpus * (time.monotonic() - self._began)
        reading = Reading(step=step, steps=steps, loss=loss, cpu_s=time.process_time(), gpu_s=gpu_s)
        scratch = self._file.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(reading)))
        scratch.replace(self._file)


def readings(directory: Path) -> list[Reading]:
    """Of all processes of the run so far."""
    return [Reading(**json.loads(file.read_text())) for file in sorted(directory.glob("*.json"))]


@contextmanager
def shown(directory: Path, what: str) -> Iterator[None]:
    """Show the run's progress on stderr meanwhile, where stderr is a terminal."""
    ended = threading.Event()
    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        thread = threading.Thread(target=_follow, args=(directory, what, bar, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _follow(directory: Path, what: str, bar: Progress, ended: threading.Event) -> None:
    task = bar.add_task(f"{what}: starting", total=None)
    while not ended.wait(_LOOK_SECONDS):
        if found := max(readings(directory), key=lambda reading: reading.step, default=None):
            bar.update(task, description=f"{what}: loss {found.loss:.4f}", completed=found.step, total=found.steps)
