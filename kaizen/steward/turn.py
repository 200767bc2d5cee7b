"""One turn as a state machine: `instruction(state)` says what to do, `after(state, event)` what follows. Pure.

    curate -> choose -> learn (-> index) -> judge -> choose ... -> begin -> test -> promote -> guard -> done
                 |                                                       |                    |
                 +-> done (nothing proved better)                        +-> stop -> done     +-> rollback -> done

An embedder that was learnt needs an index of its own before it can be judged. Whether the budget allows one is asked
before it is built (`afford`), and not only when the rung is chosen: learning may have taken more than was expected.

The state is stored before and after everything that is done. What is done may be done twice, because a kill can come
between the doing and the storing; so a step gives the same for the same bounds, and a change of the rollout carries an
id by which it is known again. Before a step is run it is stored that it has begun: one that takes the steward down with
it would otherwise be run for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from kaizen.config import Learning
from kaizen.errors import NotFound
from kaizen.ids import fingerprint
from kaizen.steward.costs import NEW_INDEX
from kaizen.steward.messages import (
    Afford,
    Afforded,
    Change,
    Changed,
    ChangeKind,
    Choose,
    Chosen,
    Ended,
    Event,
    Finish,
    Instruction,
    Note,
    Observed,
    Overtaken,
    Run,
    Watch,
)
from kaizen.steward.policy import GENERATOR, SWEEP, GiveUp, Learn
from kaizen.steward.state import Attempt, AttemptVerdict, Material, Outcome, Phase, Spent, Stage, TurnState

RETRIES = 2  # of a step that ended with an error
SETBACKS = 20  # of a step that was killed (by a person, a test, or for want of memory), or that said: not now
EVEN = 0.5  # of the users, when all searches may be interleaved
JUDGE = "jobs.judge"
LEARNERS: Mapping[int, str] = {
    SWEEP: "tune.sweep", 1: "train.ranker", 2: "train.query_encoder", 3: "train.embedder", GENERATOR: "train.generator",
}  # fmt: skip


def instruction(state: TurnState, settings: Learning) -> Instruction:
    """Return what is to be done now; the same state gives the same."""
    return _INSTRUCTIONS[state.phase](state, settings)


def after(state: TurnState, event: Event, settings: Learning) -> tuple[TurnState, tuple[Note, ...]]:
    """Return the state that follows, and what to write down. Raises ValueError for an event that was not awaited."""
    if isinstance(event, Overtaken):
        return _end(state, "overtaken", event.reason)
    following = _FOLLOWING.get((state.phase, type(event)))
    if following is None:
        raise ValueError(f"{type(event).__name__} in phase {state.phase}")
    following_state, notes = following(state, event, settings)
    if isinstance(event, Ended):
        following_state = replace(following_state, begun=False)
        spent = Spent(at=event.at, cpu_s=event.cpu_s)
        following_state = replace(following_state, spent=(*following_state.spent, spent))
    return following_state, notes


# What to do.


def _curate(state: TurnState, _settings: Learning) -> Run:
    bounds = (
        "--until-impression", str(state.until_impression), "--until-feedback", str(state.until_feedback),
        "--after-impression", str(state.after_impression),
    )  # fmt: skip
    return _run(state, "jobs.curate", *bounds)


def _learn(state: TurnState, _settings: Learning) -> Run:
    attempt, material = state.attempt, _material(state)
    begin = ("--what", "retrieval", "--release") if attempt.rung == SWEEP else ("--parent",)
    made_from = (*begin, attempt.parent, "--dataset", material.dataset, "--turn", state.turn)
    return _run(state, LEARNERS[attempt.rung], *made_from)


def _judge(state: TurnState, _settings: Learning) -> Run:
    """On the turn's own data, whatever the release may have been learnt from before."""
    dataset = ("--dataset", _material(state).dataset)
    return _run(state, JUDGE, state.attempt.release, "--against", state.stable, *dataset)


def _begin(state: TurnState, settings: Learning) -> Change:
    first = _stages(state, settings)[0]
    return _change(state, "begin", mode=first, weight=_weight(first, settings))


def _test(state: TurnState, settings: Learning) -> Watch:
    last = state.stage == _stages(state, settings)[-1]
    return Watch(what="test" if last else "stage", release=state.candidate, against=state.stable)


def _promote(state: TurnState, settings: Learning) -> Change:
    """After the last stage the candidate becomes stable, after an earlier one the next stage begins."""
    following = _next_stage(state, settings)
    if following is None:
        return _change(state, "promote")
    return _change(state, "adjust", mode=following, weight=_weight(following, settings))


def _finish(state: TurnState, _settings: Learning) -> Finish:
    return Finish(outcome=state.outcome, reason=state.reason)


_INSTRUCTIONS: Mapping[Phase, Callable[[TurnState, Learning], Instruction]] = {
    "curate": _curate,
    "choose": lambda _state, _settings: Choose(),
    "learn": _learn,
    "afford": lambda _state, _settings: Afford(),
    "index": lambda state, _settings: _run(state, "jobs.build_index", "--release", state.attempt.release),
    "judge": _judge,
    "begin": _begin,
    "test": _test,
    "stop": lambda state, _settings: _change(state, "stop"),
    "promote": _promote,
    "guard": lambda state, _settings: Watch(what="guard", release=state.candidate, against=state.stable),
    "rollback": lambda state, _settings: _change(state, "rollback"),
    "done": _finish,
}


def _run(state: TurnState, module: str, *arguments: str) -> Run:
    return Run(id=_id(state, module, *arguments), module=module, arguments=arguments)


def _change(state: TurnState, kind: ChangeKind, mode: Stage = "interleave", weight: float = 0.0) -> Change:
    promoted = kind == "rollback"
    return Change(
        id=_id(state, kind, mode),
        kind=kind,
        release=state.stable if promoted else state.candidate,
        reason=state.reason,
        stable=state.candidate if promoted else state.stable,
        challenger="" if kind in ("begin", "rollback") else state.candidate,
        mode=mode,
        weight=weight,
        evidence=state.evidence or {},
    )


def _id(state: TurnState, *of: str) -> str:
    return fingerprint([state.turn, state.phase, *of])[:12]


def _stages(state: TurnState, settings: Learning) -> tuple[Stage, ...]:
    """How a candidate is tried. A trial that has begun goes on as it began, whatever the configuration says now.

    An answer is of one release alone: what learnt to write could never be seen in a list of two.
    """
    wanted = settings.test_mode == "interleave" and not _writes(state)
    interleaved = state.stage == "interleave" if state.stage else wanted
    return ("interleave",) if interleaved else ("shadow", "canary", "ab")


def _writes(state: TurnState) -> bool:
    """Whether the candidate writes answers in another way than the stable release."""
    return any(one.rung == GENERATOR and one.release == state.candidate for one in state.attempts)


def _next_stage(state: TurnState, settings: Learning) -> Stage | None:
    stages = _stages(state, settings)
    return dict(pairwise(stages)).get(state.stage or stages[0])


def _weight(stage: Stage, settings: Learning) -> float:
    if stage == "ab" and settings.test_weight == 1:  # of interleaved lists it is the best; here nobody would be beside
        return EVEN
    return {"shadow": 1.0, "canary": settings.canary_weight}.get(stage, settings.test_weight)


# What follows.

_Next = tuple[TurnState, tuple[Note, ...]]


def _curated(state: TurnState, event: Ended, _settings: Learning) -> _Next:
    if event.output is None and event.code == NotFound.code:
        return _end(state, "nothing_to_learn", event.error)
    if event.output is None:
        return _again_or(state, event, lambda reason: _end(state, "failed", reason))
    told = event.output
    material = Material(
        dataset=str(told["dataset"]),
        examples=int(told["examples"]),
        queries=int(told["queries"]),
        demonstrations=int(told.get("demonstrations", 0)),
        questions=int(told.get("questions", 0)),
    )
    if not material.examples and not material.demonstrations:
        return _end(state, "nothing_to_learn", "The feedback gives no example to learn from.")
    note = Note(
        kind="curate",
        reason=f"Data set {material.dataset}: {material.examples} examples of {material.queries} queries.",
        evidence={"dataset": material.dataset, **bounds(state)},
    )
    return _enter(replace(state, material=material), "choose"), (note,)


def _chosen(state: TurnState, event: Chosen, _settings: Learning) -> _Next:
    choice = event.choice
    if isinstance(choice, Learn):
        attempt = Attempt(rung=choice.rung, parent=choice.parent)
        note = Note(
            kind="learn", release=choice.parent, reason=choice.reason,
            evidence={"rung": choice.rung, "dataset": _material(state).dataset},
        )  # fmt: skip
        return _enter(replace(state, attempts=(*state.attempts, attempt)), "learn"), (note,)
    if isinstance(choice, GiveUp):
        return _end(state, choice.outcome, choice.reason)
    return _enter(replace(state, candidate=choice.release, reason=choice.reason), "begin"), ()


def _learnt(state: TurnState, event: Ended, _settings: Learning) -> _Next:
    if event.output is None:
        return _again_or(state, event, lambda reason: _judged_as(state, "failed", reason))
    release = str(event.output["release"] or "")
    following = state.with_attempt(release=release, cpu_s=state.attempt.cpu_s + event.cpu_s)
    if not release:  # a sweep that found nothing better
        return _judged_as(following, "reject", str(event.output["reason"]))
    if release in (state.stable, state.attempt.parent):
        return _judged_as(following, "reject", "What was learnt is the release that it began from.")
    return _enter(following, "afford" if state.attempt.rung == NEW_INDEX else "judge"), ()


def _afforded(state: TurnState, event: Afforded, _settings: Learning) -> _Next:
    if event.needed_cpu_s <= event.left_cpu_s:
        return _enter(state.with_attempt(documents=event.documents), "index"), ()
    release = state.attempt.release
    reason = (
        f"Its index of {event.documents} documents may take {event.needed_cpu_s:.0f} CPU seconds and the budget leaves "
        f"{max(0, event.left_cpu_s):.0f}. Raise learning.budget_cpu_seconds, or build it and judge by hand: "
        f"`python -m jobs.build_index --release {release}`, `kaizen judge {release}`."
    )
    return _judged_as(state, "left_out", reason)


def _indexed(state: TurnState, event: Ended, _settings: Learning) -> _Next:
    if event.output is None:
        return _again_or(state, event, lambda reason: _judged_as(state, "failed", reason))
    cpu_s = state.attempt.cpu_s + event.cpu_s
    return _enter(state.with_attempt(cpu_s=cpu_s, index_cpu_s=event.cpu_s), "judge"), ()


def _judged(state: TurnState, event: Ended, _settings: Learning) -> _Next:
    if event.output is None:
        return _again_or(state, event, lambda reason: _judged_as(state, "failed", reason))
    told = event.output
    gain = told.get("gain")
    following = state.with_attempt(gain=None if gain is None else float(gain), cpu_s=state.attempt.cpu_s + event.cpu_s)
    return _judged_as(following, told["verdict"], str(told["reason"]), report=told.get("report", ""))


def _judged_as(state: TurnState, verdict: AttemptVerdict, reason: str, *, report: str = "") -> _Next:
    following = state.with_attempt(verdict=verdict, reason=reason)
    attempt = following.attempt
    evidence = {
        "rung": attempt.rung, "parent": attempt.parent, "gain": attempt.gain, "cpu_s": round(attempt.cpu_s, 2),
        "report": report,
    }  # fmt: skip
    note = Note(kind=verdict, release=attempt.release, reason=reason, evidence=evidence)
    return _enter(following, "choose"), (note,)


def _begun(state: TurnState, _event: Changed, settings: Learning) -> _Next:
    return _enter(replace(state, stage=_stages(state, settings)[0]), "test"), ()


def _tested(state: TurnState, event: Observed, _settings: Learning) -> _Next:
    following = replace(state, reason=event.reason, evidence=event.evidence)
    return _enter(following, "promote" if event.decision == "promote" else "stop"), ()


def _promoted(state: TurnState, _event: Changed, settings: Learning) -> _Next:
    following = _next_stage(state, settings)
    return (_enter(state, "guard") if following is None else _enter(replace(state, stage=following), "test")), ()


def _guarded(state: TurnState, event: Observed, _settings: Learning) -> _Next:
    if event.decision == "rollback":
        return _enter(replace(state, reason=event.reason, evidence=event.evidence), "rollback"), ()
    return _end(state, "promoted", state.reason, kind="keep", note=event.reason, evidence=event.evidence)


def _again_or(state: TurnState, event: Ended, give_up: Callable[[str], _Next]) -> _Next:
    """The same step again, or, when it failed too often or would fail again, what `give_up` makes of the reason."""
    if event.permanent:
        return give_up(f"Phase {state.phase} failed, and would fail again: {event.error}")
    state = replace(state, failures=state.failures + (not event.transient), setbacks=state.setbacks + event.transient)
    if state.failures > RETRIES or state.setbacks > SETBACKS:
        return give_up(f"Phase {state.phase} failed {state.failures + state.setbacks} times: {event.error}")
    note = Note(kind="retry", reason=f"Phase {state.phase}: {event.error}", evidence={"failures": state.failures})
    return state, () if event.transient else (note,)


def _enter(state: TurnState, phase: Phase) -> TurnState:
    return replace(state, phase=phase, failures=0, setbacks=0)


def _end(
    state: TurnState, outcome: Outcome, reason: str, *,
    kind: str = "end_turn", note: str = "", evidence: Mapping[str, Any] | None = None,
) -> _Next:  # fmt: skip
    ended = replace(_enter(state, "done"), outcome=outcome, reason=reason)
    line = Note(
        kind=kind, release=state.candidate, reason=note or reason, evidence={"outcome": outcome, **(evidence or {})}
    )
    return ended, (line,)


def _material(state: TurnState) -> Material:
    if state.material is None:
        raise ValueError("nothing was curated yet")
    return state.material


def bounds(state: TurnState) -> dict[str, int]:
    """What a turn learns from, as its decisions tell it."""
    names = ("until_impression", "until_feedback", "after_impression")
    return {name: getattr(state, name) for name in names}


_FOLLOWING: Mapping[tuple[Phase, type], Callable[[TurnState, Any, Learning], _Next]] = {
    ("curate", Ended): _curated,
    ("choose", Chosen): _chosen,
    ("learn", Ended): _learnt,
    ("afford", Afforded): _afforded,
    ("index", Ended): _indexed,
    ("judge", Ended): _judged,
    ("begin", Changed): _begun,
    ("test", Observed): _tested,
    ("stop", Changed): lambda state, _event, _settings: _end(state, "not_better", state.reason),
    ("promote", Changed): _promoted,
    ("guard", Observed): _guarded,
    ("rollback", Changed): lambda state, _event, _settings: _end(state, "rolled_back", state.reason),
}
