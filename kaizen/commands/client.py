"""The HTTP client of the commands: finds the service, sends the key, turns problem+json into errors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from kaizen.commands.sse import Event, events
from kaizen.config import Settings
from kaizen.errors import ConfigError, DeadlineExceeded, KaizenError, PermanentError, TransientError, Unavailable
from kaizen.run_state import KEY_FILE, head_process, read_run_state

TIMEOUT_SECONDS = 60.0
EVENTS = "text/event-stream"
TRANSIENT_STATUSES = frozenset({408, 429, 502, 503, 504, 507})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service is, and the key to show there (empty: none)."""

    url: str
    key: str


def find_endpoint(settings: Settings, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return `$KAIZEN_URL` with `$KAIZEN_API_KEY`, or else the service of this workspace with its local key.

    The local key is never sent to a URL that the environment names: that may be somebody else's machine.
    """
    key = environ.get("KAIZEN_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("KAIZEN_API_KEY holds a character that no key has.", advice="Copy the key again.")
    if url := environ.get("KAIZEN_URL", ""):
        if not _is_http(url):
            raise ConfigError("KAIZEN_URL is not an http(s) URL.", advice="Set it as in http://host:8420")
        return Endpoint(url.rstrip("/"), key)
    directory = settings.workspace.directory
    state = read_run_state(directory)
    if state is None or head_process(state) is None:
        raise Unavailable(f"Nothing runs in {directory}.", advice="Start it with `kaizen up`, or set KAIZEN_URL.")
    local = directory / KEY_FILE
    return Endpoint(state.url, key or (local.read_text().strip() if local.exists() else ""))


def _is_http(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


class Client:
    """One connection to the service. Every method raises a KaizenError when the answer is not a good one."""

    def __init__(self, endpoint: Endpoint) -> None:
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        # A proxy named by the environment must not see what goes to this machine.
        local = httpx.URL(endpoint.url).host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::")  # noqa: S104 (a name for this machine, nothing is bound)
        self._url = endpoint.url
        self._http = httpx.Client(base_url=endpoint.url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=not local)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, method: str, path: str, body: object = None, params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 (JSON)
        """Send one request and return the JSON that comes back."""
        try:
            response = self._http.request(method, path, json=body, params=params)
        except httpx.HTTPError as error:
            raise self._failure(error) from error
        if response.is_error:
            raise problem(response.status_code, response.text)
        try:
            content = response.json() if response.is_success else None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise self._stranger(response)
        return content

    def get(self, path: str) -> Any:  # noqa: ANN401 (JSON)
        """GET a path."""
        return self.send("GET", path)

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 (JSON)
        """POST a JSON body."""
        return self.send("POST", path, body)

    def probe(self, path: str) -> tuple[int, Any]:
        """GET a path whose bad statuses are answers too (`/readyz`): return the status and its JSON, or None."""
        try:
            response = self._http.get(path)
        except httpx.HTTPError as error:
            raise self._failure(error) from error
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, None

    def stream(self, path: str, body: object) -> Iterator[Event]:
        """POST a JSON body and yield the server-sent events that come back."""
        try:
            with self._http.stream("POST", path, json=body) as response:
                if response.is_error:
                    response.read()
                    raise problem(response.status_code, response.text)
                if not response.headers.get("content-type", "").startswith(EVENTS):
                    raise self._stranger(response)
                yield from events(response.iter_lines())
        except httpx.HTTPError as error:
            raise self._failure(error) from error

    def _stranger(self, response: httpx.Response) -> KaizenError:
        """What answered is not Kaizen: a proxy that wants TLS or a login, or another program."""
        target = response.headers.get("location", "")
        said = f"sends on to {target}" if target else "answers with something else than Kaizen's JSON"
        return PermanentError(f"{self._url} {said}.", advice="Set KAIZEN_URL to where Kaizen itself answers.")

    def _failure(self, error: httpx.HTTPError) -> KaizenError:
        if isinstance(error, httpx.TimeoutException):
            return DeadlineExceeded(f"{self._url} did not answer within {TIMEOUT_SECONDS:.0f} s.", advice="Try again.")
        return Unavailable(
            f"{self._url} cannot be reached: {type(error).__name__}.", advice="See `kaizen status`, then `kaizen up`."
        )


def document_path(document_id: str) -> str:
    """Return the path of a document; its id may hold any character."""
    return f"/v1/documents/{quote(document_id, safe='')}"


def problem(status: int, text: str) -> KaizenError:
    """Return the error that an answer of this status means, in the words of its problem+json (RFC 9457).

    A 500 without such words is not the service's: the proxy in front of it gives one when the process that had the
    request has ended, and another process may answer.
    """
    try:
        content = json.loads(text)
    except ValueError:
        content = {}
    content = content if isinstance(content, dict) else {}
    title, detail = str(content.get("title") or f"HTTP {status}"), str(content.get("detail") or "")
    lost = status == 500 and not content
    kind = TransientError if lost or status in TRANSIENT_STATUSES else PermanentError
    advice = str(content.get("advice") or ("See `kaizen status` and the log of the service." if status >= 500 else ""))
    error = kind(f"{title.rstrip('.')}: {detail}" if detail else title, advice=advice)
    error.code = str(content.get("type", "")).removeprefix("urn:kaizen:") or error.code
    return error
