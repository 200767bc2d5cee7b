"""A path with a control character, or one that is no text, names nothing, least of all something else."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from serve_apps.printable_path import PrintablePath


async def name(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.path_params["name"])


CLIENT = TestClient(PrintablePath(Starlette(routes=[Route("/v1/documents/{name:path}", name, methods=["PUT"])])))


@pytest.mark.parametrize("written", ["x%0a", "x%0Ay", "%00", "x%7f", "%1b[2J"])
def test_control_characters_are_refused(written: str) -> None:
    response = CLIENT.put(f"/v1/documents/{written}")
    assert response.status_code == 422
    assert "control character" in response.json()["detail"]


@pytest.mark.parametrize("written", ["caf%e9", "caf%E8", "%ff", "a%c3/b", "%ed%a0%80"])
def test_what_is_not_utf8_is_refused_or_two_names_would_be_one(written: str) -> None:
    response = CLIENT.put(f"/v1/documents/{written}")
    assert response.status_code == 422
    assert "UTF-8" in response.json()["detail"]


@pytest.mark.parametrize("written", ["x", "a/b c", "naïve", "日本", "x%20y", "caf%C3%A9", "%EF%BF%BD", "100%25"])
def test_everything_printable_passes(written: str) -> None:
    assert CLIENT.put(f"/v1/documents/{written}").status_code == 200
