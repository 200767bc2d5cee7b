"""Team-draft interleaving: one list out of two rankings, and whom a click on it speaks for.

F. Radlinski, M. Kurup, T. Joachims: How does clickthrough data reflect retrieval quality? CIKM 2008, algorithm 2; the
treatment of what both rank alike follows O. Chapelle et al.: Large-scale validation and analysis of interleaved search
evaluation, TOIS 30(1), 2012: such a hit would be drafted by a coin's fall, so a click on it says nothing.

Whoever clicks at random, or by position alone, favours neither team on average.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

from kaizen.records import Team

Draft = list[tuple[str, Team]]


def team_draft(stable: Sequence[str], challenger: Sequence[str], k: int, rng: Random) -> Draft:
    """Return at most `k` (id, team), best first, drafted from two rankings of distinct ids.

    In each round a coin says who picks first; each team then adds the best of its own that is not there yet. Team ""
    stands where a click favours neither: in the prefix that both rank alike, and at the end, from the round on in
    which one could be left with nothing (the other's picks have no counterpart there). Both rank such ids or one does.
    """
    drafted: dict[str, Team] = dict.fromkeys(stable[: _common_prefix(stable, challenger)], "")
    while len(drafted) < k:
        left, right = _round(stable, challenger, drafted), _round(challenger, stable, drafted)
        if left is None or right is None:
            break
        picks: Draft = [(left[0], "stable"), (left[1], "challenger")]
        if rng.random() < 0.5:
            picks = [(right[0], "challenger"), (right[1], "stable")]
        drafted.update(picks)
    for rest in (*stable, *challenger):
        drafted.setdefault(rest, "")
    return list(drafted.items())[:k]


def credit(shown: Sequence[tuple[str, Team]], clicked: Collection[str]) -> int:
    """Return +1 when more of the clicked hits are the challenger's, -1 when more are the stable's, else 0."""
    teams = [team for name, team in shown if name in clicked]
    lead = teams.count("challenger") - teams.count("stable")
    return (lead > 0) - (lead < 0)


def _common_prefix(one: Sequence[str], other: Sequence[str]) -> int:
    alike = 0
    while alike < min(len(one), len(other)) and one[alike] == other[alike]:
        alike += 1
    return alike


def _round(first: Sequence[str], second: Sequence[str], drafted: Collection[str]) -> tuple[str, str] | None:
    """Return what both would add, the first one first; None when one of them has nothing to add."""
    pick = next((name for name in first if name not in drafted), None)
    answer = next((name for name in second if name not in drafted and name != pick), None)
    return None if pick is None or answer is None else (pick, answer)
