"""Errors of ours as HTTP responses."""

from __future__ import annotations

import json

import pytest

from kaizen.errors import KaizenError, NotFound, StorageFull, Unavailable, WriterStopped
from serve_apps.problems import problem_of


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (StorageFull("The disk is full.", advice="Free space."), 507, "3"),
        (Unavailable("It does not answer.", advice="Try again."), 503, "3"),
        (WriterStopped("A sync failed.", advice="Check the disk."), 503, "3"),
        (NotFound("It is not there.", advice="Check the id."), 404, None),
    ],
)
def test_an_error_says_what_to_do_and_when_to_try_again(
    error: KaizenError, status: int, retry_after: str | None
) -> None:
    response = problem_of(error, 3)
    body = json.loads(bytes(response.body))
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.headers.get("retry-after") == retry_after
    assert (body["status"], body["detail"], body["advice"]) == (status, error.message, error.advice)
