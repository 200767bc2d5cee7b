"""The evaluation report for people: one HTML file that needs nothing else, runs no script and loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from kaizen.evaluation.paired import proven

_TITLES = {
    "trusted": "Trusted set",
    "held_out": "Held-out queries with feedback",
    "train": "Queries that it learnt from",
    "answers": "Answers to held-out questions",
}
_COLOURS = {"promote": "#1b7f3b", "reject": "#b3261e", "keep_testing": "#8a6d00"}
_STYLE = (
    "body{font:15px/1.45 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}"
    "table{border-collapse:collapse;margin:.5rem 0 1rem}td,th{padding:.2rem .8rem .2rem 0;text-align:right}"
    "td:first-child,th:first-child{text-align:left}th{border-bottom:1px solid #999}"
    "pre{background:#f4f4f4;padding:.7rem;overflow-x:auto}svg{max-width:100%}"
)
_LABELS, _PLOT, _ROW, _FIGURES = 260, 420, 24, 190  # pixels


def report_html(report: Mapping[str, Any]) -> str:
    """Return the page of what `build_report` gave. Every text in it is escaped."""
    name, verdict = str(report["candidate"]), str(report["verdict"])
    made = datetime.fromtimestamp(report["at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        f"<h1>{escape(name)} against {escape(str(report['stable']))}</h1>",
        f'<p><b style="color:{_COLOURS[verdict]}">{escape(verdict.replace("_", " "))}</b> '
        f"({escape(report['code'])}): {escape(report['reason'])}</p>",
        f"<p>Made {made}, on the documents up to seq {int(report['index_seq'])}.</p>",
        *_findings(report["integrity"]),
        *(_set(name, found, name == report["decided_on"]) for name, found in report["sets"].items()),
        _cost(report),
        "<h2>How it was made</h2>" + _json(report["record"]),
        "<h2>What is asked</h2>" + _json(report["bounds"]),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(name)}: {escape(verdict)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _findings(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    if not findings:
        return []
    items = "".join(f"<li><b>{escape(f['code'])}</b>: {escape(f['reason'])}</li>" for f in findings)
    return [f"<h2>Integrity</h2><ul>{items}</ul>"]


def _set(name: str, found: Mapping[str, Any], decides: bool) -> str:
    rows = "".join(_row(metric, figure) for metric, figure in found["metrics"].items())
    intervals = [(metric, figure, False) for metric, figure in found["metrics"].items()]
    intervals += [(part["name"], part, True) for part in found["slices"]]
    return (
        f"<h2>{_TITLES[name]}{' (decides)' if decides else ''}</h2><p>{int(found['queries'])} queries.</p>"
        "<table><tr><th></th><th>stable</th><th>candidate</th><th>difference</th><th>90 % interval</th><th>p</th>"
        f"<th>least gain seen</th></tr>{rows}</table>{_forest(intervals)}"
    )


def _row(metric: str, figure: Mapping[str, float]) -> str:
    cells = [f"{figure['stable']:.4f}", f"{figure['candidate']:.4f}", f"{figure['difference']:+.4f}"]
    cells += [f"{figure['low']:+.4f} to {figure['high']:+.4f}", f"{figure['p']:.3g}", f"{figure['smallest']:.4f}"]
    return f"<tr><td>{escape(metric)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _forest(intervals: Sequence[tuple[str, Mapping[str, float], bool]]) -> str:
    """Differences with their intervals around zero: metrics filled, slices hollow."""
    reach = max((abs(figure[end]) for _, figure, _ in intervals for end in ("low", "high")), default=0) or 1.0
    height = _ROW * len(intervals) + 30
    middle = _LABELS + _PLOT / 2
    rows = [_interval(number, one, reach) for number, one in enumerate(intervals)]
    ends = "".join(
        f'<text x="{middle + side * _PLOT / 2:.0f}" y="{height - 6}" text-anchor="middle">{side * reach:+.3f}</text>'
        for side in (-1, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABELS + _PLOT + _FIGURES}" height="{height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="differences, candidate minus stable">'
        f'<line x1="{middle}" x2="{middle}" y1="0" y2="{height - 20}" stroke="#999" stroke-dasharray="4 3"/>'
        f'<text x="{middle}" y="{height - 6}" text-anchor="middle">0</text>{ends}{"".join(rows)}</svg>'
    )


def _interval(number: int, one: tuple[str, Mapping[str, float], bool], reach: float) -> str:
    name, figure, hollow = one
    y, middle, scale = _ROW * number + _ROW / 2, _LABELS + _PLOT / 2, _PLOT / 2 / reach
    x, low, high = (middle + scale * figure[key] for key in ("difference", "low", "high"))
    colour = _colour(figure)
    fill = "white" if hollow else colour
    return (
        f'<text x="0" y="{y + 4}">{escape(_cut(name))}</text>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{_LABELS + _PLOT + 12}" y="{y + 4}">{figure["difference"]:+.4f} ({int(figure["queries"])})</text>'
    )


def _colour(figure: Mapping[str, float]) -> str:
    """Of what is proven. A slice has no p: its interval holds for all slices at once, and decides alone."""
    if proven(figure["high"] < 0, figure.get("p_worse", 0.0)):
        return "#b3261e"
    return "#1b7f3b" if proven(figure["low"] > 0, figure.get("p", 0.0)) else "#555"


def _cut(name: str) -> str:
    return name if len(name) <= 36 else name[:35] + "…"


def _cost(report: Mapping[str, Any]) -> str:
    cost, times = report["cost"], report["p50_ms"]
    rows = [("CPU-seconds to learn", f"{cost['cpu_s']:.1f}")]
    if cost["gain_per_cpu_hour"] is not None:
        rows.append(("gain for each CPU-hour", f"{cost['gain_per_cpu_hour']:+.3f}"))
    if times:
        rows += [(f"p50 of a query, {side}", f"{spent:.2f} ms") for side, spent in times.items()]
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in rows)
    return f"<h2>Cost</h2><table>{cells}</table>"


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"
