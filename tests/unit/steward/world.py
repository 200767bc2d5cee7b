"""A ledger, people who use it, and commands that only pretend to learn: what the steward lives in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from kaizen.config import Learning
from kaizen.errors import NotFound
from kaizen.ids import fingerprint
from kaizen.records import Candidate, Document, Feedback, Impression, Rollout, ShownChunk, Turn, Verdict
from kaizen.records import Judgement as Trusted
from kaizen.steward.guard import Guard
from kaizen.steward.keeper import Keeper
from kaizen.steward.messages import Ended, Run
from kaizen.storage.ledger import Ledger

SETTINGS = Learning(min_feedback=50, max_rung=2, guard_impressions=200, test_impressions=2000, stage_impressions=50)
MOST_TICKS = 400


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `jobs.judge` says of a rung's candidate."""

    verdict: Verdict
    gain: float | None = 0.02


@dataclass(slots=True)
class World:
    """Commands and people.

    Attributes:
        verdicts: by rung; a rung that is not named is rejected.
        liked: the share of the clicks that goes to the challenger, in a test; whether the new stable one is liked.
        swept: why a sweep keeps the present settings; empty: it finds better ones.
        drifted: whether `jobs.measure_drift` sounds the alarm.
        broken: modules whose command fails, with the error.
        costs: CPU seconds of a module's command; one where none are named.
        ran: ids of the steps that were run, in order.
    """

    ledger: Ledger
    verdicts: Mapping[int, Judgement] = field(default_factory=dict)
    challenger_wins: bool = True
    stable_is_liked: bool = True
    swept: str = ""
    drifted: bool = False
    broken: dict[str, Ended] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    ran: list[Run] = field(default_factory=list)
    now: float = 1_000_000.0
    rows: int = 0

    def base(self) -> str:
        """Put a release in service."""
        release = self.ledger.releases.record({"generator": {"kind": "llama_cpp"}, "retrieval": {"fingerprint": "0"}})
        self.ledger.rollout.change(Rollout(version=0, stable=release.id), by="test", kind="configure", reason="")
        return release.id

    def keeper(self, settings: Learning = SETTINGS) -> Keeper:
        """A new steward, as after a restart."""
        return Keeper(self.ledger, settings, self.run, lambda: self.now)

    def guard(self, settings: Learning = SETTINGS) -> Guard:
        """Its other thread."""
        return Guard(self.ledger, settings, lambda: self.now)

    def run(self, step: Run) -> Ended:
        """Run a pretended command: the same step leaves the same."""
        self.ran.append(step)
        if step.module in self.broken:
            return self.broken[step.module]
        pretended: dict[str, Callable[[Run], Mapping[str, Any]]] = {
            "jobs.curate": self._curate, "jobs.judge": self._judge, "jobs.measure_drift": self._measure,
            "jobs.build_index": lambda _: {"shards": []},
        }  # fmt: skip
        output = pretended.get(step.module, self._learn)(step)
        return Ended(output=output, at=self.now, cpu_s=self.costs.get(step.module, 1.0))

    def _measure(self, _step: Run) -> Mapping[str, Any]:
        return {"readings": [{"signal": "queries", "alarm": self.drifted, "words": "They ask other things."}]}

    def _curate(self, step: Run) -> Mapping[str, Any]:
        name = fingerprint(step.arguments)[:8]
        return {"dataset": name, "examples": 900, "queries": 300, "demonstrations": 0}

    def _learn(self, step: Run) -> Mapping[str, Any]:
        told = dict(zip(step.arguments[::2], step.arguments[1::2], strict=True))
        rung = {"tune.sweep": 0, "train.ranker": 1, "train.query_encoder": 2, "train.embedder": 3}[step.module]
        if rung == 0 and self.swept:
            return {"release": None, "reason": self.swept, "cost": {"cpu_s": 1.0}}
        parent = told["--parent" if rung else "--release"]
        parts = {**self.ledger.releases.get(parent).parts, step.module: {"fingerprint": fingerprint(told)}}
        release = self.ledger.releases.record(parts, parent=parent)
        candidate = Candidate(release=release.id, at=self.now, rung=rung, turn=told["--turn"], record={})
        self.ledger.candidates.record(candidate)
        return {"release": release.id, "rung": rung, "cost": {"cpu_s": 1.0}}

    def _judge(self, step: Run) -> Mapping[str, Any]:
        rung = self.ledger.candidates.get(step.arguments[0]).rung
        said = self.verdicts.get(rung, Judgement("reject", -0.01))
        reason = f"Rung {rung} is judged so."
        self.ledger.candidates.judge(step.arguments[0], verdict=said.verdict, reason=reason, report="reports/x")
        return {"verdict": said.verdict, "reason": reason, "gain": said.gain}

    def trust(self, count: int) -> None:
        """Give so many queries a trusted judgement on a document that is there."""
        self.ledger.documents.upsert(Document(tenant="t", id="c", title="", text="c"))
        self.ledger.judgements.put_many(
            [Trusted(tenant="t", query_id=f"q{n}", query=f"q {n}", document_id="c", grade=1) for n in range(count)]
        )

    def people(self, count: int = 40) -> None:
        """People search, and click as the world has it, under the present rollout."""
        rollout = self.ledger.rollout.state()
        written: list[Future[Any]] = []
        for _ in range(count):
            self.rows += 1
            written += self._search(rollout, self.rows)
        for one in written:
            one.result()
        self.now += 60

    def _search(self, rollout: Rollout, number: int) -> list[Future[Any]]:
        arm = {"interleave": "interleaved", "shadow": "shadow", "off": "stable"}.get(rollout.mode, "")
        if not arm:
            arm = "challenger" if number % 2 else "stable"
        release = rollout.challenger if arm in ("challenger", "shadow") else rollout.stable
        teams = ("stable", "challenger") if arm == "interleaved" else ("", "")
        chunks = tuple(
            ShownChunk(chunk_id=f"c{place}", document_id="c", position=place, score=1, dense=0.5, lexical=1,
                       propensity=1, team=team)
            for place, team in enumerate(teams, start=1)
        )  # fmt: skip
        shown = Impression(
            id=f"imp_{number}", at=self.now, tenant="t", key_id="k", user=f"u{number % 20}", release=release or "",
            index_seq=1, kind="search", query=f"question {number}", mode="hybrid", shown=chunks, answer=None,
            coverage=1, degraded=(), timings_ms={"total": 10}, arm=arm, rollout=rollout.version,
            challenger=rollout.challenger or "" if arm == "interleaved" else "",
        )  # fmt: skip
        written: list[Future[Any]] = [self.ledger.impressions.submit_record(shown)]
        if self._clicks(rollout, arm):
            place = 2 if arm == "interleaved" and self.challenger_wins else 1
            written.append(self.ledger.feedback.submit_record(_click(shown, f"c{place}")))
        return written

    def _clicks(self, rollout: Rollout, arm: str) -> bool:
        if arm == "challenger":
            return self.challenger_wins
        return arm != "shadow" and (rollout.previous is None or self.stable_is_liked)

    def until_ended(self, keeper: Keeper, *, renew: Callable[[], Keeper] | None = None) -> Turn:
        """Tick, with people between looks, until the turn is over; `renew` gives the steward after a kill."""
        for _ in range(MOST_TICKS):
            turn = next(iter(self.ledger.turns.newest(1)), None)
            if turn is not None and turn.finished is not None:
                return turn
            try:
                if not keeper.tick():
                    self.people()
            except Killed:
                assert renew is not None
                keeper = renew()
        raise AssertionError(f"the turn did not end: {self.ledger.turns.newest(1)}")

    def decided(self) -> list[str]:
        """Kinds of the decisions, in order."""
        return [one.kind for one in reversed(self.ledger.decisions.newest(1000)) if one.by == "steward"]


class Killed(BaseException):
    """The process is gone, between any two statements."""


def failed(error: str = "It broke.", *, code: str = "", transient: bool = False, permanent: bool = False) -> Ended:
    """A step that did not come to its end."""
    return Ended(error=error, code=code, transient=transient, permanent=permanent, cpu_s=0.5)


NO_FEEDBACK = failed("No feedback can be learnt from yet.", code=NotFound.code)


def _click(on: Impression, chunk: str) -> Feedback:
    return Feedback(
        id=f"fb_{on.id}", at=on.at, tenant=on.tenant, impression_id=on.id, kind="click", chunk_id=chunk, value=1.0,
        text="", identity=on.identity, idempotency_key="",
    )  # fmt: skip
