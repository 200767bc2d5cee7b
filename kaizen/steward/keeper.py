"""Asks the machine what is next and does it; starts a turn when there is reason to. One thread, one thing at a time.

Whatever moment it is killed at, the next one goes on: the turn's state is in the ledger before and after each step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from kaizen.config import Learning
from kaizen.errors import Conflict
from kaizen.evaluation.trusted import trusted_with_documents
from kaizen.monitoring.triggers import Signs, Trigger, triggers
from kaizen.records import Judgement, Turn
from kaizen.steward.budget import spent_cpu_s
from kaizen.steward.by_hand import waits
from kaizen.steward.costs import estimates, index_estimate
from kaizen.steward.drift_watch import DriftWatch
from kaizen.steward.messages import (
    Afford,
    Afforded,
    Change,
    Choose,
    Chosen,
    Ended,
    Event,
    Finish,
    Instruction,
    Note,
    Run,
    Watch,
)
from kaizen.steward.policy import Facts, choose
from kaizen.steward.promotion import Promotions
from kaizen.steward.record import asked, save, state_of
from kaizen.steward.rollout_change import carry_out, overtaken
from kaizen.steward.state import Attempt, Material, TurnState
from kaizen.steward.turn import after, bounds, instruction
from kaizen.steward.watch import Watcher
from kaizen.storage.ledger import Ledger

_HOUR = 3600.0
# The newest, from which a turn learns: five times what the rungs were measured on. A ledger grows for ever, and with
# all of it to read, curating alone came to use a day's budget. These take 40 CPU seconds and .3 to .7 GB of memory.
MOST_IMPRESSIONS = 50_000
_RUNS = 20  # of ingest, the newest: what they took for a document
_TURNS = 200  # as far back as is looked: more than there are in a day, whose cost is added up


class Keeper:
    """The steward's hands.

    Args:
        run: runs a step to its end; see `process.StepRunner`.
    """

    def __init__(
        self, ledger: Ledger, settings: Learning, run: Callable[[Run], Ended], clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._run = run
        self._clock = clock
        self._watcher = Watcher(ledger, settings, clock)
        self._drift = DriftWatch(ledger, run, clock)
        self._promotions = Promotions(ledger)

    def tick(self) -> bool:
        """Do the next thing; return False when there is nothing to do now."""
        turn, paused = self._ledger.turns.open(), self._ledger.turns.paused()
        if turn is not None:
            return self._go_on(turn, paused)
        return not paused and (self._start() or self._drift.look())

    def signs(self) -> Signs:
        """What is known now of reasons to start a turn."""
        last = self._last_turn()
        read = state_of(last).until_feedback if last else 0
        return Signs(
            new_feedback=self._ledger.feedback.end() - read,
            idle_hours=self._idle_hours(last),
            readings=self._drift.unanswered(),
            requested=asked(self._ledger),
        )

    def left_cpu_s(self) -> float:
        """What the budget of the last 24 hours leaves."""
        turns = self._ledger.turns.newest(_TURNS)
        return self._settings.budget_cpu_seconds - spent_cpu_s(turns, self._clock())

    def _go_on(self, turn: Turn, paused: bool) -> bool:
        state = state_of(turn)
        todo = instruction(state, self._settings)
        if paused and not _allowed_when_paused(todo):
            return False
        self._announce(turn)
        if isinstance(todo, Finish):
            save(self._ledger, state, finish=True)
            return True
        event = self._do(todo, state, paused)
        if event is None:
            return False
        following, notes = after(state, event, self._settings)
        save(self._ledger, following, notes)
        return not isinstance(event, Ended) or event.output is not None  # what failed is not tried again at once

    def _do(self, todo: Instruction, state: TurnState, paused: bool) -> Event | None:
        if isinstance(todo, Run):
            return self._step(todo, state)
        if isinstance(todo, Change):
            return self._change(todo, state.turn)
        if isinstance(todo, Watch):
            return self._watch(todo, paused)
        if isinstance(todo, Afford):
            return self._afford()
        return self._choose(state) if isinstance(todo, Choose) else None

    def _step(self, todo: Run, state: TurnState) -> Ended:
        """Run it, unless the steward ended while it did: that counts first, and nothing is known of what it took."""
        if state.begun:
            return Ended(error="The steward ended, or lost its ledger, while it ran.", transient=True, at=self._clock())
        save(self._ledger, replace(state, begun=True))
        return self._run(todo)

    def _change(self, todo: Change, turn: str) -> Event | None:
        """A trial waits until it is known whether what it would be measured by stays."""
        watched = self._promotions.under_watch(self._ledger.rollout.state()) if todo.kind == "begin" else None
        if watched is not None and watched.stable == todo.stable:
            return None
        return carry_out(self._ledger, todo, turn)

    def _choose(self, state: TurnState) -> Chosen:
        generator = self._ledger.releases.get(state.stable).parts.get("generator", {})
        facts = Facts(
            settings=self._settings,
            left_cpu_s=self.left_cpu_s(),
            costs=estimates(self._attempts(), self._afford().needed_cpu_s),
            trainable_generator=generator.get("kind") == "transformers",
            losers=self._losers(),
            trusted_queries=len({(one.tenant, one.query_id) for one in self._trusted()}),
        )
        material = state.material or Material(dataset="", examples=0, queries=0, demonstrations=0)
        return Chosen(choice=choose(state.attempts, state.stable, material, facts))

    def _trusted(self) -> Sequence[Judgement]:
        """Those that a sweep would choose by."""
        return trusted_with_documents(self._ledger.judgements.all(), self._ledger).judgements

    def _afford(self) -> Afforded:
        """What an index of all documents may take, and what there is for it."""
        documents = self._ledger.documents.total()
        ingested = [(run.counts.get("documents", 0), run.cpu_seconds or 0.0) for run in self._ledger.runs.newest(_RUNS)]
        return Afforded(
            documents=documents,
            needed_cpu_s=index_estimate(documents, self._attempts(), ingested),
            left_cpu_s=self.left_cpu_s(),
        )

    def _attempts(self) -> list[Attempt]:
        """Of the open turn and those before it, the newest first."""
        turns = self._ledger.turns.newest(_TURNS)
        return [one for turn in turns for one in reversed(state_of(turn).attempts)]

    def _losers(self) -> frozenset[str]:
        turns = self._ledger.turns.newest(_TURNS)
        return frozenset(state_of(turn).candidate for turn in turns if turn.outcome in ("not_better", "rolled_back"))

    def _watch(self, todo: Watch, paused: bool) -> Event | None:
        """While paused, what is worse is still taken back; nothing else is decided."""
        rollout = self._ledger.rollout.state()
        stable, challenger = (todo.release, "") if todo.what == "guard" else (todo.against, todo.release)
        if other := overtaken(rollout, stable, challenger):
            return other
        observed = self._watcher.look(rollout, todo.what)
        return None if observed is None or (paused and observed.decision != "rollback") else observed

    def _start(self) -> bool:
        """Open a turn when there is reason to and nothing to wait for; its bounds are frozen here."""
        found = triggers(self.signs(), self._settings)
        rollout = self._ledger.rollout.state()
        stable = rollout.stable
        if not found or stable is None or waits(self._ledger, self._promotions, rollout):
            return False
        if self.left_cpu_s() <= 0 and found[0].kind != "request":
            return False
        until_feedback = self._ledger.feedback.end()  # first, so that the impression of each is among those read
        until_impression = self._ledger.impressions.end()
        state = TurnState(
            turn="", stable=stable, until_impression=until_impression, until_feedback=until_feedback,
            after_impression=max(0, until_impression - MOST_IMPRESSIONS),
        )  # fmt: skip
        try:
            self._ledger.turns.start(_words(found), {**state.to_json(), "trigger": [one.record() for one in found]})
        except Conflict:
            return False  # another process opened one between the look and now
        return True

    def _announce(self, turn: Turn) -> None:
        """Write the turn's first decision; here and not when it is opened, where a kill could come between."""
        if self._ledger.decisions.newest(1, turn=turn.id):
            return
        state = state_of(turn)
        note = Note(
            kind="start_turn", release=state.stable, reason=turn.trigger,
            evidence={"triggers": turn.state.get("trigger", []), **bounds(state)},
        )  # fmt: skip
        save(self._ledger, state, [note])

    def _last_turn(self) -> Turn | None:
        return next(iter(self._ledger.turns.newest(1)), None)

    def _idle_hours(self, last: Turn | None) -> float | None:
        since = last.at if last else next((one.at for _, one in self._ledger.impressions.after(0, 1)), None)
        return None if since is None else (self._clock() - since) / _HOUR


def _allowed_when_paused(todo: Instruction) -> bool:
    return isinstance(todo, Watch) or (isinstance(todo, Change) and todo.kind in ("stop", "rollback"))


def _words(found: list[Trigger]) -> str:
    return " ".join(trigger.reason for trigger in found)
