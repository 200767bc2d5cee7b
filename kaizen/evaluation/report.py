"""The evaluation report of a candidate: everything that its verdict was made from, as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kaizen.evaluation.verdict import Compared, Evidence, Judged, VerdictBounds, deciding

SETS = ("trusted", "held_out", "train", "answers")


def build_report(
    *,
    name: str,
    candidate: str,
    stable: str,
    at: float,
    index_seq: int,
    record: Mapping[str, Any],
    evidence: Evidence,
    bounds: VerdictBounds,
    judged: Judged,
) -> dict[str, Any]:
    """Return the report.

    Args:
        name: where it lies in the object store.
        candidate, stable: ids of the releases.
        at: when it was made. index_seq: the ledger's `seq` that both were searched at.
        record: what made the candidate, as `records.Candidate` keeps it; empty for a release that was not learnt.
    """
    decides = deciding(evidence, bounds)
    return {
        "name": name,
        "candidate": candidate,
        "stable": stable,
        "at": at,
        "index_seq": index_seq,
        "verdict": judged.verdict,
        "code": judged.code,
        "reason": judged.reason,
        "figures": dict(judged.figures),
        "integrity": [asdict(finding) for finding in evidence.findings],
        "decided_on": decides[0] if decides else None,
        "left_out": evidence.left_out,
        "sets": {name: _set(compared) for name in SETS if (compared := getattr(evidence, name)) is not None},
        "p50_ms": _sides(evidence.p50_ms),
        "cost": _cost(evidence, bounds),
        "record": dict(record),
        "bounds": asdict(bounds),
    }


def _set(compared: Compared) -> dict[str, Any]:
    return {
        "queries": compared.queries,
        "metrics": {name: figure.record() for name, figure in compared.metrics.items()},
        "slices": [part.record() for part in compared.slices],
    }


def _sides(pair: tuple[float, float] | None) -> dict[str, float] | None:
    return None if pair is None else {"stable": round(pair[0], 3), "candidate": round(pair[1], 3)}


def _cost(evidence: Evidence, bounds: VerdictBounds) -> dict[str, Any]:
    """What learning cost, and the gain in the deciding metric that an hour of a CPU bought."""
    decides, hours = deciding(evidence, bounds), evidence.cpu_s / 3600
    gain = decides[1].metrics[decides[2]].difference if decides else None
    bought = round(gain / hours, 4) if gain is not None and hours else None
    return {"cpu_s": round(evidence.cpu_s, 1), "gain": gain, "gain_per_cpu_hour": bought}
