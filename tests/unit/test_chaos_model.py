"""The checker of histories finds each broken promise, and nothing in a history that keeps them all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.model import (
    DURABLE,
    FAILED,
    GONE,
    ONCE,
    ONE_RELEASE,
    PATIENT,
    RECORDED,
    REFUSED,
    SAID,
    WAITED,
    Final,
    Kind,
    Operation,
    check,
)

RELEASES = {"r1": {"retrieval": "aa", "index": "i1"}, "r2": {"retrieval": "bb", "index": "i2"}}


def operation(kind: Kind, at: float, status: int = 200, **fields: object) -> Operation:
    known = Operation(kind=kind, invoked=at, ended=at + 0.5, status=status, first_status=status)
    return replace(known, **fields)  # type: ignore[arg-type]


def written(name: str, at: float, seq: int, status: int = 200) -> Operation:
    return operation("write", at, status, document=name, text=f"text of {name}", seq=seq)


GOOD = [
    written("a", 1, 1),
    written("b", 1, 2),
    operation("delete", 2, document="b", seq=3),
    written("c", 2, 0, status=500),
    operation("search", 3, document="a", seq=3, min_seq=3, found={"a": "text of a"}, release="r1",
              fingerprints={"r1": {"retrieval": "aa", "index": "i1"}}),
    operation("search", 3, document="b", seq=3, found={}),
    operation("search", 3, seq=2, found={"b": "text of b"}),  # an index that had not come to the deletion yet
    operation("search", 4, document="a", seq=2, min_seq=3, coverage=0.5, degraded=("shard-unavailable",),
              impression="i1"),
    operation("search", 4, degraded=("impression-not-recorded",), impression="i3"),
    operation("feedback", 4, key="k1", stored="fb_1"),
    operation("feedback", 5, key="k1", stored="fb_1"),
    operation("feedback", 4, key="k2", status=0),
    operation("search", 5, 429, retry_after="1"),
]  # fmt: skip
END = Final(documents=[("a", "text of a")], feedback={"k1": 1}, impressions={"i1", "i2"})
EXPECTED_OF_GOOD = [(FAILED, "write"), (FAILED, "feedback")]


def broken(history: list[Operation], final: Final | None = END) -> list[str]:
    """Promises that are broken beyond those of GOOD, whose two unanswered operations are failures by themselves."""
    found = [violation.promise for violation in check(history, final, RELEASES)]
    for promise, _ in EXPECTED_OF_GOOD:
        found.remove(promise)
    return found


@pytest.mark.parametrize("c_is_there", [False, True])
def test_what_nobody_answered_may_be_either(c_is_there: bool) -> None:
    documents = [("a", "text of a"), *([("c", "text of c")] if c_is_there else [])]
    assert broken(GOOD, Final(documents=documents, feedback={"k1": 1, "k2": int(c_is_there)})) == []


@pytest.mark.parametrize(
    ("final", "promise"),
    [
        (replace(END, documents=[]), DURABLE),
        (replace(END, documents=[("a", "another text")]), DURABLE),
        (replace(END, documents=[*END.documents, ("b", "text of b")]), GONE),
        (replace(END, documents=[*END.documents, *END.documents]), ONCE),
        (replace(END, documents=[*END.documents, ("x", "whose?")]), DURABLE),
        (replace(END, feedback={}), DURABLE),
        (replace(END, feedback={"k1": 2}), ONCE),
        (replace(END, feedback={"k1": 1, "k2": 2}), ONCE),
        (replace(END, impressions={"i2"}), RECORDED),
    ],
)
def test_the_end_differs(final: Final, promise: str) -> None:
    assert broken(GOOD, final) == [promise]


@pytest.mark.parametrize(
    ("more", "promise"),
    [
        (operation("search", 6, document="a", seq=3, found={}), DURABLE),
        (operation("search", 6, document="a", seq=3, found={"a": "older"}), DURABLE),
        (operation("search", 6, seq=3, found={"b": "text of b"}), GONE),
        (operation("search", 6, 503), FAILED),
        (operation("search", 6, 0), FAILED),
        (operation("write", 6, 507, document="d"), FAILED),
        (operation("search", 6, 404, routed=False), FAILED),
        (operation("delete", 6, 404, document="d", routed=False), FAILED),
        (operation("search", 6, 422), REFUSED),
        (operation("write", 6, 409, document="d"), REFUSED),
        (operation("feedback", 6, 404), REFUSED),
        (operation("feedback", 6, 404, first_status=503), REFUSED),
        (operation("search", 6, 429), PATIENT),
        (operation("search", 6, coverage=0.5), SAID),
        (operation("search", 6, seq=2, min_seq=3), WAITED),
        (operation("search", 6, release="r1", fingerprints={"r1": {}}), ONE_RELEASE),
        (operation("search", 6, release="r1", fingerprints={"r2": RELEASES["r2"]}), ONE_RELEASE),
        (operation("search", 6, release="r1", fingerprints={"r1": RELEASES["r2"]}), ONE_RELEASE),
        (operation("answer", 6, release="r1", fingerprints=RELEASES), ONE_RELEASE),
        (operation("delete", 6, 404, document="a"), DURABLE),
        (operation("delete", 6, 404, document="a", first_status=429), DURABLE),
        (operation("feedback", 6, key="k1", stored="fb_2"), ONCE),
    ],
)
def test_one_operation_too_many(more: Operation, promise: str) -> None:
    assert broken([*GOOD, more]) == [promise]


@pytest.mark.parametrize("documents", [[], [("a", "text of a")]])
def test_a_first_try_that_nobody_answered_may_have_been_done_although_the_second_was_refused(
    documents: list[tuple[str, str]],
) -> None:
    history = [replace(written("a", 1, 0, status=429), first_status=0, retry_after="1")]
    assert check(history, Final(documents=documents)) == []


def test_a_deletion_that_finds_nothing_where_there_is_nothing_is_right() -> None:
    history = [
        written("a", 1, 1),
        operation("delete", 2, document="a", seq=2),
        operation("delete", 3, 404, document="a"),
    ]
    assert check(history, Final(documents=[])) == []


def test_a_deletion_that_had_already_happened_is_acknowledged() -> None:
    history = [written("a", 1, 1), operation("delete", 2, 404, document="a", first_status=500)]
    assert check(history, Final(documents=[])) == []
    assert [v.promise for v in check(history, Final(documents=[("a", "text of a")]))] == [GONE]


def test_a_probe_in_an_index_that_is_behind_tells_nothing() -> None:
    assert check([written("a", 1, 5), operation("search", 2, document="a", seq=4, found={})]) == []
