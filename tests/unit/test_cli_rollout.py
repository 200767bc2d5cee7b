"""`kaizen rollout`: what is sent, what is shown, and what a loser is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.test_cli import Service, run, service

__all__ = ["service"]  # a fixture

STATE: dict[str, Any] = {
    "version": 4,
    "stable": "r1-a",
    "challenger": "r2-b",
    "mode": "ab",
    "weight": 0.5,
    "previous": None,
    "at": 0.0,
    "standing": {"r1-a": "serving", "r2-b": "r2-b waits for its actors and its index"},
}


def sent(kept: Service) -> list[tuple[str, str, Any]]:
    return [(method, path, body) for method, path, _, body in kept.requests]


def test_the_state_is_shown(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/rollout", STATE)
    code, out, _ = run(capsys, "rollout", "show")
    assert code == 0
    assert [word for word in ("r1-a", "r2-b", "waits", "ab on 50%", "version 4") if word not in out] == []
    assert json.loads(run(capsys, "rollout", "show", "--json")[1]) == STATE


def test_a_change_names_the_version_that_was_read_or_is_expected(
    service: Service,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service.reply("/v1/rollout", STATE)
    for arguments in (
        ["begin", "r3", "--mode", "canary", "--weight", "0.1", "--reason", "new"],
        ["adjust", "--weight", "0.2"],
        ["stop", "--expect", "2"],
        ["retire"],
    ):
        assert run(capsys, "rollout", *arguments)[0] == 0
    changes = [body for method, _, body in sent(service) if method == "POST"]
    assert changes == [
        {"action": "begin", "challenger": "r3", "mode": "canary", "weight": 0.1, "reason": "new", "version": 4},
        {"action": "adjust", "mode": None, "weight": 0.2, "reason": "", "version": 4},
        {"action": "stop", "reason": "", "version": 2},
        {"action": "retire", "reason": "", "version": 4},
    ]
    assert len(service.requests) == 7  # with a version that is expected, nothing is read before


def test_promote_and_rollback(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/releases/r2-b:promote", STATE)
    service.reply("/v1/rollback", STATE)
    run(capsys, "rollout", "promote", "r2-b", "--reason", "better", "--expect", "4")
    run(capsys, "rollout", "rollback")
    assert sent(service) == [
        ("POST", "/v1/releases/r2-b:promote", {"version": 4, "reason": "better"}),
        ("POST", "/v1/rollback", {"version": None, "reason": ""}),
    ]


def test_who_loses_is_told_what_to_do(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"type": "urn:kaizen:conflict", "title": "conflict", "detail": "It changed.", "advice": "Read it again."}
    service.reply("/v1/rollback", problem, 409)
    code, _, error = run(capsys, "rollout", "rollback", "--json")
    assert (code, json.loads(error)["error"]["code"]) == (1, "conflict")
    assert "Read it again." in error


def test_the_history_is_a_table(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    decision = {"seq": 3, "at": 0.0, "kind": "promote", "release": "r2-b", "by": "steward", "reason": "\x1b[2Jbetter"}
    service.reply("/v1/rollout/history", {"decisions": [decision]})
    code, out, _ = run(capsys, "rollout", "history", "--limit", "5")
    assert (code, "\x1b" in out) == (0, False)
    assert [word for word in ("promote", "r2-b", "steward", "better") if word not in out] == []
    assert sent(service) == [("GET", "/v1/rollout/history?limit=5", None)]
