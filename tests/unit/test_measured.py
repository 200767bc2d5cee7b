"""Every response is counted, whoever makes it, under labels that a caller cannot make more of."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from starlette.testclient import TestClient

from serve_apps.body_limit import MOST_ELSEWHERE
from serve_apps.metrics import Metrics
from tests.unit.test_bodies import BATCH, JSON, KNOWN, served

LARGE = b" " * (MOST_ELSEWHERE + 1)
RELEASES, DOCUMENT = "/v1/releases", "/v1/documents/{document_id:path}"
REQUESTS: dict[str, tuple[str, str, dict[str, Any], str, int]] = {
    "well": ("GET", "/healthz", {}, "/healthz", 200),
    "a fault of ours": ("GET", RELEASES, {"headers": KNOWN}, RELEASES, 500),
    "nobody, by a route": ("GET", "/v1/documents/a", {}, DOCUMENT, 401),
    "nobody, before it": ("POST", BATCH, {"content": LARGE, "headers": JSON}, "unknown", 401),
    "too large": ("POST", "/v1/feedback", {"content": LARGE, "headers": KNOWN}, "unknown", 413),
    "no path": ("GET", "/v1/releases%0A", {}, "unknown", 422),
    "not there": ("GET", "/v1/one/of/very/many", {}, "unknown", 404),
    "a mistake": ("POST", "/v1/feedback", {"content": b"{}", "headers": KNOWN}, "/v1/feedback", 422),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_every_response_is_counted_once(what: str) -> None:
    metrics = Mock(spec=Metrics)
    api = TestClient(served(metrics, releases=AsyncMock(side_effect=ZeroDivisionError)), raise_server_exceptions=False)
    method, path, sent, route, status = REQUESTS[what]
    assert api.request(method, path, **sent).status_code == status
    assert Counter(call.args[:2] for call in metrics.response.call_args_list) == {(route, status): 1}


def test_the_server_hears_of_a_fault_of_ours() -> None:
    """It logs the traceback."""
    with pytest.raises(ZeroDivisionError):
        TestClient(served(Mock(), releases=AsyncMock(side_effect=ZeroDivisionError))).get(RELEASES, headers=KNOWN)
