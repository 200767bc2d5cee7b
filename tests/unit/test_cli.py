"""The command line over HTTP and on the ledger: requests sent, output shown, errors and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kaizen.base_url import base_url
from kaizen.cli import main
from kaizen.commands.client import Client, Endpoint, document_path, find_endpoint, problem
from kaizen.commands.output import printable
from kaizen.commands.sse import Event, events
from kaizen.config import Settings, Workspace
from kaizen.errors import ConfigError, PermanentError, TransientError, Unavailable

ENVELOPE = {
    "release": "r1-00000000",
    "index_seq": 7,
    "coverage": 0.5,
    "degraded": ["generator-slow"],
    "impression_id": "imp_1",
    "timings_ms": {"total": 12.0},
}
HOSTILE = "\x1b]52;c;AAAA\x07[bold red]title[/] \u202e"
HIT = {"position": 1, "chunk_id": "d#0", "document_id": "d", "title": HOSTILE, "text": "a\x1b[2Jb", "score": 0.5}
CITATION = {"number": 1, "chunk_id": "d#0", "document_id": "d", "title": "T", "text": "the source"}
ANSWER = {**ENVELOPE, "answer": "Yes [1].", "citations": [CITATION], "grounded": True, "support": 1, "abstained": False}


@dataclass
class Service:
    """A real HTTP server that gives prepared replies and keeps what it was sent."""

    url: str = ""
    replies: dict[str, tuple[int, dict[str, str], str]] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None, Any]] = field(default_factory=list)

    def reply(
        self, path: str, content: object, status: int = 200, kind: str = "application/json", location: str = ""
    ) -> None:
        headers = {"Content-Type": kind} | ({"Location": location} if location else {})
        self.replies[path] = (status, headers, content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    kept = Service()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent = json.loads(body) if body else None
            kept.requests.append((self.command, self.path, self.headers.get("Authorization"), sent))
            status, headers, content = kept.replies[self.path.partition("?")[0]]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAIZEN_URL", kept.url)
    monkeypatch.setenv("KAIZEN_API_KEY", "kz_test")
    yield kept
    server.shutdown()
    server.server_close()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command; return exit code, output, error output."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


# ---------------------------------------------------------------------------------------------- text for terminals


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31mred", "\\x9b31mred"),
        ("over\rwritten", "over\\rwritten"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("क्\u200dष 👩\u200d👧 Straße", "क्\u200dष 👩\u200d👧 Straße"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_documents_cannot_speak_to_the_terminal(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/search", {**ENVELOPE, "hits": [HIT]})
    for arguments in (["search", "q"], ["search", "q", "--json"]):
        code, out, _ = run(capsys, *arguments)
        assert (code, "\x1b" in out, "\x07" in out, "\u202e" in out) == (0, False, False, False)
        assert "[bold red]title[/]" in out


# ---------------------------------------------------------------------------------------------- search, ask, feedback


def test_search_sends_only_what_was_given(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/search", {**ENVELOPE, "hits": []})
    run(capsys, "search", "a query")
    run(capsys, "search", "q", "-k", "3", "--mode", "dense", "--explain", "--filter", '{"field": "a", "equals": 1}')
    sent = {"query": "q", "k": 3, "mode": "dense", "explain": True, "filter": {"field": "a", "equals": 1}}
    assert [request[3] for request in service.requests] == [{"query": "a query"}, sent]
    assert service.requests[0][:3] == ("POST", "/v1/search", "Bearer kz_test")


def test_partial_and_degraded_results_are_flagged(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/search", {**ENVELOPE, "hits": [HIT]})
    _, out, _ = run(capsys, "search", "q")
    assert "Partial: 50% of the shards" in out
    assert "Degraded: generator-slow" in out
    assert "release r1-00000000, seq 7, 12 ms, impression imp_1" in out


def test_an_answer_is_shown_with_its_citations(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/answer", ANSWER)
    code, out, _ = run(capsys, "ask", "really?")
    assert (code, out.splitlines()[:3]) == (0, ["Yes [1].", "[1] T", "    d#0: the source"])
    assert service.requests[0][3] == {"question": "really?", "stream": False}
    assert json.loads(run(capsys, "ask", "really?", "--json")[1]) == ANSWER


def stream_of(*parts: tuple[str, object]) -> str:
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in parts)


def test_a_streamed_answer_is_shown_as_it_comes(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = stream_of(("delta", {"text": "Yes "}), ("delta", {"text": "[1]."}), ("final", ANSWER))
    service.reply("/v1/answer", pieces, kind="text/event-stream")
    code, out, _ = run(capsys, "ask", "really?", "--stream")
    assert (code, out.splitlines()[:2]) == (0, ["Yes [1].", "[1] T"])


def test_a_stream_that_failed_its_checks_is_replaced(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/answer", stream_of(("delta", {"text": "Lies"}), ("final", ANSWER)), kind="text/event-stream")
    _, out, _ = run(capsys, "ask", "really?", "--stream")
    assert out.splitlines()[:3] == ["Lies", "The answer after checking it against its sources:", "Yes [1]."]


def test_a_stream_that_breaks_off_may_be_tried_again(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.reply("/v1/answer", stream_of(("delta", {"text": "Ye"})), kind="text/event-stream")
    code, _, error = run(capsys, "ask", "really?", "--stream")
    assert (code, "broke off" in error) == (75, True)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (["--click", "d#1"], {"kind": "click", "chunk_id": "d#1"}),
        (["--thumb", "down"], {"kind": "thumb", "value": -1}),
        (["--rating", "5", "--chunk", "d#1"], {"kind": "rating", "value": 5, "chunk_id": "d#1"}),
        (["--correction", "No."], {"kind": "correction", "text": "No."}),
    ],
)
def test_feedback_sent_twice_is_one_judgement(
    service: Service, capsys: pytest.CaptureFixture[str], options: list[str], sent: dict[str, object]
) -> None:
    service.reply("/v1/feedback", {"feedback_id": "fb_1", "created": True})
    for _ in range(2):
        assert run(capsys, "feedback", "imp_1", *options)[0] == 0
    first, second = (request[3] for request in service.requests)
    assert first == second
    assert {name: value for name, value in first.items() if name != "idempotency_key"} == {
        "impression_id": "imp_1",
        **sent,
    }


@pytest.mark.parametrize("options", [[], ["--thumb", "up", "--rating", "3"]])
def test_feedback_takes_exactly_one_judgement(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    code, _, error = run(capsys, "feedback", "imp_1", *options)
    assert (code, "exactly one of" in error) == (1, True)


# ---------------------------------------------------------------------------------------------- documents


def test_documents_go_in_and_out(service: Service, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Grüße", encoding="utf-8")
    path = "/v1/documents/a%2Fb%3Fc"
    service.reply(path, {"seq": 3, "searchable": True})
    arguments = [
        "a/b?c",
        str(tmp_path / "text"),
        "--title",
        "T",
        "--metadata",
        '{"year": 2026}',
        "--group",
        "g",
        "--wait",
    ]
    assert run(capsys, "documents", "put", *arguments)[:2] == (0, "Durable at seq 3.\n")
    body = {"title": "T", "text": "Grüße", "metadata": {"year": 2026}, "groups": ["g"]}
    assert service.requests == [("PUT", f"{path}?wait_for=searchable", "Bearer kz_test", body)]
    assert json.loads(run(capsys, "documents", "delete", "a/b?c", "--json")[1]) == {"seq": 3, "searchable": True}
    service.reply(path, {"seq": 4, "searchable": False})
    told = run(capsys, "documents", "delete", "a/b?c", "--wait")[1]
    assert ("may show it still" in told, "quarantine list" in told) == (True, True)
    assert "do not see it yet" in run(capsys, "documents", "put", *arguments)[1]


def test_a_file_that_is_not_text_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\xff\x00")
    code, _, error = run(capsys, "documents", "put", "d", str(tmp_path / "text"))
    assert (code, "cannot be read as UTF-8" in error) == (1, True)


def test_paths_of_documents_are_quoted() -> None:
    assert document_path("../x y#1") == "/v1/documents/..%2Fx%20y%231"


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": NaN}'])
def test_options_that_are_no_json_objects_are_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, _, error = run(capsys, "search", "q", "--filter", text)
    assert (code, "--filter" in error) == (1, True)


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(("status", "code"), [(400, 1), (401, 1), (404, 1), (429, 75), (500, 1), (503, 75), (504, 75)])
def test_problems_become_errors_with_advice(
    service: Service, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    content = {"type": "urn:kaizen:some-code", "title": "some code", "detail": "What happened.", "advice": "Do this."}
    service.reply("/v1/search", content, status, "application/problem+json")
    assert run(capsys, "search", "q") == (code, "", "error: some code: What happened.\nDo this.\n")
    error = {"code": "some-code", "message": "some code: What happened.", "advice": "Do this."}
    assert json.loads(run(capsys, "search", "q", "--json")[2]) == {"error": error}


def test_a_bad_answer_without_json_is_an_error_too() -> None:
    error = problem(502, "<html>")
    assert (type(error), error.message) == (TransientError, "HTTP 502")
    assert type(problem(404, "[]")) is PermanentError
    assert type(problem(500, "The actor died.")) is TransientError  # the proxy's words: the service's are problem+json


def test_nobody_listening_may_be_tried_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIZEN_URL", "http://127.0.0.1:1")
    code, _, error = run(capsys, "search", "q")
    assert (code, "cannot be reached" in error) == (75, True)


@pytest.mark.parametrize("command", [["search", "q"], ["ask", "q", "--stream"], ["status"]])
@pytest.mark.parametrize(
    ("status", "location", "content"),
    [
        (301, "https://elsewhere/", "<html>moved"),
        (308, "https://elsewhere/", ""),
        (200, "", "<html>Log in"),
        (200, "", ""),
    ],
)
def test_what_is_not_kaizen_is_said_to_be_something_else(
    service: Service, capsys: pytest.CaptureFixture[str], command: list[str], status: int, location: str, content: str
) -> None:
    for path in ("/v1/search", "/v1/answer", "/readyz", "/v1/status"):
        service.reply(path, content, status, "text/html", location=location)
    code, out, error = run(capsys, *command)
    said = f"{service.url} {'sends on to https://elsewhere/' if location else 'answers with something else'}"
    assert (code, said in out + error) == (75 if command == ["status"] else 1, True)


@pytest.mark.parametrize("key", ["kz_\u2019", "kz_a\nb"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="KAIZEN_API_KEY") as refused:
        find_endpoint(Settings(), {"KAIZEN_URL": "http://h:1", "KAIZEN_API_KEY": key})
    assert key not in str(refused.value)
    assert find_endpoint(Settings(), {"KAIZEN_URL": "http://h:1", "KAIZEN_API_KEY": "kz_a\n"}).key == "kz_a"


def test_an_ipv6_host_is_asked_like_any_other() -> None:
    assert base_url("::1", 8420) == "http://[::1]:8420"
    assert base_url("127.0.0.1", 8420) == "http://127.0.0.1:8420"
    with Client(Endpoint(base_url("::1", 1), "")) as client, pytest.raises(Unavailable, match="cannot be reached"):
        client.get("/v1/status")


def test_the_local_key_is_not_sent_to_another_service(tmp_path: Path) -> None:
    settings = Settings(workspace=Workspace(directory=tmp_path))
    (tmp_path / "local.key").write_text("kz_local")
    assert find_endpoint(settings, {"KAIZEN_URL": "http://elsewhere:1/"}).key == ""
    with pytest.raises(Unavailable):
        find_endpoint(settings, {})
    for url in ("elsewhere:1", "http://h:abc", "http://::1:8420", "http://", "ftp://h", "http://[::1"):
        with pytest.raises(ConfigError, match="KAIZEN_URL"):
            find_endpoint(settings, {"KAIZEN_URL": url})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["data: a", "", "event: final", "data:b", "data: c", ""], [Event("message", "a"), Event("final", "b\nc")]),
        ([": ping", "", "event: x", "", "data: a", ""], [Event("message", "a")]),
        (["data: broken off"], []),
    ],
)
def test_event_streams_are_read(lines: list[str], expected: list[Event]) -> None:
    assert list(events(lines)) == expected


# ---------------------------------------------------------------------------------------------- on the ledger


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".kaizen"


def test_a_key_is_made_listed_and_revoked(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys, "keys", "create", "ci", "--scope", "write", "--group", "staff", "--tenant", "acme", "--json"
    )
    made = json.loads(out)
    secret = made.pop("secret")
    assert (code, made["scopes"], made["groups"], made["tenant"]) == (0, ["write"], ["staff"], "acme")
    listed = run(capsys, "keys", "list", "--json")[1]
    assert json.loads(listed) == {"keys": [made]}
    assert secret not in listed
    assert run(capsys, "keys", "revoke", made["id"])[0] == 0
    assert json.loads(run(capsys, "keys", "list", "--json")[1])["keys"][0]["revoked"] > 0
    assert run(capsys, "keys", "revoke", "none")[0] == 1


def test_a_key_searches_and_gives_feedback_unless_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, error = run(capsys, "keys", "create", "laptop")
    assert (out.startswith("kz_"), "shown once" in error) == (True, True)
    assert json.loads(run(capsys, "keys", "list", "--json")[1])["keys"][0]["scopes"] == ["search", "feedback"]


def test_an_unknown_scope_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "keys", "create", "x", "--scope", "write", "--scope", "root")
    assert (code, "no scope 'root'" in error) == (1, True)


@pytest.mark.parametrize("command", [["keys", "list"], ["releases"], ["quarantine", "list"]])
def test_reading_makes_no_workspace(workspace: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run(capsys, *command)[0] == 1
    assert not workspace.exists()


def test_an_empty_ledger_has_no_releases_and_nothing_in_quarantine(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "keys", "create", "x")
    assert json.loads(run(capsys, "releases", "--json")[1]) == {"stable": None, "releases": []}
    assert json.loads(run(capsys, "quarantine", "list", "--json")[1]) == {"total": 0, "quarantined": []}


@pytest.mark.parametrize("command", [["status"], ["up"], ["down"], ["keys", "create", "x"]])
def test_a_path_that_cannot_be_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KAIZEN_WORKSPACE_DIRECTORY", str(tmp_path / "file" / "x"))
    code, _, error = run(capsys, *command)
    assert (code, error.startswith(f"error: {tmp_path}/file/x"), "Not a directory" in error) == (1, True, True)
    told = json.loads(run(capsys, *command, "--json")[2])["error"]
    assert (told["code"], bool(told["advice"])) == ("permanent", True)


# ---------------------------------------------------------------------------------------------- jobs


def test_a_job_gets_its_arguments_and_gives_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").touch()
    (tmp_path / "jobs" / "ingest.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(7)\n")
    command = [sys.executable, "-m", "kaizen.cli", "ingest", "a b", "--group", "g", "--prune", "--help"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (7, "['a b', '--group', 'g', '--prune', '--help']\n")
