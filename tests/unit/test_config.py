"""Configuration: precedence, provenance, strictness, advice, masking."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaizen.commands.configuration import effective, reference_markdown
from kaizen.config import Server, Settings
from kaizen.config_sources import (
    Origin,
    check_environment,
    fields,
    load_settings,
    mask_secrets,
    variable_of,
)
from kaizen.errors import ConfigError, UnknownField


def write(folder: Path, text: str) -> Path:
    path = folder / "kaizen.toml"
    path.write_text(text)
    return path


def test_defaults_when_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(environ={})
    assert loaded.path is None
    assert set(loaded.origins.values()) == {Origin(kind="default")}
    assert loaded.settings.workspace.directory == tmp_path / ".kaizen"
    assert loaded.settings.server == Settings().server


def test_later_sources_win_and_each_value_knows_its_origin(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nport = 1\nreplicas = 3\n\n[fleet]\nshards = 4\n")
    loaded = load_settings(path, {"KAIZEN_SERVER_PORT": "2", "KAIZEN_FLEET_SHARDS": "5"}, {"server.port": 3})
    assert (loaded.settings.server.port, loaded.settings.server.replicas, loaded.settings.fleet.shards) == (3, 3, 5)
    assert loaded.origins["server.port"] == Origin(kind="override")
    assert loaded.origins["server.replicas"] == Origin(kind="file", where=f"{path}:3")
    assert loaded.origins["fleet.shards"] == Origin(kind="environment", where="KAIZEN_FLEET_SHARDS")


def test_the_file_is_named_by_argument_then_variable_then_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for name in ("argument", "variable", "here"):
        (tmp_path / name).mkdir()
        files[name] = write(tmp_path / name, "")
    monkeypatch.chdir(tmp_path / "here")
    named = {"KAIZEN_CONFIG": str(files["variable"])}
    assert load_settings(files["argument"], named).path == files["argument"]
    assert load_settings(environ=named).path == files["variable"]
    assert load_settings(environ={}).path == files["here"]


@pytest.mark.parametrize("form", ["server.port = 9\n", "server = {port = 9}\n", "[server]\nport = 9\n"])
def test_every_form_of_table_is_read(tmp_path: Path, form: str) -> None:
    loaded = load_settings(write(tmp_path, form), {})
    assert loaded.settings.server.port == 9
    assert loaded.origins["server.port"].where.startswith(str(tmp_path / "kaizen.toml") + ":")


@pytest.mark.parametrize(
    ("text", "message", "advice"),
    [
        ("[servr]\nport = 1", ":1: there is no section [servr].", "Did you mean [server]?"),
        ("[server]\nprot = 1", ":2: there is no key server.prot.", "Did you mean server.port?"),
        ("[fleet]\nmax_k = 1", ":2: there is no key fleet.max_k.", "Did you mean server.max_k?"),
        ("server = 1", ":1: server must be a table.", "Write it as [server]."),
    ],
)
def test_unknown_names_in_the_file_are_refused(tmp_path: Path, text: str, message: str, advice: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises((ConfigError, UnknownField)) as caught:
        load_settings(path, {})
    assert caught.value.message == f"{path}{message}"
    assert caught.value.advice == advice


def test_unknown_variables_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownField, match=r"KAIZEN_SERVR_PORT.*Did you mean KAIZEN_SERVER_PORT"):
        load_settings(environ={"KAIZEN_SERVR_PORT": "1"})


def test_variables_that_are_no_settings_are_let_through(tmp_path: Path) -> None:
    path = write(tmp_path, '[generator]\napi_key_env = "KAIZEN_OPENAI_KEY"')
    environ = {"KAIZEN_API_KEY": "x", "KAIZEN_URL": "http://h", "KAIZEN_OPENAI_KEY": "sk"}
    assert load_settings(path, environ).settings.generator.api_key_env == "KAIZEN_OPENAI_KEY"


@pytest.mark.parametrize(
    ("text", "where", "advice"),
    [
        ('[server]\nport = "8420"', ":2", "It takes a whole number >= 0 and <= 65535."),
        ("[server]\nport = true", ":2", "It takes a whole number >= 0 and <= 65535."),
        ("[server]\nport = 65536", ":2", "It takes a whole number >= 0 and <= 65535."),
        ("[server]\nrequire_keys = 1", ":2", "It takes true or false."),
        ("[fleet]\nhang_seconds = nan", ":2", "It takes a number of seconds > 0."),
        ("[fleet]\n\nhang_seconds = inf", ":3", "It takes a number of seconds > 0."),
        ("[retrieval]\nbm25_b = 1.5", ":2", "It takes a number >= 0 and <= 1."),
        ('[server]\ningress = "nginx"', ":2", "It takes one of haproxy, proxy."),
        ("[cluster]\ncpus = 0", ":2", "It takes a whole number of cpus >= 1."),
    ],
)
def test_wrong_types_and_ranges_say_where_and_what(tmp_path: Path, text: str, where: str, advice: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert caught.value.message.startswith(f"{path}{where}: ")
    assert caught.value.advice == advice


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^KAIZEN_SERVER_PORT: server.port = 'many' is not valid"):
        load_settings(environ={"KAIZEN_SERVER_PORT": "many"})


def test_rules_over_several_fields_name_all_of_them(tmp_path: Path) -> None:
    path = write(tmp_path, "[chunking]\nmax_tokens = 32\noverlap_tokens = 20")
    with pytest.raises(ConfigError, match=rf"{path}:2, {path}:3: \[chunking\]: overlap_tokens may be at most half"):
        load_settings(path, {})


@pytest.mark.parametrize("content", [b"[server", b"\xff\xfe", b"[server]\nport=1\n[server]\nport=2"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kaizen.toml").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load_settings(tmp_path / "kaizen.toml", {})


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no configuration file"):
        load_settings(tmp_path / "none.toml", {})


def test_relative_paths_are_anchored_where_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    path = write(
        tmp_path / "etc",
        '[workspace]\ndirectory = "state"\n[objects]\nuri = "../blobs"\n'
        '[ledger]\nurl = "sqlite:///l.sqlite"\n[embedder]\nmodel = "m"\n',
    )
    settings = load_settings(path, {}).settings
    assert settings.workspace.directory == tmp_path / "etc/state"
    assert settings.objects.uri == str(tmp_path / "blobs")
    assert settings.ledger.url == f"sqlite:///{tmp_path}/etc/l.sqlite"
    assert settings.embedder.model == str(tmp_path / "etc/m")
    assert settings.generator.model == Settings().generator.model
    moved = load_settings(path, {"KAIZEN_WORKSPACE_DIRECTORY": "here", "KAIZEN_OBJECTS_URI": "s3://b/p"}).settings
    assert moved.workspace.directory == tmp_path / "cwd/here"
    assert moved.objects.uri == "s3://b/p"


def test_every_variable_names_one_field_and_takes_its_own_default() -> None:
    variables = {variable_of(name): name for name in fields()}
    assert len(variables) == len(fields())
    defaults = {name: info.default for name, info in fields().items() if info.default is not None}
    environ = {variable_of(name): str(value) for name, value in defaults.items()}
    assert load_settings(environ=environ).settings == load_settings(environ={}).settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://u:p%40ss@h:5432/d", "postgresql+psycopg://u:***@h:5432/d"),
        ("postgresql://h/d?user=u&password=x&a=1", "postgresql://h/d?user=u&password=***&a=1"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("http://127.0.0.1:8420/v1", "http://127.0.0.1:8420/v1"),
    ],
)
def test_secrets_are_masked(text: str, expected: str) -> None:
    assert mask_secrets(text) == expected


def test_a_bad_value_does_not_leak_a_password() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={"KAIZEN_SERVER_PORT": "http://u:hunter2@h"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE", "RAY_DATA_WEBDATASET_ALLOW_UNSAFE_DESERIALIZATION"]
)
def test_variables_that_let_data_run_code_stop_the_start(name: str) -> None:
    check_environment({"RAY_DATA_OTHER": "1"})
    with pytest.raises(ConfigError, match=name):
        check_environment({name: "0"})


def test_the_reference_is_that_of_the_model() -> None:
    """Made again by `kaizen config --reference > docs/configuration.md`."""
    reference = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert reference.read_text() == reference_markdown()


def test_what_is_shown_has_origins_and_no_secrets(tmp_path: Path) -> None:
    path = write(tmp_path, '[ledger]\nurl = "postgresql+psycopg://u:hunter2@h/d"')
    shown = effective(load_settings(path, {"KAIZEN_SERVER_PORT": "1"}))
    assert shown["ledger.url"] == {"value": "postgresql+psycopg://u:***@h/d", "origin": f"{path}:2"}
    assert shown["server.port"] == {"value": 1, "origin": "KAIZEN_SERVER_PORT"}
    assert shown["fleet.shards"] == {"value": Settings().fleet.shards, "origin": "default"}
    assert list(shown) == list(fields())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 (refused, nothing is bound)
def test_keys_can_be_off_on_loopback_only(host: str) -> None:
    assert Server(require_keys=False, host="127.0.0.1").require_keys is False
    with pytest.raises(ValueError, match="loopback"):
        Server(require_keys=False, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a_b.c-d.example", "0.0.0.0", "::", "::1", "2001:db8::7"])  # noqa: S104 (nothing is bound)
def test_a_host_is_an_address_or_a_name(host: str) -> None:
    assert Server(host=host).host == host


@pytest.mark.parametrize(
    "host", ["", "*", "[::1]", "fe80::1%eth0", "127.0.0.1:8420", "http://here", "a b", "a\nbind b", "a..b", "a" * 64]
)
def test_what_is_no_host_is_refused_with_what_to_leave_out(host: str) -> None:
    with pytest.raises(ValueError, match="leave out brackets, a zone, and the port"):
        Server(host=host)
