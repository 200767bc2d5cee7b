"""Impressions and feedback, on both databases."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kaizen.errors import Conflict, InvalidInput, NotFound
from kaizen.storage.ledger import Ledger
from tests.unit.storage.examples import TENANT, feedback, impression


def test_an_impression_is_read_back_whole_within_its_tenant(ledger: Ledger) -> None:
    shown = impression(query="NUL \0 and a lone surrogate \ud800, 日本")
    ledger.impressions.record(shown)
    ledger.impressions.record(shown)
    assert ledger.impressions.get(TENANT, "imp_1") == shown
    assert ledger.impressions.count(TENANT) == 1
    with pytest.raises(NotFound):
        ledger.impressions.get("other", "imp_1")


def test_feedback_is_stored_with_its_impression(ledger: Ledger) -> None:
    ledger.impressions.record(impression())
    given = [
        feedback("fb_1", kind="click", value=1.0),
        feedback("fb_2", kind="rating", value=4.5, chunk_id=""),
        feedback("fb_3", kind="correction", value=None, text="Better: \0 \ud800"),
        feedback("fb_4", kind="comment", value=None, text="Why?"),
        feedback("fb_5", value=-1.0),
    ]
    assert [ledger.feedback.record(item) for item in given] == [(item, True) for item in given]
    assert ledger.feedback.of_impression(TENANT, "imp_1") == given
    assert ledger.feedback.counts(TENANT) == dict.fromkeys(("click", "rating", "correction", "comment", "thumb"), 1)
    assert ledger.feedback.counts("other") == {}


def test_learning_reads_on_from_where_it_was(ledger: Ledger) -> None:
    for number in range(3):
        ledger.impressions.record(impression(f"imp_{number}"))
        ledger.feedback.record(feedback(f"fb_{number}", impression_id=f"imp_{number}"))
    (first, one), (second, two) = ledger.feedback.after(0, limit=2)
    assert (first < second, one.id, two.id) == (True, "fb_0", "fb_1")
    assert [item.id for _seq, item in ledger.feedback.after(second)] == ["fb_2"]
    assert [item.id for _seq, item in ledger.impressions.after(ledger.impressions.after(0)[0][0])] == ["imp_1", "imp_2"]


def test_where_the_feedback_on_the_newest_impressions_begins(ledger: Ledger) -> None:
    assert ledger.feedback.start(5) == 0
    for number in range(1, 5):
        ledger.impressions.record(impression(f"imp_{number}"))
    for name, on in (("fb_1", 1), ("fb_2", 3), ("fb_3", 1), ("fb_4", 2)):
        ledger.feedback.record(feedback(name, impression_id=f"imp_{on}"))
    assert [ledger.feedback.start(seq) for seq in range(5)] == [0, 1, 1, 4, 4]


def test_the_newest_impression_up_to_a_moment(ledger: Ledger) -> None:
    assert (ledger.impressions.end(), ledger.impressions.end(5)) == (0, 0)
    for number, at in enumerate((10.0, 30.0, 20.0, 40.0), start=1):  # a clock that was set back
        ledger.impressions.record(dataclasses.replace(impression(f"imp_{number}"), at=at))
    ends = [ledger.impressions.end(until) for until in (9, 10, 25, 30, 40)]
    assert (ends, ledger.impressions.end()) == ([0, 1, 3, 3, 4], 4)


def test_an_idempotency_key_counts_once(ledger: Ledger) -> None:
    ledger.impressions.record(impression())
    first = feedback("fb_1", key="k")
    assert ledger.feedback.record(first) == (first, True)
    assert ledger.feedback.record(dataclasses.replace(first, id="fb_2", at=9.0)) == (first, False)
    for change in ({"value": -1.0}, {"chunk_id": ""}, {"identity": "k2"}):
        with pytest.raises(Conflict, match=r"another request of this tenant.*Use a UUID"):
            ledger.feedback.record(dataclasses.replace(first, **change))
    ledger.impressions.record(impression(tenant="other"))
    assert ledger.feedback.record(feedback("fb_3", tenant="other", key="k"))[1]
    assert ledger.feedback.counts(TENANT) == {"thumb": 1}


def test_an_idempotency_key_counts_once_for_a_user_whose_application_has_a_renewed_api_key(ledger: Ledger) -> None:
    ledger.impressions.record(impression())
    first = dataclasses.replace(feedback("fb_1", key="k"), identity="k1/ann")
    assert ledger.feedback.record(first) == (first, True)
    assert ledger.feedback.record(dataclasses.replace(first, id="fb_2", identity="k2/ann")) == (first, False)
    for other in ("k1/bob", "k2/bob", "k1", "k2"):
        with pytest.raises(Conflict):
            ledger.feedback.record(dataclasses.replace(first, identity=other))


def test_feedback_on_what_was_not_shown_is_refused(ledger: Ledger) -> None:
    ledger.impressions.record(impression())
    with pytest.raises(NotFound):
        ledger.feedback.record(feedback(impression_id="imp_2"))
    with pytest.raises(NotFound):
        ledger.feedback.record(feedback(tenant="other"))
    with pytest.raises(InvalidInput):
        ledger.feedback.record(feedback(chunk_id="a#1"))
    assert ledger.feedback.counts(TENANT) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "click", "value": 0.0},
        {"kind": "click", "value": None},
        {"kind": "thumb", "value": 0.5},
        {"kind": "rating", "value": 5.1},
        {"kind": "rating", "value": float("nan")},
        {"kind": "comment", "value": None, "text": ""},
        {"kind": "correction", "value": 1.0, "text": "x"},
        {"key": "a\nb"},
        {"key": "k" * 256},
    ],
)
def test_a_judgement_that_is_none_is_refused(ledger: Ledger, wrong: dict[str, Any]) -> None:
    ledger.impressions.record(impression())
    with pytest.raises(InvalidInput):
        ledger.feedback.record(feedback(**wrong))


def test_recording_again_what_is_there_uses_up_no_numbers(ledger: Ledger) -> None:
    """What is learnt counts impressions by them."""
    many = [impression(f"imp_{number}") for number in range(600)]
    ledger.impressions.record_missing(many)
    ledger.impressions.record_missing([*many, impression("imp_new")])
    assert [seq for seq, _ in ledger.impressions.after(599)] == [600, 601]
    assert ledger.impressions.has(TENANT, "imp_new")
    assert not ledger.impressions.has("other", "imp_new")
