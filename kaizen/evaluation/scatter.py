"""Points as SVG, for people: one value a trial, those that matter named, and levels as lines across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _WIDTH, _RIGHT, _TOP, _HEIGHT, _BOTTOM = 64, 560, 220, 44, 260, 44
_POINT, _NAMED, _LINE = "#b8c4e6", "#4269d0", "#c0392b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value at a place on the x axis; one with a name stands out."""

    x: float
    y: float
    name: str = ""


def scatter_svg(
    title: str, axes: tuple[str, str], points: Sequence[Point], levels: Sequence[tuple[str, float]] = ()
) -> str:
    """Return the points (at least one) as an SVG document.

    Args:
        axes: what x and y are. levels: name and y of each line across.
    """
    scale = _Scale.of(points, levels)
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    floor = _TOP + _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<path d="M{_LEFT} {_TOP}V{floor}H{_LEFT + _WIDTH}" fill="none" stroke="#888"/>',
        f'<text x="{_LEFT}" y="{_TOP - 6}" font-size="11">{escape(axes[1])}</text>',
        f'<text x="{_LEFT + _WIDTH / 2}" y="{floor + 32}" font-size="11" text-anchor="middle">{escape(axes[0])}</text>',
        *(_tick(value, scale.y(value)) for value in (scale.low, (scale.low + scale.high) / 2, scale.high)),
        *(_level(name, value, scale.y(value)) for name, value in levels),
        *(_point(point, scale) for point in sorted(points, key=lambda point: bool(point.name))),
    ]
    return "".join(parts) + "</svg>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    first: float
    last: float
    low: float
    high: float

    @classmethod
    def of(cls, points: Sequence[Point], levels: Sequence[tuple[str, float]]) -> _Scale:
        places = [point.x for point in points]
        values = [point.y for point in points] + [value for _, value in levels]
        margin = 0.05 * (max(values) - min(values)) or 0.01
        return cls(first=min(places) - 0.5, last=max(places) + 0.5, low=min(values) - margin, high=max(values) + margin)

    def x(self, place: float) -> float:
        return _LEFT + _WIDTH * (place - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return _TOP + _HEIGHT * (self.high - value) / (self.high - self.low)


def _tick(value: float, y: float) -> str:
    return f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" font-size="11" text-anchor="end">{value:.3f}</text>'


def _level(name: str, value: float, y: float) -> str:
    right = _LEFT + _WIDTH
    return (
        f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_LINE}" stroke-dasharray="5 3"/>'
        f'<text x="{right + 6}" y="{y + 4:.1f}" font-size="11" fill="{_LINE}">{escape(name)}: {value:.4f}</text>'
    )


def _point(point: Point, scale: _Scale) -> str:
    x, y, colour = scale.x(point.x), scale.y(point.y), _NAMED if point.name else _POINT
    label = f'<text x="{x:.1f}" y="{y - 8:.1f}" font-size="11" text-anchor="middle">{escape(point.name)}</text>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>{label if point.name else ""}'
