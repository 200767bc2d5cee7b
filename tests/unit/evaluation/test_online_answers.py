"""The online test of releases that write answers differently: what people say of answers decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from random import Random

import pytest

from bench.people import CHALLENGER, STABLE, Rows, rollout
from kaizen.evaluation.observed import level
from kaizen.evaluation.online import Bounds, OnlineTest, Outcome, begin, decide, fold
from kaizen.records import Feedback, Impression

BOUNDS = Bounds()
Said = Mapping[str, tuple[float, float]]  # of a release: how many of its answers are liked, and how many disliked
ALIKE: Said = {STABLE: (0.1, 0.1), CHALLENGER: (0.1, 0.1)}
BETTER: Said = {STABLE: (0.1, 0.3), CHALLENGER: (0.5, 0.05)}
WORSE: Said = {STABLE: (0.2, 0.05), CHALLENGER: (0.0, 0.4)}


def answered(seed: int, count: int, mode: str, said: Said, *, identities: int = 200) -> Rows:
    """So many answers, each with a thumb or without one."""
    rng = Random(seed)  # noqa: S311 (no secret)
    impressions, feedback = [], []
    for seq in range(1, count + 1):
        user = f"u{rng.randrange(identities)}"
        release = CHALLENGER if mode != "off" and Random(user).random() < 0.5 else STABLE  # noqa: S311
        impressions.append((seq, made := _impression(seq, user, release)))
        liked, disliked = said[release]
        chance = rng.random()
        if chance < liked + disliked:
            feedback.append((seq, _thumb(made, 1.0 if chance < liked else -1.0)))
    return impressions, feedback


def _impression(seq: int, user: str, release: str) -> Impression:
    return Impression(
        id=f"imp_{seq}", at=float(seq), tenant="t", key_id="k", user=user, index_seq=1, kind="answer", mode="hybrid",
        release=release, query=f"q{seq}", answer="text", coverage=1.0, degraded=(), timings_ms={"total": 10.0},
        arm="challenger" if release == CHALLENGER else "stable", shown=(),
    )  # fmt: skip


def _thumb(on: Impression, value: float) -> Feedback:
    return Feedback(
        id=f"fb_{on.id}", at=on.at, tenant=on.tenant, impression_id=on.id, kind="thumb", chunk_id="", value=value,
        text="", identity=on.identity, idempotency_key="",
    )  # fmt: skip


def begun(mode: str, reference: Rows, *, written: bool = True) -> OnlineTest:
    before = fold(begin(rollout("off"), level([], {}), written=written), *reference)
    return begin(rollout(mode), level(before.seen.values(), before.rewards, answers=written), written=written)


def outcome(mode: str, said: Said, *, count: int = 6000, written: bool = True) -> Outcome:
    before = answered(1, 500, "off", said)
    return decide(fold(begun(mode, before, written=written), *answered(2, count, mode, said)), BOUNDS)


@pytest.mark.parametrize(
    ("mode", "said", "expected"),
    [
        ("ab", BETTER, ("promote", "better")),
        ("ab", WORSE, ("rollback", "answers")),
        ("ab", ALIKE, ("continue", "undecided")),
        ("canary", WORSE, ("rollback", "answers")),
        ("canary", ALIKE, ("continue", "guarded")),
        ("canary", BETTER, ("continue", "guarded")),
    ],
)
def test_what_people_say_of_answers_decides(mode: str, said: Said, expected: tuple[str, str]) -> None:
    found = outcome(mode, said)
    assert (found.action, found.code) == expected
    assert json.loads(json.dumps(asdict(found), allow_nan=False)) == asdict(found)


def test_it_decides_nothing_where_both_write_alike() -> None:
    assert [outcome(mode, WORSE, written=False).action for mode in ("ab", "canary")] == ["continue", "continue"]


def test_answers_that_are_disliked_after_a_promotion_take_it_back() -> None:
    before = answered(1, 1000, "off", {STABLE: (0.1, 0.02)})
    found = decide(fold(begun("off", before), *answered(2, 500, "off", {STABLE: (0.02, 0.2)})), BOUNDS)
    assert (found.action, found.code) == ("rollback", "answers")
    assert (
        decide(fold(begun("off", before), *answered(3, 3000, "off", {STABLE: (0.1, 0.02)})), BOUNDS).code == "guarded"
    )


@pytest.mark.parametrize("value", [1.0, -1.0])
@pytest.mark.parametrize("mode", ["ab", "canary", "off"])
def test_one_identity_decides_nothing_however_often_it_says_so(mode: str, value: float) -> None:
    """A third of all answers are its own, and nobody else says anything."""
    nobody: Said = {STABLE: (0.0, 0.0), CHALLENGER: (0.0, 0.0)}
    impressions, _ = answered(2, 3000, mode, nobody, identities=40)
    own = next(made.user for _, made in impressions if mode == "off" or made.release == CHALLENGER)
    moved = [(seq, _impression(seq, own, one.release) if seq % 3 == 0 else one) for seq, one in impressions]
    mine = [(seq, one) for seq, one in moved if one.user == own]
    said = [(seq, _thumb(one, value)) for seq, one in mine]
    found = decide(fold(begun(mode, answered(1, 500, "off", nobody)), moved, said), BOUNDS)
    assert found.action == "continue", found


def test_the_last_word_of_somebody_counts() -> None:
    impressions, thumbs = answered(2, 3000, "ab", BETTER)
    taken_back = [(3000 + seq, _thumb(impressions[seq - 1][1], -1.0)) for seq, _ in thumbs]
    found = decide(fold(begun("ab", answered(1, 500, "off", BETTER)), impressions, [*thumbs, *taken_back]), BOUNDS)
    assert max(found.figures["reward"].values()) < 0.5


def test_releases_whose_answers_are_liked_equally_are_rarely_told_apart() -> None:
    wrong = 0
    for seed in range(30):
        test = fold(begun("ab", answered(2 * seed, 500, "off", ALIKE)), *answered(2 * seed + 1, 3000, "ab", ALIKE))
        wrong += decide(test, BOUNDS).action != "continue"
    assert wrong <= 4  # 5 % each at most: five or more of 30 come once in 60 such tests


def test_an_identity_counts_from_its_first_answer_on() -> None:
    """Most of what people do is searching: who asks late would never count."""
    searches, rng = [], Random(5)  # noqa: S311
    for seq in range(1, 6001):
        user = f"u{rng.randrange(200)}"
        release = CHALLENGER if Random(user).random() < 0.5 else STABLE  # noqa: S311
        searches.append((seq, replace(_impression(seq, user, release), kind="search", answer="")))
    answers, thumbs = answered(2, 600, "ab", BETTER)
    late = [(seq + 6000, replace(one, id=f"late_{one.id}")) for seq, one in answers]
    said = [(seq, replace(one, impression_id=f"late_{one.impression_id}")) for seq, one in thumbs]
    reference = begun("ab", answered(1, 500, "off", BETTER))
    alone = decide(fold(reference, late, said), BOUNDS)
    mixed = decide(fold(reference, [*searches, *late], said), BOUNDS)
    assert mixed.reason == alone.reason
