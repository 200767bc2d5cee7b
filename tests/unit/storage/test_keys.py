"""API keys: made, recognised, revoked, and the local key."""

from __future__ import annotations

import logging
import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kaizen.config import LedgerSettings
from kaizen.errors import ConfigError, InvalidInput, NotAuthenticated, NotFound
from kaizen.records import SCOPES, Principal
from kaizen.run_state import KEY_FILE
from kaizen.security.keys import Authenticator, Secret, local_key, new_key
from kaizen.storage.ledger import Ledger
from tests.unit.storage.examples import TENANT


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _add(ledger: Ledger) -> Secret:
    secret, record = new_key(tenant=TENANT, name="laptop", scopes=["search", "feedback"], groups=["staff"])
    ledger.keys.add(record)
    return secret


def test_a_key_becomes_its_principal(ledger: Ledger) -> None:
    secret = _add(ledger)
    who = Authenticator(ledger.keys).authenticate(f"Bearer {secret.reveal()}")
    expected = Principal(key_id=secret.key_id, tenant=TENANT, groups=("staff",), scopes=("search", "feedback"))
    assert who == expected
    assert Authenticator(ledger.keys).authenticate(f" bearer  {secret.reveal()} ") == expected


def test_the_form_of_a_secret_and_what_is_stored(ledger: Ledger) -> None:
    secret = _add(ledger)
    prefix, key_id, random = secret.reveal().split("_", 2)
    assert (prefix, key_id, len(random)) == ("kz", secret.key_id, 43)  # 32 bytes in base 64
    record = ledger.keys.find(key_id)
    assert record is not None
    assert random not in repr(record)
    assert record.secret_sha256 not in repr(record)
    assert ledger.keys.list(TENANT) == ledger.keys.list() == [record]
    assert ledger.keys.list("other") == []


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer kz_", "Bearer kz__x", "Basic {0}", "{0}"])
def test_a_header_without_a_key_is_refused(ledger: Ledger, header: str | None) -> None:
    secret = _add(ledger)
    with pytest.raises(NotAuthenticated):
        Authenticator(ledger.keys).authenticate(header and header.format(secret.reveal()))


def test_a_wrong_key_is_refused(ledger: Ledger) -> None:
    secret, other = _add(ledger), _add(ledger)
    random = other.reveal().split("_", 2)[2]
    authenticator = Authenticator(ledger.keys)
    for wrong in (f"kz_{secret.key_id}_{random}", secret.reveal()[:-1], secret.reveal() + "A", "kz_nobody_" + random):
        with pytest.raises(NotAuthenticated):
            authenticator.authenticate(f"Bearer {wrong}")
    for strange in ("é" * 20, "x" * 100_000, "kz_\0_\0"):
        with pytest.raises(NotAuthenticated):
            authenticator.authenticate(f"Bearer {strange}")


def test_a_revocation_takes_effect_within_the_time_to_live(ledger: Ledger) -> None:
    clock = _Clock()
    authenticator = Authenticator(ledger.keys, ttl_seconds=1.0, clock=clock)
    header = f"Bearer {_add(ledger).reveal()}"
    who = authenticator.authenticate(header)
    ledger.keys.revoke(who.key_id)
    first = ledger.keys.find(who.key_id)
    ledger.keys.revoke(who.key_id)
    assert first == ledger.keys.find(who.key_id)  # the first revocation's time stands
    clock.now = 0.99
    assert authenticator.remembered(header) == (who, True)
    with pytest.raises(NotAuthenticated):
        authenticator.authenticate(header)
    assert authenticator.remembered(header) is None  # whoever asks the ledger sooner tells all
    with pytest.raises(NotFound):
        ledger.keys.revoke("nobody")


def test_what_is_remembered_needs_no_ledger_and_never_outlives_its_time(ledger: Ledger) -> None:
    clock = _Clock()
    authenticator = Authenticator(ledger.keys, ttl_seconds=1.0, clock=clock)
    header = f"Bearer {_add(ledger).reveal()}"
    assert authenticator.remembered(header) is None
    who = authenticator.authenticate(header)
    ledger.close()
    for wrong in (header + "x", header[:-1] + "~", None):
        with pytest.raises(NotAuthenticated):
            authenticator.remembered(wrong)
    for now, aging in ((0.0, False), (0.49, False), (0.5, True), (0.99, True)):
        clock.now = now
        assert authenticator.remembered(header) == (who, aging)
    clock.now = 1.0
    assert authenticator.remembered(header) is None


@pytest.mark.parametrize(
    "wrong", [{"tenant": " "}, {"name": ""}, {"name": "a\nb"}, {"scopes": []}, {"scopes": ["root"]}]
)
def test_a_key_needs_a_tenant_a_name_and_known_scopes(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        new_key(**{"tenant": TENANT, "name": "n", "scopes": ["search"], **wrong})


def test_a_secret_does_not_show_itself() -> None:
    secret, record = new_key(tenant=TENANT, name="n", scopes=["admin"])
    random = secret.reveal().split("_", 2)[2]
    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}", repr(record)):
        assert random not in shown
    assert pickle.loads(pickle.dumps(secret)) == secret  # noqa: S301 - our own bytes


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_local_key_is_made_once_for_its_owner_alone(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "workspace"
    mask = os.umask(0)
    try:
        with caplog.at_level(logging.DEBUG), ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: local_key(directory, ledger.keys, tenant=TENANT), range(8)))
    finally:
        os.umask(mask)
    file = directory / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {secret.reveal() for secret in found} == {file.read_text().strip()}
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]
    who = Authenticator(ledger.keys).authenticate(f"Bearer {found[0].reveal()}")
    assert (who.tenant, who.groups, who.scopes) == (TENANT, (), SCOPES)
    assert found[0].reveal() not in caplog.text


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_local_key_that_the_ledger_missed_is_told_again_and_a_revoked_one_stays_revoked(
    ledger: Ledger, tmp_path: Path
) -> None:
    secret = local_key(tmp_path / "a", ledger.keys, tenant=TENANT)
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/other.sqlite") as empty:
        assert local_key(tmp_path / "a", empty.keys, tenant=TENANT) == secret
        assert Authenticator(empty.keys).authenticate(f"Bearer {secret.reveal()}").key_id == secret.key_id
    ledger.keys.revoke(secret.key_id)
    assert local_key(tmp_path / "a", ledger.keys, tenant=TENANT) == secret
    with pytest.raises(NotAuthenticated):
        Authenticator(ledger.keys).authenticate(f"Bearer {secret.reveal()}")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_local_key_that_others_can_read_or_that_is_none_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    local_key(tmp_path, ledger.keys, tenant=TENANT)
    file = tmp_path / KEY_FILE
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        local_key(tmp_path, ledger.keys, tenant=TENANT)
    file.chmod(0o600)
    file.write_text("not a key")
    with pytest.raises(ConfigError, match="does not hold a key"):
        local_key(tmp_path, ledger.keys, tenant=TENANT)
