"""For unit tests: Ray cannot start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

RAY_PROGRAMS = {"gcs_server", "raylet"}


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse `ray.init` (also the one that `.remote()` calls), and Ray's own programs if it is imported later."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("A unit test cannot start Ray: move it to tests/ray.")

    start = subprocess.Popen.__init__

    def guarded(self: subprocess.Popen[bytes], args: Sequence[object], *rest: object, **options: object) -> None:
        program = args if isinstance(args, str) else str(next(iter(args), ""))
        if Path(program).name in RAY_PROGRAMS:
            refuse()
        start(self, args, *rest, **options)

    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", guarded)
