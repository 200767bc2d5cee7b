"""A/A: how often does the online test promote, or take back, a release that is exactly as good as the other?

    python -m bench.aa [--runs 200] [--json]

Each run is a rollout of its own among simulated people (`bench.people`): two releases that rank alike well, though not
alike, looked at again and again until a decision or the end of the run. `guard` is a promotion of an equal release.
Beside them `better`: a challenger that is better, to see that the test is not merely silent. Prints one JSON line and
writes bench/out/aa.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import track

from bench.chart import Group, write_chart
from bench.people import Habits, Traffic, begun
from kaizen.evaluation.online import Bounds, decide, fold

EQUAL = Habits(good_first=0.5)
BETTER = Habits(good_first=0.7)
IDENTITIES = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One kind of run: `impressions` in all, looked at after each `every`."""

    mode: str
    challenger: Habits
    impressions: int
    every: int


TRIALS = {
    "interleave": Trial(mode="interleave", challenger=EQUAL, impressions=1000, every=10),
    "ab": Trial(mode="ab", challenger=EQUAL, impressions=3000, every=50),
    "guard": Trial(mode="off", challenger=EQUAL, impressions=1000, every=20),
    "better": Trial(mode="interleave", challenger=BETTER, impressions=1000, every=10),
}


def measure(runs: int, *, quiet: bool) -> dict[str, Any]:
    """Return, for each trial, the share of the runs that promoted and that took back, and how soon."""
    found: dict[str, Any] = {"runs": runs, "error_rate": Bounds().error_rate}
    began = time.perf_counter()
    for name, trial in TRIALS.items():
        seeds = track(range(runs), description=name, console=Console(stderr=True), disable=quiet)
        ends = [_run(trial, seed) for seed in seeds]
        found[name] = {
            "promoted": sum(action == "promote" for action, _ in ends) / runs,
            "taken_back": sum(action == "rollback" for action, _ in ends) / runs,
            "median_impressions": median(impressions for _, impressions in ends),
            "looks": trial.impressions // trial.every,
        }
    return {**found, "seconds": round(time.perf_counter() - began, 1)}


def _run(trial: Trial, seed: int) -> tuple[str, int]:
    """What a run ended with, and after how many impressions."""
    traffic = Traffic(seed, identities=IDENTITIES)
    before = traffic.rows(500, "off", EQUAL, EQUAL) if trial.mode == "off" else None
    test = begun(trial.mode, before)
    bounds = Bounds()
    for seen in range(trial.every, trial.impressions + 1, trial.every):
        test = fold(test, *traffic.rows(trial.every, trial.mode, EQUAL, trial.challenger))
        action = decide(test, bounds).action
        if action != "continue":
            return action, seen
    return "continue", trial.impressions


def _chart(found: dict[str, Any]) -> None:
    """Wrong decisions in percent, under the rate that is promised."""
    wrong = [("interleave", "promoted"), ("ab", "promoted"), ("guard", "taken_back")]
    bars = [(name, 100 * found[name][what]) for name, what in wrong]
    groups = [
        Group(title="decided wrongly between equals", unit="%", bars=bars, goal=100 * found["error_rate"]),
        Group(title="a better one promoted", unit="%", bars=[("interleave", 100 * found["better"]["promoted"])]),
    ]
    write_chart("aa", f"The online test, {found['runs']} runs, looked at all the time", groups)


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status: 1 when a rate is above the one that is promised."""
    parser = argparse.ArgumentParser(prog="python -m bench.aa", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = measure(options.runs, quiet=options.json)
    _chart(found)
    sys.stdout.write(json.dumps(found) + "\n" if options.json else json.dumps(found, indent=1) + "\n")
    rates = (found["interleave"]["promoted"], found["ab"]["promoted"], found["guard"]["taken_back"])
    return int(max(rates) > found["error_rate"])


if __name__ == "__main__":
    sys.exit(main())
