"""Team-draft interleaving: what is in the list, and that chance favours nobody."""

from __future__ import annotations

from random import Random

import pytest

from kaizen.evaluation.interleaving import credit, team_draft

STABLE = ["a", "b", "c", "d", "e", "f"]


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 (no secret)


def test_equal_rankings_credit_nobody() -> None:
    assert team_draft(STABLE, STABLE, 4, seeded(1)) == [(name, "") for name in "abcd"]


def test_the_common_prefix_is_first_and_belongs_to_nobody() -> None:
    shown = team_draft(STABLE, ["a", "b", "z", "y", "x", "w"], 6, seeded(1))
    assert shown[:2] == [("a", ""), ("b", "")]
    assert sorted(team for _, team in shown[2:]) == ["challenger"] * 2 + ["stable"] * 2
    assert {name for name, team in shown if team == "challenger"} == {"z", "y"}


def test_a_coin_says_who_is_first_in_each_round() -> None:
    firsts = {tuple(team for _, team in team_draft("ab", "yz", 4, seeded(seed))) for seed in range(50)}
    s, c = "stable", "challenger"
    assert firsts == {(s, c, s, c), (s, c, c, s), (c, s, s, c), (c, s, c, s)}


@pytest.mark.parametrize(
    ("stable", "challenger", "shown"),
    [
        ([], [], []),
        (["a"], [], [("a", "")]),
        ([], ["a"], [("a", "")]),
        (["a", "c"], ["a", "c", "d"], [("a", ""), ("c", ""), ("d", "")]),
    ],
)
def test_one_is_exhausted(stable: list[str], challenger: list[str], shown: list[tuple[str, str]]) -> None:
    assert team_draft(stable, challenger, 10, seeded(3)) == shown


def test_what_only_one_could_still_answer_belongs_to_nobody() -> None:
    shown = team_draft(["p", "x"], ["q", "x", "y"], 10, seeded(1))
    assert dict(shown) == {"p": "stable", "q": "challenger", "x": "", "y": ""}


def test_nothing_is_shown_twice_and_no_more_than_k() -> None:
    rng = seeded(7)
    for _ in range(200):
        one, other = (rng.sample(range(12), rng.randrange(9)) for _ in range(2))
        stable, challenger = [str(name) for name in one], [str(name) for name in other]
        shown = team_draft(stable, challenger, 5, rng)
        names = [name for name, _ in shown]
        assert len(names) == len(set(names)) == min(5, len(set(stable) | set(challenger)))
        for name, team in shown:
            assert name in {"stable": stable, "challenger": challenger, "": stable + challenger}[team]


@pytest.mark.parametrize("challenger", [["b", "a", "c"], ["c", "b"], ["z", "a", "y", "x", "w", "v", "u"]])
def test_who_clicks_by_position_alone_favours_neither(challenger: list[str]) -> None:
    rng, net, runs = seeded(11), 0, 20_000
    for _ in range(runs):
        shown = team_draft(STABLE, challenger, 5, rng)
        net += credit(shown, {name for place, (name, _) in enumerate(shown, 1) if rng.random() < 0.8 / place})
    assert abs(net) < 4 * runs**0.5


def test_credit() -> None:
    shown = [("a", ""), ("b", "stable"), ("c", "challenger"), ("d", "challenger")]
    assert [credit(shown, clicked) for clicked in ("", "a", "b", "c", "bc", "bcd", "q")] == [0, 0, -1, 1, 0, 1, 0]
