"""The online test as a whole: who wins, who is taken back, and who is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest

from bench.people import CHALLENGER, Habits, Rows, Traffic, begun
from kaizen.evaluation.online import Bounds, OnlineTest, Outcome, decide, fold
from kaizen.records import Feedback, Impression

BOUNDS = Bounds()
GOOD, POOR, SO_SO = Habits(good_first=0.8), Habits(good_first=0.1, click=0.4), Habits()


def run(test: OnlineTest, traffic: Traffic, stable: Habits, challenger: Habits, looks: int) -> tuple[Outcome, int]:
    """Look after each 50 impressions; return the outcome and the impressions that it took."""
    for look in range(1, looks + 1):  # noqa: B007 (the last one is kept)
        rows = traffic.rows(50, test.rollout.mode, stable, challenger, test.rollout.weight)
        test = fold(test, *rows)
        outcome = decide(test, BOUNDS)
        if outcome.action != "continue":
            break
    return outcome, 50 * look


@pytest.mark.parametrize(
    ("mode", "stable", "challenger", "expected"),
    [
        ("interleave", SO_SO, GOOD, ("promote", "better")),
        ("interleave", GOOD, SO_SO, ("rollback", "worse")),
        ("ab", POOR, GOOD, ("promote", "better")),
        ("ab", SO_SO, Habits(faulty=0.3), ("rollback", "faults")),
        ("canary", SO_SO, Habits(total_ms=150), ("rollback", "latency")),
        ("canary", GOOD, POOR, ("rollback", "reward")),
        ("canary", POOR, GOOD, ("continue", "guarded")),
    ],
)
def test_what_is_decided(mode: str, stable: Habits, challenger: Habits, expected: tuple[str, str]) -> None:
    traffic = Traffic(1, identities=200)
    reference = traffic.rows(400, "off", stable, stable)
    outcome, _ = run(begun(mode, reference), traffic, stable, challenger, looks=60)
    assert (outcome.action, outcome.code) == expected


@pytest.mark.parametrize("mode", ["interleave", "ab"])
def test_a_challenger_that_cannot_answer_is_taken_back_though_the_stable_release_answered(mode: str) -> None:
    traffic = Traffic(1, identities=200)
    test = begun(mode, traffic.rows(400, "off", GOOD, GOOD))
    impressions, feedback = traffic.rows(300, "off", GOOD, GOOD)
    fell_back = [
        (seq, replace(one, challenger=CHALLENGER, degraded=("challenger-unavailable",)) if seq % 2 else one)
        for seq, one in impressions
    ]
    outcome = decide(fold(test, fell_back, feedback), BOUNDS)
    assert (outcome.action, outcome.code) == ("rollback", "fallbacks")


@pytest.mark.parametrize("bad", [POOR, Habits(good_first=0.8, faulty=0.5), Habits(good_first=0.8, total_ms=200)])
def test_a_release_that_is_bad_after_its_promotion_is_taken_back_within_500_impressions(bad: Habits) -> None:
    traffic = Traffic(2)
    before = traffic.rows(1000, "off", GOOD, GOOD)
    outcome, impressions = run(begun("off", before), traffic, bad, bad, looks=10)
    assert outcome.action == "rollback"
    assert impressions <= 500


def test_a_release_that_is_as_good_stays() -> None:
    traffic = Traffic(3)
    before = traffic.rows(1000, "off", GOOD, GOOD)
    outcome, _ = run(begun("off", before), traffic, GOOD, GOOD, looks=40)
    assert outcome.action == "continue"


def test_a_batch_job_that_clicks_nothing_takes_nothing_back() -> None:
    traffic = Traffic(8)
    test = fold(begun("off", traffic.rows(1000, "off", GOOD, GOOD)), *traffic.rows(60, "off", GOOD, GOOD))
    silent = Traffic(9, identities=1).rows(300, "off", Habits(click=0.0), GOOD)
    moved = [(seq + 2000, replace(made, id=f"job_{seq}", user="job", at=made.at + 2000)) for seq, made in silent[0]]
    assert decide(fold(test, moved, []), BOUNDS).action == "continue"


def one_more(rows: Rows, every: int, **wrong: object) -> Rows:
    """The rows, and after so many of them one of a caller of its own, with something wrong."""
    impressions, feedback = rows
    mixed: list[tuple[int, Impression]] = []
    for seq, made in impressions:
        mixed.append((2 * seq, made))
        if seq % every == 0:
            mixed.append((2 * seq + 1, replace(made, id=f"odd_{seq}", user="odd", **wrong)))
    return mixed, feedback


@pytest.mark.parametrize("wrong", [{"coverage": 0.0}, {"timings_ms": {"total": 900.0}}])
def test_one_caller_takes_no_release_back(wrong: dict[str, object]) -> None:
    """A third of all requests are of one caller, and all of them bad: it asks for too much, or leaves no time."""
    before = Traffic(1).rows(1000, "off", GOOD, GOOD)
    after = one_more(Traffic(2).rows(1000, "off", GOOD, GOOD), 2, **wrong)
    for mode in ("off", "canary"):
        assert decide(fold(begun(mode, before), *after), BOUNDS).action == "continue"


@pytest.mark.parametrize("identities", [1, 2, 3])
def test_of_few_callers_all_count(identities: int) -> None:
    traffic = Traffic(2, identities=identities)
    bad = Habits(good_first=0.8, faulty=0.5)
    before = traffic.rows(1000, "off", GOOD, GOOD)
    outcome, impressions = run(begun("off", before), traffic, bad, bad, looks=10)
    assert (outcome.action, outcome.code, impressions <= 100) == ("rollback", "faults", True)


def test_what_is_missing_because_its_caller_would_not_wait_is_nobodys_fault() -> None:
    traffic = Traffic(2)
    before = traffic.rows(1000, "off", GOOD, GOOD)
    impressions, feedback = traffic.rows(600, "off", GOOD, GOOD)
    missing = [(seq, replace(one, coverage=0.0)) if seq % 2 else (seq, one) for seq, one in impressions]
    hurried = [(seq, replace(one, hurried=one.coverage < 1)) for seq, one in missing]
    assert decide(fold(begun("off", before), hurried, feedback), BOUNDS).action == "continue"
    assert decide(fold(begun("off", before), missing, feedback), BOUNDS).code == "faults"


def test_who_reads_what_was_just_written_makes_no_release_slow() -> None:
    """Half of all searches wait for a change to be embedded."""
    traffic = Traffic(2)
    before = traffic.rows(1000, "off", GOOD, GOOD)
    impressions, feedback = traffic.rows(600, "off", GOOD, GOOD)
    after, slow = (
        [(seq, replace(one, timings_ms={**timings, "total": 710.0}) if seq % 2 else one) for seq, one in impressions]
        for timings in ({"wait": 700.0}, {})
    )
    assert decide(fold(begun("off", before), after, feedback), BOUNDS).action == "continue"
    assert decide(fold(begun("off", before), slow, feedback), BOUNDS).code == "latency"


def test_clicks_that_are_still_to_come_are_waited_for() -> None:
    impressions, clicks = Traffic(10).rows(900, "off", GOOD, GOOD)
    slow = [(seq, replace(click, at=click.at + 90)) for seq, click in clicks]
    test = begun("off", (impressions, slow))
    assert test.reference.patience_s == 90
    at_once = fold(test, Traffic(11).rows(89, "off", GOOD, GOOD)[0], [])
    assert "reward" in (guards := decide(at_once, BOUNDS).figures["guards"])
    assert guards["reward"] == 0
    later = fold(test, Traffic(11).rows(300, "off", GOOD, GOOD)[0], [])
    assert decide(later, BOUNDS).code == "reward"


def looked_at(reference: Rows, rows: Rows, every: float) -> tuple[Outcome, OnlineTest]:
    """Look after each so many seconds, at the feedback that has come by then."""
    test, (impressions, feedback) = begun("off", reference), rows
    for now in np.arange(every, impressions[-1][1].at + every, every):
        shown = [row for row in impressions if now - every < row[1].at <= now]
        test = fold(test, shown, [row for row in feedback if now - every < row[1].at <= now])
        outcome = decide(test, BOUNDS)
        if outcome.action != "continue":
            break
    return outcome, test


def sent(rows: Rows, when: Callable[[float], float]) -> Rows:
    """The rows, with each click sent at another time than at once."""
    moved = sorted(((seq, replace(one, at=when(one.at))) for seq, one in rows[1]), key=lambda row: row[1].at)
    return rows[0], moved


@pytest.mark.parametrize("minutes", [4, 10])
def test_a_release_that_is_as_good_stays_however_late_its_clicks_come(minutes: int) -> None:
    delays = np.random.default_rng(minutes)
    for seed in range(2):
        both = [Traffic(20 + 2 * seed + side).rows(1500, "off", GOOD, GOOD) for side in range(2)]
        before, after = (sent(rows, lambda at: at + delays.exponential(60 * minutes)) for rows in both)
        outcome, _ = looked_at(before, after, 60)
        assert (outcome.action, "reward" in outcome.figures["guards"]) == ("continue", True)


@pytest.mark.parametrize("seconds", [150, 300, 86400])
def test_clicks_that_come_in_batches_take_nothing_back(seconds: int) -> None:
    for seed in range(2):
        both = [Traffic(30 + 2 * seed + side).rows(1500, "off", GOOD, GOOD) for side in range(2)]
        before, after = (sent(rows, lambda at: at - at % seconds + seconds) for rows in both)
        outcome, test = looked_at(before, after, 60)
        assert (outcome.action, "reward" in outcome.figures["guards"]) == ("continue", False)
        assert test.reference.record().get("batches", False) is (seconds < 1500)


@pytest.mark.parametrize(("slow", "late"), [(("u0",), 100), (("u0", "u1", "u2"), 8)])
def test_a_few_who_click_late_in_a_row_are_no_batches(slow: tuple[str, ...], late: int) -> None:
    """One who reads long before clicking, as often as you like; or all, while the service was slow for a moment."""
    impressions, clicks = Traffic(50).rows(1500, "off", GOOD, GOOD)
    liked = {click.impression_id for _, click in clicks}
    who = iter(slow * late)
    theirs = {one.id: one for _, one in [row for row in impressions if row[1].id in liked][200 : 200 + late]}
    theirs = {name: replace(one, user=next(who)) for name, one in theirs.items()}
    rows = (
        [(seq, theirs.get(one.id, one)) for seq, one in impressions],
        [(seq, replace(one, at=one.at + 300) if one.impression_id in theirs else one) for seq, one in clicks],
    )
    test = begun("off", rows)
    assert not test.reference.batches
    outcome, _ = looked_at(rows, Traffic(51).rows(300, "off", POOR, GOOD), 60)
    assert (outcome.action, outcome.code) == ("rollback", "reward")


def test_of_one_key_for_all_people_batches_are_seen() -> None:
    impressions, clicks = sent(Traffic(52, identities=1).rows(1500, "off", GOOD, GOOD), lambda at: at - at % 300 + 300)
    assert begun("off", (impressions, clicks)).reference.batches


def test_short_batches_are_waited_for_and_still_guard() -> None:
    before, alike, worse = (
        Traffic(40 + n).rows(1500, "off", habits, GOOD) for n, habits in enumerate((GOOD, GOOD, POOR))
    )
    minutely = [sent(rows, lambda at: at - at % 60 + 60) for rows in (before, alike, worse)]
    assert looked_at(minutely[0], minutely[1], 60)[0].action == "continue"
    assert looked_at(minutely[0], minutely[2], 60)[0].code == "reward"


def test_portions_do_not_matter() -> None:
    impressions, feedback = Traffic(4).rows(300, "interleave", SO_SO, GOOD)
    whole = fold(begun("interleave"), impressions, feedback)
    parts = begun("interleave")
    for start in range(0, 300, 7):
        portion = impressions[start : start + 7]
        ids = {made.id for _, made in portion}
        parts = fold(parts, portion, [row for row in feedback if row[1].impression_id in ids])
    assert whole == parts
    assert decide(whole, BOUNDS) == decide(parts, BOUNDS)


def test_evidence_is_json() -> None:
    for mode in ("interleave", "ab", "off"):
        outcome = decide(fold(begun(mode), *Traffic(5).rows(200, mode, SO_SO, GOOD)), BOUNDS)
        assert json.loads(json.dumps(asdict(outcome), allow_nan=False)) == asdict(outcome)


def test_one_identity_promotes_nothing_however_often_it_clicks() -> None:
    traffic = Traffic(6, identities=1)
    outcome, _ = run(begun("interleave"), traffic, Habits(good_first=0), Habits(good_first=1), looks=10)
    assert (outcome.action, outcome.code) == ("continue", "few-identities")
    assert outcome.figures["wins"] == BOUNDS.identity_votes


def test_one_identity_takes_no_challenger_back_however_often_it_dislikes() -> None:
    decided = []
    for seed in range(6):
        traffic, test = Traffic(seed), begun("interleave")
        for _ in range(10):
            test = fold(test, *traffic.rows(20, "interleave", SO_SO, GOOD))
            flood = [(seq, replace(made, user="flood")) for seq, made in traffic.rows(20, "interleave", SO_SO, GOOD)[0]]
            test = fold(test, flood, [(test.feedback_seq, each) for _, made in flood for each in dislikes(made)])
            decided.append(decide(test, BOUNDS).action)
    assert "rollback" not in decided


def dislikes(made: Impression) -> list[Feedback]:
    """A thumb down on what the challenger found."""
    return [
        Feedback(
            id=f"fb_{made.id}", at=made.at, tenant=made.tenant, impression_id=made.id, kind="thumb",
            chunk_id=hit.chunk_id, value=-1.0, text="", identity=made.identity, idempotency_key="",
        )
        for hit in made.shown
        if hit.team == "challenger"
    ]  # fmt: skip


def test_the_one_client_of_an_installation_takes_a_challenger_back() -> None:
    outcome, _ = run(
        begun("interleave"), Traffic(6, identities=1), Habits(good_first=1), Habits(good_first=0), looks=10
    )
    assert (outcome.action, outcome.code) == ("rollback", "worse")


def test_what_an_identity_repeats_is_one_vote() -> None:
    rows = Traffic(7, identities=6, repeat=1.0).rows(300, "interleave", SO_SO, GOOD)
    figures = decide(fold(begun("interleave"), *rows), BOUNDS).figures
    assert figures["wins"] + figures["losses"] <= 6


def test_equally_good_releases_are_rarely_told_apart() -> None:
    wrong = 0
    for seed in range(30):
        outcome, _ = run(begun("interleave"), Traffic(100 + seed), SO_SO, SO_SO, looks=8)
        wrong += outcome.action == "promote"
    assert wrong <= 4  # 5 % each at most: five or more of 30 come once in 60 such tests
