"""The schema: migrations and tables say the same, and a ledger that is not ours is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from kaizen.config import LedgerSettings
from kaizen.errors import ConfigError, Corrupt, Unavailable
from kaizen.storage.ledger import Ledger, schema
from kaizen.storage.ledger.schema import MIGRATIONS, REVISION
from kaizen.storage.ledger.tables import changes, documents, metadata

SETTINGS = LedgerSettings()


def test_the_migrations_lead_to_the_tables(ledger: Ledger) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    assert ledger.submit(differences).result() == []


def test_the_newest_migration_is_the_one_that_the_program_wants() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [REVISION]


def test_opening_again_keeps_everything(ledger: Ledger, url: str) -> None:
    release = ledger.releases.record({"embedder": {"fingerprint": "e1"}})
    ledger.close()
    with Ledger.open(SETTINGS, url) as again:
        assert again.releases.list() == [release]


def test_what_was_replaced_before_ledgers_knew_of_it_is_found(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"kind": "upsert", "document_id": "a"}, {"kind": "upsert", "document_id": "a"}, {"kind": "batch"}]
    common = {"at": 1.0, "tenant": "t", "payload_bytes": 2}
    with monkeypatch.context() as before:
        before.setattr(schema, "REVISION", "0002")
        with Ledger.open(SETTINGS, empty_url) as ledger:
            for number, row in enumerate(rows):
                uri = "batches/1" if row["kind"] == "batch" else None
                change = {**common, **row, "payload": None if uri else f"text {number}", "batch_uri": uri}
                insert = sa.insert(changes).values(change)
                ledger.submit(lambda connection, insert=insert: connection.execute(insert).close()).result()
            state = {"tenant": "t", "id": "a", "seq": 2, "content_sha256": "", "source": "", "batch_uri": ""}
            ledger.submit(lambda connection: connection.execute(sa.insert(documents).values(state)).close()).result()
    began = time.time()
    with Ledger.open(SETTINGS, empty_url) as ledger:
        assert (ledger.documents.old_texts(began), ledger.documents.old_texts(began + 60)) == (0, 1)
        (batch,) = ledger.documents.thinned_batches()
        assert (batch.seq, batch.uri, batch.at >= began) == (3, "batches/1", True)


def test_a_ledger_of_a_newer_program_is_refused_and_left_alone(ledger: Ledger, url: str) -> None:
    newer = sa.text("UPDATE alembic_version SET version_num = '9999'")
    ledger.submit(lambda connection: connection.execute(newer).close()).result()
    for _attempt in range(2):
        with pytest.raises(ConfigError, match="9999"):
            Ledger.open(SETTINGS, url)


@pytest.mark.parametrize("bad", ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://a/b", "postgresql://a/b"])
def test_a_url_that_cannot_hold_a_ledger_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError):
        Ledger.open(SETTINGS, bad)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"These are notes, not a database. " * 100)
    with pytest.raises(Corrupt):
        Ledger.open(SETTINGS, f"sqlite:///{tmp_path}/notes.txt")
    with pytest.raises(Unavailable):
        Ledger.open(SETTINGS, f"sqlite:///{tmp_path}/notes.txt/ledger.sqlite")
    with pytest.raises(Unavailable):
        Ledger.open(SETTINGS, f"postgresql+psycopg://kaizen@/x?host={tmp_path}")
