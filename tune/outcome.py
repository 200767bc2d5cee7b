"""The result of a sweep as JSON, as a table and as a chart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from kaizen.evaluation.paired import Paired
from kaizen.evaluation.scatter import Point, scatter_svg
from kaizen.evaluation.trusted import words_on_left_out
from kaizen.learning.sweep import PRESENT, Conclusion, Luck, Trial, best

METRICS = {"retrieval": "ndcg@10", "training": "ndcg@10", "answering": "answers"}
_SHOWN = 12


def outcome(
    plan: Mapping[str, Any],
    queries: Mapping[str, Any],
    seqs: Sequence[int],
    trials: Sequence[Trial],
    *,
    lucky: Luck,
    test: Paired | None,
    concluded: Conclusion,
    left_out: int,
    release: str | None,
    cost: Mapping[str, float],
) -> dict[str, Any]:
    """Return all of it as JSON, as of now.

    `queries`: see `Judged.record`. `seqs`: how far each shard was. `left_out`: how many trusted queries were.
    `release`: the candidate that came of it.
    """
    winner, present = best(trials), next(trial for trial in trials if trial.number == PRESENT)
    return {
        **{name: plan[name] for name in ("what", "trials", "seed", "dataset")},
        "queries": dict(queries),
        "base": plan["release"],
        "index_seqs": list(seqs),
        "at": time.time(),
        "decision": concluded.decision,
        "reason": f"{concluded.reason} {words_on_left_out(left_out)}".rstrip(),
        "left_out": left_out,
        "release": release,
        "metric": METRICS[plan["what"]],
        "present": {"settings": present.settings, "validation": round(present.mean, 6)},
        "winner": {"trial": winner.number, "settings": winner.settings, "validation": round(winner.mean, 6)},
        "luck": {name: round(value, 6) for name, value in asdict(lucky).items()},
        "test": test.record() if test else None,
        "table": [_row(trial) for trial in sorted(trials, key=lambda t: (t.share < 1, -t.mean, t.number))],
        "cost": dict(cost),
    }


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "validation": round(trial.mean, 6),
        "share": round(trial.share, 3),
        "settings": dict(trial.settings),
        "cpu_s": trial.cpu_s,
    }


def table(result: Mapping[str, Any]) -> Table:
    """Return the best trials, best first, and the present settings."""
    settings = list(result["present"]["settings"])
    made = Table(title=f"{result['what']} of {result['base']}: {result['trials']} trials, {result['metric']}")
    for name in ("trial", "validation", *settings, "way"):
        made.add_column(name, justify="right")
    rows = result["table"]
    for row in rows[:_SHOWN] + [row for row in rows[_SHOWN:] if row["trial"] == PRESENT]:
        values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row["settings"].values()]
        name = f"{row['trial']} (present)" if row["trial"] == PRESENT else str(row["trial"])
        made.add_row(name, f"{row['validation']:.4f}", *values, f"{row['share']:.0%}")
    return made


def chart(result: Mapping[str, Any]) -> str:
    """Return the trials as SVG, with the present settings and how far luck alone would reach as lines."""
    named = {result["winner"]["trial"]: "best", PRESENT: "present"}
    points = [
        Point(x=row["trial"], y=row["validation"], name=named.get(row["trial"], ""))
        for row in result["table"]
        if row["share"] >= 1
    ]
    present = result["present"]["validation"]
    levels = [("present", present), ("luckiest of equals", present + result["luck"]["expected"])]
    return scatter_svg(
        f"{result['what']} of {result['base']}: {result['decision']}",
        ("trial", f"{result['metric']}, validation half"),
        points,
        levels,
    )
