"""`kaizen steward status|pause|resume|run-once|history`: read and written in the ledger, whoever runs the steward."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaizen.commands.ledger import opened, when
from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import Terminal, print_json
from kaizen.config import Settings
from kaizen.errors import ConfigError, DeadlineExceeded, Unavailable
from kaizen.run_state import head_process, read_run_state

if TYPE_CHECKING:
    from kaizen.records import Turn
    from kaizen.storage.ledger import Ledger

app = typer.Typer(help="The unattended loop: what it does, and telling it to pause or to start.", no_args_is_help=True)
DECISIONS = 10
POLL_SECONDS = 0.5
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until the turn is over.")]
TimeoutOption = Annotated[float, typer.Option(min=1, help="--wait: how long at most.")]


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the open turn, what would start the next one, and the latest decisions."""
    settings = configuration(config).settings
    with opened(settings) as ledger:
        found = _status(ledger, settings)
    if as_json:
        print_json(found)
    else:
        _show_status(Terminal(), found)


@app.command()
def pause(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Start nothing new: no turn, no step, no promotion. What proves worse still goes back."""
    _pause(config, as_json, paused=True)


@app.command()
def resume(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Go on."""
    _pause(config, as_json, paused=False)


@app.command("run-once")
def run_once(
    wait: WaitOption = False, timeout_seconds: TimeoutOption = 3600, config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Start a turn now, with whatever feedback there is. One that is open already is the one that is meant."""
    settings = configuration(config).settings
    if not settings.learning.steward:
        raise ConfigError("learning.steward is false: nobody would run the turn.", advice="Set it to true.")
    terminal = Terminal() if not as_json else None
    with opened(settings) as ledger:
        if wait:
            _check_somebody_runs_it(ledger, settings, terminal)
        turn = _asked(ledger)
        if wait:
            turn = _wait(ledger, turn, timeout_seconds, terminal)
        found = None if turn is None else _turn(turn)
    if as_json:
        print_json({"turn": found})
    elif found is None:
        Terminal().line("Asked for. See `kaizen steward status`.", style="green")
    else:
        _show_turn(Terminal(), found)


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, help="Most turns that are shown.")] = 20,
    turn: Annotated[str, typer.Option(help="All decisions of one turn.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the turns, the newest first; or, with --turn, everything that one decided and why."""
    with opened(configuration(config).settings) as ledger:
        if turn:
            found = [ledger.turns.get(turn)]
            decided = [asdict(one) for one in reversed(ledger.decisions.newest(1000, turn=turn))]
        else:
            found, decided = ledger.turns.newest(limit), []
    turns = [_turn(one) for one in found]
    if as_json:
        print_json({"turns": turns, **({"decisions": decided} if turn else {})})
        return
    terminal = Terminal()
    rows = [
        [one["id"], when(one["at"]), when(one["finished"]), one["outcome"] or one["phase"], one["reason"]]
        for one in turns
    ]
    terminal.table(["turn", "began", "ended", "outcome", "reason"], rows)
    if turn:
        _show_decisions(terminal, decided)


def _pause(config: Path | None, as_json: bool, *, paused: bool) -> None:
    with opened(configuration(config).settings) as ledger:
        ledger.turns.pause(paused)
    if as_json:
        print_json({"paused": paused})
    else:
        Terminal().line("The steward pauses." if paused else "The steward goes on.", style="green")


def _check_somebody_runs_it(ledger: Ledger, settings: Settings, terminal: Terminal | None) -> None:
    """Raise Unavailable where the wait would be in vain. Who uses a database of its own may be served elsewhere."""
    if ledger.turns.paused():
        raise Unavailable("The steward is paused: nobody would run the turn.", advice="`kaizen steward resume`.")
    directory = settings.workspace.directory
    state = read_run_state(directory)
    if state is not None and head_process(state) is not None:
        return
    if not settings.ledger.url:
        raise Unavailable(f"Nothing runs in {directory}: nobody would run the turn.", advice="Start it: `kaizen up`.")
    _say(terminal, "", f"Nothing runs in {directory}: waiting for whoever serves this ledger elsewhere.")


def _asked(ledger: Ledger) -> Turn | None:
    """Leave word that a turn is wanted; return the open one when there is one."""
    from kaizen.steward.record import ask

    turn = ledger.turns.open()
    if turn is None:
        ask(ledger)
    return turn


def _wait(ledger: Ledger, open_: Turn | None, seconds: float, terminal: Terminal | None) -> Turn:
    """Return the turn that is open, or that begins next, when it is over."""
    from kaizen.steward.by_hand import waits
    from kaizen.steward.promotion import Promotions

    promotions = Promotions(ledger)
    before = {one.id for one in ledger.turns.newest(1)} if open_ is None else set()
    deadline, pause, said = time.monotonic() + seconds, threading.Event(), ""
    while time.monotonic() < deadline:
        turn = ledger.turns.get(open_.id) if open_ else next(iter(ledger.turns.newest(1)), None)
        if turn is not None and turn.id not in before:
            if turn.finished is not None:
                return turn
            said = _say(terminal, said, f"{turn.id}: {turn.state['phase']}")
        elif why := waits(ledger, promotions, ledger.rollout.state()):
            said = _say(terminal, said, f"It waits: {why}")
        pause.wait(POLL_SECONDS)
    raise DeadlineExceeded(
        f"The turn was not over after {seconds:.0f} s. {waits(ledger, promotions, ledger.rollout.state())}".strip(),
        advice="Is the service up? See `kaizen status` and `kaizen steward status`.",
    )


def _say(terminal: Terminal | None, before: str, now: str) -> str:
    if terminal is not None and now != before:
        terminal.line(now, style="dim")
    return now


def _status(ledger: Ledger, settings: Settings) -> dict[str, Any]:
    from kaizen.steward.overview import overview

    return overview(ledger, settings.learning, time.time(), decisions=DECISIONS)


def _turn(turn: Turn) -> dict[str, Any]:
    from kaizen.steward.overview import turn_record

    return turn_record(turn)


def _show_status(terminal: Terminal, found: Mapping[str, Any]) -> None:
    turn, budget = found["turn"], found["budget"]
    terminal.pairs(
        {
            "steward": _mood(found),
            "turn": "none is open" if turn is None else f"{turn['id']}, since {when(turn['at'])}",
            "step": "" if turn is None else f"{turn['phase']}, since {when(turn['phase_since'])}. {turn['users']}",
            "waits": found["waits"],
            "budget": f"{budget['left_cpu_s']:.0f} of {budget['cpu_s']:.0f} CPU seconds left of the last 24 hours",
        }
    )
    terminal.table(
        ["starts a turn", "now", "needed"],
        [[one["kind"], one["now"], one["needed"]] for one in found["triggers"]],
    )
    _show_decisions(terminal, found["decisions"])


def _mood(found: Mapping[str, Any]) -> str:
    if not found["enabled"]:
        return "off (learning.steward)"
    return "paused" if found["paused"] else "on"


def _show_turn(terminal: Terminal, turn: Mapping[str, Any]) -> None:
    terminal.line(f"{turn['id']}: {turn['outcome'] or turn['phase']}. {turn['reason']}")
    rows = [
        [one["rung"], one["release"], one["verdict"], "" if one["gain"] is None else f"{one['gain']:+.4f}",
         f"{one['cpu_s']:.1f}", one["reason"]]
        for one in turn["attempts"]
    ]  # fmt: skip
    terminal.table(["rung", "candidate", "verdict", "gain", "CPU s", "reason"], rows)


def _show_decisions(terminal: Terminal, decided: list[dict[str, Any]]) -> None:
    rows = [[one["seq"], when(one["at"]), one["by"], one["kind"], one["release"], one["reason"]] for one in decided]
    terminal.table(["decision", "at", "by", "what", "release", "why"], rows)
