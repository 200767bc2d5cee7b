"""Impressions: what was shown, to whom, by which release."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.records import Impression, ShownChunk
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.statements import insert_if_absent
from kaizen.storage.ledger.tables import impressions, written_json

log = logging.getLogger("kaizen.impressions")
_COLUMNS = ("id", "at", "tenant", "key_id", "release", "index_seq")
_BODY = tuple(field.name for field in fields(Impression) if field.name not in _COLUMNS)
_SHOWN = tuple(field.name for field in fields(ShownChunk))


class Impressions:
    """The impressions of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, impression: Impression) -> None:
        """Store an impression durably. The same id again changes nothing."""
        self._submit(impression, synced=True).result()

    def submit_record(self, impression: Impression) -> Future[None]:
        """As `record`, returning at once with a future, which resolves when the impression is committed.

        It is on the disk before any feedback on it is acknowledged, and within a tenth of a second (PostgreSQL: a
        second): a power cut can take only what was shown right before it, and never what was judged.
        """
        return self._submit(impression, synced=False)

    def submit_packed(self, records: Sequence[bytes]) -> Future[None]:
        """Store what `packed` made of impressions, durably, as `submit_record` would have. A record that is none, as a
        power cut may leave it, is left out."""
        rows = [row for row in map(_unpacked, records) if row is not None]
        return self._insert(rows, synced=True)

    def _submit(self, impression: Impression, *, synced: bool) -> Future[None]:
        return self._insert([_row(impression)], synced=synced)

    def _insert(self, rows: list[dict[str, Any]], *, synced: bool) -> Future[None]:
        def insert(connection: sa.Connection) -> None:
            if rows:
                insert_if_absent(connection, impressions, rows)

        return self._database.submit(insert, synced=synced)

    def get(self, tenant: str, impression_id: str) -> Impression:
        """Return an impression; NotFound when the tenant has none with this id."""
        with self._database.read() as connection:
            return read(connection, tenant, impression_id)

    def after(self, seq: int, limit: int = 1000) -> list[tuple[int, Impression]]:
        """Return the impressions of all tenants after `seq` (this table's own), in order, each with its `seq`."""
        query = sa.select(impressions).where(impressions.c.seq > seq).order_by(impressions.c.seq).limit(limit)
        with self._database.read() as connection:
            return [(row.seq, _impression(row)) for row in connection.execute(query)]

    def end(self) -> int:
        """Return the `seq` of the newest row; 0 when there is none."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(sa.func.max(impressions.c.seq))) or 0

    def count(self, tenant: str) -> int:
        """Return how many impressions a tenant has."""
        query = sa.select(sa.func.count()).select_from(impressions).where(impressions.c.tenant == tenant)
        with self._database.read() as connection:
            return connection.scalar(query) or 0


def read(connection: sa.Connection, tenant: str, impression_id: str) -> Impression:
    """Return an impression within the caller's transaction; NotFound when the tenant has none with this id."""
    row = connection.execute(
        sa.select(impressions).where(impressions.c.tenant == tenant, impressions.c.id == impression_id)
    ).one_or_none()
    if row is None:
        raise NotFound(
            "There is no impression with this id.", advice="Send the impression_id of a response that you received."
        )
    return _impression(row)


def packed(impression: Impression) -> bytes:
    """An impression as one line of text, without its line feed."""
    return written_json(_row(impression)).encode()


def _unpacked(record: bytes) -> dict[str, Any] | None:
    """The row of a packed impression; None when it is none."""
    try:
        row = json.loads(record)
        return _row(_from_row({name: row[name] for name in _COLUMNS}, row["body"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        log.exception("An impression of %d bytes cannot be read, and is lost.", len(record))
        return None


def _row(impression: Impression) -> dict[str, Any]:
    """Field by field: `asdict` copies deeply, which costs as much as ranking what was shown."""
    body = {name: getattr(impression, name) for name in _BODY}
    body["shown"] = [{name: getattr(chunk, name) for name in _SHOWN} for chunk in impression.shown]
    return {**{name: getattr(impression, name) for name in _COLUMNS}, "body": body}


def _impression(row: sa.Row[Any]) -> Impression:
    return _from_row({name: getattr(row, name) for name in _COLUMNS}, dict(row.body))


def _from_row(columns: dict[str, Any], body: dict[str, Any]) -> Impression:
    shown: Sequence[dict[str, Any]] = body.pop("shown")
    return Impression(
        **columns,
        shown=tuple(_chunk(chunk) for chunk in shown),
        degraded=tuple(body.pop("degraded")),
        **body,
    )


def _chunk(stored: dict[str, Any]) -> ShownChunk:
    return ShownChunk(**{**stored, "features": tuple(stored.get("features", ()))})
