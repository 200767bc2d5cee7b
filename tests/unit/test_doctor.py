"""The doctor: each check finds what is wrong and says what to mend."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import psutil
import pytest

from kaizen.cli import main
from kaizen.config import Cluster, EmbedderSettings, GeneratorSettings, Objects, Server, Settings, Workspace
from kaizen.doctor import (
    CHECKS,
    Check,
    Finding,
    clock,
    compare_pins,
    disk,
    durability,
    embedder_model,
    environment,
    examine,
    generator_model,
    haproxy,
    ledger,
    object_store,
    ports,
    shared_memory,
    workspace,
)
from kaizen.errors import Unavailable
from kaizen.run_state import RunState, write_run_state


def in_workspace(directory: Path, **sections: object) -> Settings:
    return Settings(workspace=Workspace(directory=directory), **sections)


def test_a_workspace_that_does_not_exist_yet_is_fine(tmp_path: Path) -> None:
    settings = in_workspace(tmp_path / "a" / "b")
    checks: tuple[Check, ...] = (disk, clock, durability, ledger, object_store, workspace)
    assert {finding.level for finding in examine(settings, checks).values()} == {"ok"}
    assert not (tmp_path / "a").exists()


def test_an_existing_ledger_and_object_store_are_tried(tmp_path: Path) -> None:
    from kaizen.storage.ledger import Ledger

    settings = in_workspace(tmp_path, objects=Objects(uri=str(tmp_path / "objects")))
    (tmp_path / "objects").mkdir()
    Ledger.open(settings.ledger, settings.ledger_url).close()
    assert ledger(settings) == Finding("ok", "stable release: none yet")
    assert object_store(settings) == Finding("ok", str(tmp_path / "objects"))
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    assert examine(settings, [ledger])["ledger"].level == "fail"


def test_a_taken_port_is_named_unless_it_is_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = in_workspace(tmp_path, server=Server(port=port), cluster=Cluster(dashboard_port=0))
        assert ports(settings).found == f"taken: server.port {port}"
        me = psutil.Process()
        write_run_state(
            tmp_path,
            RunState(
                pid=me.pid,
                created=me.create_time(),
                ray_address="",
                namespace="",
                url="",
                dashboard_url="",
                jobs_address="",
            ),
        )
        assert ports(settings).level == "ok"


def test_on_another_ray_no_dashboard_is_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own, other = Cluster(dashboard_port=port), Cluster(address="10.0.0.1:6379", dashboard_port=port)
        assert ports(in_workspace(tmp_path, server=Server(port=0), cluster=own)).level == "fail"
        assert ports(in_workspace(tmp_path, server=Server(port=0), cluster=other)).level == "ok"
    elsewhere = Server(host="head.invalid", port=8000)
    assert ports(in_workspace(tmp_path, server=elsewhere, cluster=other)).level == "ok"


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "nobody.invalid"])
def test_a_host_that_is_not_of_this_machine_is_named(tmp_path: Path, host: str) -> None:
    finding = examine(in_workspace(tmp_path, server=Server(host=host)), [ports])["ports"]
    assert (finding.level, host in finding.found) == ("fail", True)
    other = in_workspace(tmp_path, server=Server(host="192.0.2.1", port=0), cluster=Cluster(address="192.0.2.1:6379"))
    assert ports(other).level == "ok"


def test_a_missing_model_is_named() -> None:
    finding = examine(Settings(embedder=EmbedderSettings(model="/nowhere/model")), [embedder_model])["embedder model"]
    assert (finding.level, "/nowhere/model" in finding.found) == ("fail", True)


@pytest.mark.parametrize(
    ("generator", "level"),
    [
        (GeneratorSettings(kind="extractive"), "ok"),
        (GeneratorSettings(kind="openai"), "fail"),
        (GeneratorSettings(kind="openai", endpoint_url="http://h/v1"), "ok"),
        (GeneratorSettings(kind="openai", endpoint_url="http://h/v1", api_key_env="NO_SUCH_KEY"), "fail"),
    ],
)
def test_a_generator_needs_its_endpoint_and_key(generator: GeneratorSettings, level: str) -> None:
    assert generator_model(Settings(generator=generator)).level == level


def test_a_readable_key_is_a_failure(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "local.key"
    key.write_text("kz_x")
    key.chmod(0o600)
    assert workspace(in_workspace(tmp_path)).level == "ok"
    key.chmod(0o640)
    assert workspace(in_workspace(tmp_path)).level == "fail"


def test_a_workspace_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert workspace(in_workspace(tmp_path)).level == "warn"


def test_haproxy_is_looked_for_only_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert haproxy(Settings()).level == "ok"
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")
    assert haproxy(Settings()).level == "fail"
    assert haproxy(Settings(server=Server(ingress="proxy"))).level == "ok"


def test_too_small_a_shared_memory_is_a_warning() -> None:
    assert shared_memory(Settings(cluster=Cluster(object_store_bytes=2**60))).level == "warn"


def test_stray_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "RAY_ADDRESS" in environment(Settings()).found


def test_pins_are_compared_with_what_is_installed() -> None:
    assert compare_pins(["pytest", "no-such-package"], {"pytest": "0.0"}) == (
        ["no-such-package"],
        [f"pytest {pytest.__version__} (tested: 0.0)"],
    )


def test_an_error_of_ours_is_a_failed_check() -> None:
    def broken(_: Settings) -> Finding:
        raise Unavailable("It is away.", advice="Wait.")

    assert examine(Settings(), [broken]) == {"broken": Finding("fail", "It is away.", "Wait.")}


def test_every_check_says_what_to_mend(tmp_path: Path) -> None:
    findings = examine(in_workspace(tmp_path))
    assert len(findings) == len(CHECKS)
    assert [name for name, finding in findings.items() if finding.level != "ok" and not finding.mend] == []


def test_the_command_reports_a_bad_configuration_as_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kaizen.toml"
    path.write_text("[servr]")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", "--config", str(path)])
    report = json.loads(capsys.readouterr().out)
    assert (ended.value.code, report["ok"], list(report["checks"])) == (1, False, ["configuration"])
