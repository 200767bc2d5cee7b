"""The arithmetic of the comparison with peers."""

from pathlib import Path

from bench.peers import ingest
from bench.peers.kaizen import Kaizen
from bench.peers.passages import PACKAGES
from bench.peers.search import questions, standing

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def _round(p50: float, rps: float, cpu: float) -> dict[str, float]:
    return {"p50_ms": p50, "rps": rps, "cpu_ms": cpu}


def test_ratios_are_taken_within_rounds_and_against_the_best_peer_of_each() -> None:
    rounds = {
        "limit, dense": [_round(10, 100, 5), _round(20, 50, 5)],
        "limit, hybrid": [_round(10, 100, 5), _round(20, 50, 5)],
        "limit as served, dense": [_round(5, 200, 5), _round(10, 100, 5)],
        "limit as served, hybrid": [_round(5, 200, 5), _round(10, 100, 5)],
        "Kaizen, dense": [_round(15, 70, 10), _round(30, 35, 10)],
        "Kaizen, hybrid": [_round(20, 50, 10), _round(40, 25, 10)],
        "a": [_round(30, 10, 1), _round(60, 7, 1)],
        "b": [_round(50, 35, 1), _round(30, 5, 1)],
    }
    found = standing(rounds)
    assert found["dense"] == {
        "p50_ratio": 1.5,
        "rps_ratio": 0.7,
        "cpu_ratio": 0.5,
        "p50_ratio_as_served": 3,
        "rps_ratio_as_served": 0.35,
        "rps_times_best_peer": 3.5,  # of 2 and 5
        "p50_of_best_peer": 0.75,  # of 0.5 and 1
    }
    assert found["hybrid"]["p50_ratio"] == 2


def test_questions_name_the_passage_that_they_come_from() -> None:
    texts = [f"Return the number {number} of the things that were counted. More." for number in range(30)]
    found = questions([*texts, texts[0], "none"], 5)
    assert len(found) == len(set(found.values())) == 5
    assert all(str(number % 30) in text.split() for number, text in found.items())


def test_ingest_is_held_against_the_mean_of_the_bare_runs() -> None:
    systems = {Kaizen.name: {"chunks_per_s": 60.0, "own_chunks_per_s": 90.0}, "a": {"chunks_per_s": 30.0}}
    assert ingest.standing(systems, [110.0, 90.0]) == {"ratio": 0.9, "whole_ratio": 0.6, "times_best_peer": 2.0}


def test_every_installation_has_the_packages_whose_docstrings_are_read() -> None:
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in CONSTRAINTS.read_text().splitlines()}
    assert {name.lower().replace("_", "-") for name in PACKAGES.values()} <= pinned
