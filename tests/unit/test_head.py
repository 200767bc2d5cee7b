"""How the head starts and ends, on stand-ins for Ray and Serve: what was begun is ended, however far it came."""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from unittest.mock import Mock

import pytest

from cluster.ending import SIGNALS
from kaizen.errors import DeadlineExceeded, InvalidInput, Unavailable
from kaizen.run_state import STEPS_FILE, read_run_state
from kaizen.storage.ledger import Ledger

with warnings.catch_warnings():  # Serve warns of itself when it is imported
    warnings.simplefilter("ignore")
    from cluster import head

CONTEXT = SimpleNamespace(dashboard_url="", address_info={"gcs_address": "there"})


class Parts:
    """What the head starts and ends, in the order of `done`. `states` is what the fleet says at each look."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "kaizen.toml"
        self.workspace = folder / "workspace"
        self.done: list[str] = []
        self.said = '{"withheld": ""}\n'  # by the job that makes the release
        self.states: Callable[[], dict[str, str]] = lambda: {"shard": "serving"}
        self.fleet = SimpleNamespace(states=SimpleNamespace(remote=lambda *_: self.states()))

    def does(self, what: str, result: object = None) -> Callable[..., object]:
        """A stand-in that only notes that it was called."""

        def do(*_: object, **__: object) -> object:
            self.done.append(what)
            return result

        return do

    def run(self, address: str) -> None:
        """The head's whole life."""
        self.config.write_text(f'[workspace]\ndirectory = "workspace"\n[cluster]\naddress = "{address}"\n')
        head.run(self.config, None)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    made = Parts(tmp_path)
    ray = Mock(init=made.does("connect", CONTEXT), shutdown=made.does("disconnect"), get=lambda said, timeout: said)
    release: AbstractContextManager[object] = nullcontext(Mock(communicate=lambda: (made.said, ""), returncode=0))
    for name, stand_in in {
        "ray": ray,
        "start_private_ray": made.does("private", CONTEXT),
        "keep_gcs": made.does("keep", made.does("let go")),
        "clear_leftovers": made.does("clear"),
        "take_away": made.does("take away"),
        "start_fleet": made.does("fleet", made.fleet),
        "_open_api": made.does("api", 1),
        "_release_built": lambda _: release,
        "look_less_often": made.does("slow down"),
        "keep_haproxy": made.does("keep HAProxy"),
        "keep_private": lambda: None,
        "use_token": lambda: None,
    }.items():
        monkeypatch.setattr(head, name, stand_in)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with mock.patch.dict(os.environ):  # a head has its process, and that environment, for itself
        yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def end() -> None:
    """SIGTERM, as `kaizen down` sends it."""
    signal.raise_signal(signal.SIGTERM)


def when_it_waits(parts: Parts, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None] = end) -> None:
    """Have `act` called when all is started."""

    def pause() -> None:
        parts.done.append("waiting")
        act()

    monkeypatch.setattr(signal, "pause", pause)


def test_on_another_cluster_it_takes_away_what_it_started(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look() -> None:
        seen.append(read_run_state(parts.workspace))
        end()

    when_it_waits(parts, monkeypatch, look)
    parts.run("there:6379")
    assert parts.done == ["connect", "clear", "fleet", "api", "waiting", "take away", "disconnect"]
    assert seen[0] is not None and read_run_state(parts.workspace) is None


def test_it_tells_that_the_configured_release_was_taken_back(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.said = '{"withheld": "r2 was taken back, and r1 serves."}\n'
    when_it_waits(parts, monkeypatch)
    parts.run("local")
    told = [json.loads(line) for line in (parts.workspace / STEPS_FILE).read_text().splitlines()]
    assert {"step": "r2 was taken back, and r1 serves.", "done": True, "note": True} in told


def test_why_the_release_could_not_be_made_is_told_in_words() -> None:
    error = json.dumps({"error": {"code": "not-found", "message": "There is nothing.", "advice": "Make some."}})
    building = Mock(returncode=1, communicate=lambda: ("", f"{error}\n"))
    with pytest.raises(Unavailable, match=r"could not be made\. There is nothing\. Make some\."):
        head._finish(building)


def test_a_ray_of_its_own_ends_with_it(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    when_it_waits(parts, monkeypatch)
    parts.run("local")
    assert parts.done == [
        "private",
        "keep",
        "fleet",
        "api",
        "slow down",
        "keep HAProxy",
        "waiting",
        "let go",
        "disconnect",
    ]


def test_ray_takes_the_signals_over_and_they_are_heard_all_the_same(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> object:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # would end this process, in no order
        return CONTEXT

    monkeypatch.setattr(head.ray, "init", init)
    when_it_waits(parts, monkeypatch)
    parts.run("there:6379")
    assert parts.done[-2:] == ["take away", "disconnect"]


def test_a_start_that_is_broken_off_leaves_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_open_api", lambda _: end())
    parts.run("there:6379")
    assert parts.done == ["connect", "clear", "fleet", "take away", "disconnect"]


def test_a_start_that_fails_leaves_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "START_SECONDS", 0.3)
    parts.states = lambda: {"shard": "starting"}
    parts.fleet.status = Mock(remote=lambda: {"trouble": "no memory"})
    with pytest.raises(DeadlineExceeded, match="no memory"):
        parts.run("there:6379")
    assert parts.done == ["connect", "clear", "fleet", "api", "take away", "disconnect"]


def test_what_cannot_be_taken_away_does_not_keep_it_connected(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "take_away", Mock(side_effect=DeadlineExceeded("It stays.", advice="")))
    when_it_waits(parts, monkeypatch)
    with pytest.raises(DeadlineExceeded):
        parts.run("there:6379")
    assert parts.done[-1] == "disconnect"


def test_while_it_waits_for_the_index_it_opens_the_ledger_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of five looks a second it was opened, and stayed open."""
    opened, closed, looks = Mock(wraps=Ledger.open), Mock(), iter(["starting"] * 3)
    close = Ledger.close
    monkeypatch.setattr(Ledger, "open", opened)
    monkeypatch.setattr(Ledger, "close", lambda ledger: (closed(), close(ledger)))
    monkeypatch.setattr(head, "PATIENCE_SECONDS", 0.0)
    parts.states = lambda: {"shard": next(looks, "serving")}
    when_it_waits(parts, monkeypatch)
    parts.run("local")
    assert (opened.call_count, closed.call_count) == (1, 1)


def test_a_host_that_nobody_can_listen_at_is_told_before_anything_starts(parts: Parts) -> None:
    parts.config.write_text('[server]\nhost = "192.0.2.1"\n')
    with pytest.raises(InvalidInput, match=r"192\.0\.2\.1.*an address or a name of this machine"):
        head.run(parts.config, None)
    assert parts.done == []
