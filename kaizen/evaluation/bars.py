"""Bars as SVG, for people: one group a figure, what is compared side by side, and the goal as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_BAR, _GAP, _HEIGHT, _TOP, _BOTTOM = 70, 30, 220, 60, 50
_COLOURS = ("#4269d0", "#b8c4e6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Bars that share a scale. `goal` is a value on it, None for no line."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float]]
    goal: float | None = None


def bars_svg(title: str, groups: Sequence[Group]) -> str:
    """Return the groups side by side as an SVG document."""
    parts, left = [], _GAP
    for group in groups:
        parts.append(_group(group, left))
        left += _width(group) + _GAP
    height = _TOP + _HEIGHT + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left}" height="{height}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="white"/><text x="{_GAP}" y="22" font-size="15">{escape(title)}</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _width(group: Group) -> int:
    return max(len(group.bars) * (_BAR + 10), 8 * len(group.title))


def _group(group: Group, left: int) -> str:
    most = 1.15 * max(*(value for _, value in group.bars), group.goal or 0)
    scale = _HEIGHT / most if most else 0.0
    floor = _TOP + _HEIGHT
    parts = [f'<text x="{left}" y="44" font-size="12">{escape(group.title)}</text>']
    for number, (label, value) in enumerate(group.bars):
        x, height = left + number * (_BAR + 10), value * scale
        parts.append(
            f'<rect x="{x}" y="{floor - height:.1f}" width="{_BAR}" height="{height:.1f}" '
            f'fill="{_COLOURS[number % len(_COLOURS)]}"/>'
            f'<text x="{x + _BAR / 2}" y="{floor - height - 5:.1f}" font-size="11" text-anchor="middle">'
            f"{value:.4g} {escape(group.unit)}</text>"
            f'<text x="{x + _BAR / 2}" y="{floor + 16}" font-size="11" text-anchor="middle">{escape(label)}</text>'
        )
    if group.goal is not None:
        y = floor - group.goal * scale
        parts.append(
            f'<line x1="{left}" x2="{left + _width(group)}" y1="{y:.1f}" y2="{y:.1f}" stroke="#c0392b" '
            f'stroke-dasharray="5 3"/><text x="{left}" y="{floor + 34}" font-size="11" fill="#c0392b">'
            f"goal: {group.goal:.4g} {escape(group.unit)}</text>"
        )
    return "".join(parts)
