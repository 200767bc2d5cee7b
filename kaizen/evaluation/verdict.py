"""Promote, reject or keep testing: rules over figures, in the order in which they are decisive.

A candidate must prove that it is better (`Paired.better`); a doubt is not a proof. What is broken or worse is rejected
with the reason that fits best; what is neither proven better nor proven worse stays for the online test, which may yet
decide. Other metrics and slices are guards: a fall beyond what is borne needs no proof, an interval below 0 is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kaizen.evaluation.paired import Paired
from kaizen.evaluation.slices import SliceResult
from kaizen.evaluation.trusted import words_on_left_out
from kaizen.records import Verdict

PRIMARY = "ndcg@10"
AGREEMENT = "agreement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an integrity check has against a candidate. `code`: its reason in one word, such as `nan-weights`."""

    code: str
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both releases on one set of queries. `metrics`: name -> comparison; `slices` of the primary, worst first."""

    metrics: Mapping[str, Paired]
    slices: Sequence[SliceResult] = ()

    @property
    def queries(self) -> int:
        """How many."""
        return max((metric.queries for metric in self.metrics.values()), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a verdict is made from.

    Attributes:
        findings: of the integrity checks, in their order; with any, nothing else was measured.
        trusted: on the judgements of people who are trusted; None without such.
        left_out: how many trusted queries are not in `trusted`, because their tenant has no relevant document.
        held_out, train: on queries with feedback that the candidate did not, and did, learn from.
        answers: on demonstrations held out, for a candidate with another generator; by `agreement`.
        p50_ms: (stable, candidate) of embedding and ranking one query.
        cpu_s: what it cost to learn.
    """

    findings: Sequence[Finding] = ()
    trusted: Compared | None = None
    left_out: int = 0
    held_out: Compared | None = None
    train: Compared | None = None
    answers: Compared | None = None
    p50_ms: tuple[float, float] | None = None
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictBounds:
    """What is asked.

    Attributes:
        min_queries, min_answers: a set with fewer decides nothing; demonstrations are rarer.
        metric_drop, slice_drop: fall of another metric, or of one slice, that is borne.
        fit_gap: by how much the gain on the train queries may exceed the one that counts.
        latency_ratio, latency_slack_ms: slower than the stable p50 times the one plus the other is too slow.
        gain_per_cpu_hour: gain in the primary metric that an hour of a CPU must have bought.
    """

    min_queries: int = 30
    min_answers: int = 10
    metric_drop: float = 0.01
    slice_drop: float = 0.05
    fit_gap: float = 0.1
    latency_ratio: float = 2.0
    latency_slack_ms: float = 3.0
    gain_per_cpu_hour: float = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict. `code`: its reason in one word; `reason`: in a sentence with the figures."""

    verdict: Verdict
    code: str
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def judge(evidence: Evidence, bounds: VerdictBounds | None = None) -> Judged:
    """Return the first verdict that a rule gives; the last rule always gives one."""
    limits = bounds or VerdictBounds()
    for rule in _RULES:
        if (judged := rule(evidence, limits)) is not None:
            return replace(judged, reason=f"{judged.reason} {words_on_left_out(evidence.left_out)}".rstrip())
    raise AssertionError("the last rule decides")


def deciding(evidence: Evidence, bounds: VerdictBounds) -> tuple[str, Compared, str] | None:
    """Return name, set and primary metric of the comparison that counts; None when there are too few queries."""
    ranked = (("trusted", evidence.trusted, PRIMARY), ("held_out", evidence.held_out, PRIMARY))
    for name, compared, metric in (("answers", evidence.answers, AGREEMENT), *ranked):
        least = bounds.min_answers if name == "answers" else bounds.min_queries
        if compared is not None and compared.queries >= least:
            return name, compared, metric
    return None


def too_slow(p50_ms: tuple[float, float], bounds: VerdictBounds) -> bool:
    """Whether the candidate (second) is so slow that nothing else matters."""
    stable, candidate = p50_ms
    return candidate > stable * bounds.latency_ratio + bounds.latency_slack_ms


def _broken(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    if not evidence.findings:
        return None
    first = evidence.findings[0]
    return Judged(verdict="reject", code=first.code, reason=first.reason, figures=first.figures)


def _slow(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    if evidence.p50_ms is None or not too_slow(evidence.p50_ms, bounds):
        return None
    stable, candidate = evidence.p50_ms
    figures = {"p50_ms": {"stable": round(stable, 3), "candidate": round(candidate, 3)}}
    return _reject("slow", f"A query takes {candidate:.1f} ms instead of {stable:.1f} ms.", figures)


def _unjudged(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    if deciding(evidence, bounds) is not None:
        return None
    reason = f"There are fewer than {bounds.min_queries} judged or held-out queries to compare it on."
    return Judged(verdict="keep_testing", code="no-judgements", reason=reason)


def _disagrees(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    """Feedback likes it and those who are trusted do not: the mark of feedback that was not honest."""
    trusted, learnt = evidence.trusted, evidence.held_out
    if trusted is None or learnt is None or trusted.queries < bounds.min_queries:
        return None
    wanted, got = learnt.metrics[PRIMARY], trusted.metrics[PRIMARY]
    if not wanted.better or got.difference >= 0 or got.low > -bounds.metric_drop:
        return None
    said = f"It gains {wanted.difference:+.3f} on feedback and {_said(got)} on the trusted set."
    return _reject("feedback-disagrees", said, {"feedback": wanted.record(), "trusted": got.record()})


def _over_fitted(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    name, primary = _primary(evidence, bounds)
    if evidence.train is None or primary.better:
        return None
    learnt = evidence.train.metrics[PRIMARY]
    if not learnt.better or learnt.difference - primary.difference <= bounds.fit_gap:
        return None
    said = f"It gains {learnt.difference:+.3f} on what it learnt from and {_said(primary)} on {_words(name)}."
    return _reject("over-fitted", said, {"train": learnt.record(), name: primary.record()})


def _worse(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    name, primary = _primary(evidence, bounds)
    if not primary.worse:
        return None
    return _reject("worse", f"It is worse: {_said(primary)} on {_words(name)}.", {name: primary.record()})


def _guard_metric(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    sets = {"trusted": evidence.trusted, "held_out": evidence.held_out, "answers": evidence.answers}
    for name, compared in sets.items():
        for metric, figure in compared.metrics.items() if compared is not None else ():
            enough = figure.queries >= (bounds.min_answers if name == "answers" else bounds.min_queries)
            if enough and figure.high < 0 and figure.difference < -bounds.metric_drop:
                said = f"{metric} falls: {_said(figure)} on {_words(name)}."
                return _reject("guard-metric", said, {"metric": metric, name: figure.record()})
    return None


def _slice(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    for name, compared in (("trusted", evidence.trusted), ("held_out", evidence.held_out)):
        for part in compared.slices if compared is not None else ():
            if part.high < 0 and part.difference < -bounds.slice_drop:
                said = f"It is far worse where {part.name}: {part.difference:+.3f} on {part.queries} queries."
                return _reject("slice", said, {"set": name, "slice": part.record()})
    return None


def _better(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    name, primary = _primary(evidence, bounds)
    if not primary.better:
        return None
    hours = evidence.cpu_s / 3600
    figures = {name: primary.record(), "cpu_hours": round(hours, 4)}
    if primary.difference < hours * bounds.gain_per_cpu_hour:
        said = f"{primary.difference:+.4f} is too little for {hours:.1f} CPU-hours."
        return Judged(verdict="reject", code="not-worth-it", reason=said, figures=figures)
    said = f"It is better: {_said(primary)} on {_words(name)}, for {evidence.cpu_s:.0f} CPU-seconds."
    return Judged(verdict="promote", code="better", reason=said, figures=figures)


def _unproven(evidence: Evidence, bounds: VerdictBounds) -> Judged | None:
    name, primary = _primary(evidence, bounds)
    said = f"Not proven better: {_said(primary)} on {_words(name)}; {primary.doubt}."
    return Judged(verdict="keep_testing", code="unproven", reason=said, figures={name: primary.record()})


_RULES: Sequence[Callable[[Evidence, VerdictBounds], Judged | None]] = (
    _broken,
    _slow,
    _unjudged,
    _disagrees,
    _over_fitted,
    _worse,
    _slice,
    _guard_metric,
    _better,
    _unproven,
)


def _primary(evidence: Evidence, bounds: VerdictBounds) -> tuple[str, Paired]:
    decides = deciding(evidence, bounds)
    assert decides is not None, "_unjudged comes first"  # noqa: S101
    name, compared, metric = decides
    return name, compared.metrics[metric]


def _reject(code: str, reason: str, figures: Mapping[str, Any]) -> Judged:
    return Judged(verdict="reject", code=code, reason=reason, figures=figures)


def _said(figure: Paired) -> str:
    return (
        f"{figure.stable:.3f} -> {figure.candidate:.3f} "
        f"({figure.difference:+.3f}, 90 % interval {figure.low:+.3f} to {figure.high:+.3f}, "
        f"p {min(figure.p, figure.p_worse):.2g})"
    )


def _words(name: str) -> str:
    return {"trusted": "the trusted set", "held_out": "held-out queries", "answers": "held-out questions"}[name]
