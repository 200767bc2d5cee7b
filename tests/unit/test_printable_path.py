"""A path with a control character names nothing, least of all something else."""

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


@pytest.mark.parametrize("written", ["x", "a/b c", "naïve", "日本", "x%20y"])
def test_everything_printable_passes(written: str) -> None:
    assert CLIENT.put(f"/v1/documents/{written}").status_code == 200
