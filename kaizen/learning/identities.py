"""Whose votes count: robots are left out before anything is learnt, and nobody counts for more than a share.

The subtle ones, who click like people but for their own ends, are found by `relevance`, which weighs each identity by
how well it agrees with everybody else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaizen.learning.evidence import Bools, Evidence, Floats, Votes, busiest_minute

MOST_SHARE = 0.05  # of the clicks that count, of one identity; never less than twice an even share
_A_CHOICE = 3  # hits


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotRules:
    """What no person does. A rule looks only at identities with at least its `least` of what it counts.

    Attributes:
        most_per_minute: searches and answers within 60 seconds. Applied to named users only: a key may stand for a
            whole application.
        most_clicked: share of what was shown that was clicked, where enough was shown to choose from: of a single hit
            most people click most.
        most_constant: share of the clicks that went to one position below the first.
    """

    most_per_minute: int = 300
    most_clicked: float = 0.7
    most_constant: float = 0.95
    least_seen: int = 30
    least_clicks: int = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Robots:
    """(identities,) each: who broke which rule."""

    too_fast: Bools
    clicks_all: Bools
    constant: Bools

    @property
    def any(self) -> Bools:
        """Who broke any rule."""
        found: Bools = self.too_fast | self.clicks_all | self.constant
        return found


def find_robots(evidence: Evidence, votes: Votes, rules: RobotRules) -> Robots:
    """Judge every identity by all that it did (`votes` with repeats)."""
    many = len(evidence.identities)
    clicks = np.bincount(votes.who, votes.clicked, many)
    return Robots(
        too_fast=_too_fast(evidence, rules.most_per_minute),
        clicks_all=_clicks_all(votes, many, rules),
        constant=(clicks >= rules.least_clicks) & (_constancy(votes, many) >= rules.most_constant),
    )


def capped(clicks: Floats) -> Floats:
    """Return the factor (identities,) from 0 to 1 by which each identity's votes count, given its clicks.

    No identity has more than MOST_SHARE of the clicks that count then, or twice an even share where there are few.
    """
    active = int((clicks > 0).sum())
    if active == 0:
        return np.ones(len(clicks))
    most = _most(np.sort(clicks)[::-1], max(MOST_SHARE, 2 / active))
    factor: Floats = np.minimum(1.0, most / np.maximum(clicks, 1.0))
    return factor


def _most(clicks: Floats, share: float) -> float:
    """What each may have so that none has more than `share` of what is left. `clicks`: the most first.

    Those who are cut down have the same, c: `many` of them c = share (many c + rest). Fewer than 1 / share can be.
    """
    rest = float(clicks.sum())
    for many, next_one in enumerate(clicks):
        most = share * rest / (1 - share * many)
        if next_one <= most:
            return most
        rest -= next_one
    raise AssertionError("whoever has the least has no more than an even share")


def _too_fast(evidence: Evidence, most: int) -> Bools:
    who, at = np.array(evidence.asked_by, np.int32), np.array(evidence.asked_at)
    order = np.argsort(who, kind="stable")
    bounds = np.searchsorted(who[order], np.arange(len(evidence.identities) + 1))
    named = ["/" in identity.partition("\0")[2] for identity in evidence.identities]
    return np.array(
        [
            named[number] and bounds[number + 1] - bounds[number] > most
            and busiest_minute(at[order[bounds[number] : bounds[number + 1]]]) > most
            for number in range(len(named))
        ],
        bool,
    )  # fmt: skip


def _clicks_all(votes: Votes, many: int, rules: RobotRules) -> Bools:
    chosen = votes.of(np.bincount(votes.session)[votes.session] >= _A_CHOICE)
    seen, clicks = np.bincount(chosen.who, minlength=many), np.bincount(chosen.who, chosen.clicked, many)
    found: Bools = (seen >= rules.least_seen) & (clicks / np.maximum(seen, 1) >= rules.most_clicked)
    return found


def _constancy(votes: Votes, many: int) -> Floats:
    """Share of each identity's clicks that fell on its favourite position, if that is not the first."""
    clicked = votes.of(votes.clicked)
    width = int(clicked.position.max(initial=1)) + 1
    table = np.bincount(clicked.who * width + clicked.position, minlength=many * width).reshape(many, width)
    found: Floats = table[:, 2:].max(axis=1, initial=0) / np.maximum(table.sum(axis=1), 1)
    return found
