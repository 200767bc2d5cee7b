"""Where the charts of measurements go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaizen.evaluation.bars import Group, bars_svg

OUT = Path(__file__).parent / "out"


def write_chart(name: str, title: str, groups: Sequence[Group]) -> Path:
    """Write `bench/out/NAME.svg` and return its path."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.svg"
    path.write_text(bars_svg(title, groups), encoding="utf-8")
    return path
