"""Impressions: what was shown, to whom, by which release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import fields
from math import inf
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.records import Impression, ShownChunk
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.statements import insert_if_absent, parts
from kaizen.storage.ledger.tables import impressions, written_json

_COLUMNS: Mapping[str, type | tuple[type, ...]] = {
    "id": str, "at": (int, float), "tenant": str, "key_id": str, "release": str, "index_seq": int,
}  # fmt: skip
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

        It is on the disk before any feedback on it is acknowledged, and within a tenth of a second after its commit
        (PostgreSQL: a second): a power cut can take only what was shown right before it, and never what was judged.
        """
        return self._submit(impression, synced=False)

    def record_missing(self, found: Sequence[Impression]) -> None:
        """Store durably those of many that are not there. Those that are use up no `seq`, which counts impressions."""
        rows = {impression.id: _row(impression) for impression in found}

        def insert(connection: sa.Connection) -> None:
            missing = dict(rows)
            for names in parts(list(rows)):
                for name in connection.scalars(sa.select(impressions.c.id).where(impressions.c.id.in_(names))):
                    del missing[name]
            if missing:
                insert_if_absent(connection, impressions, list(missing.values()))

        if rows:
            self._database.write(insert)

    def _submit(self, impression: Impression, *, synced: bool) -> Future[None]:
        row = _row(impression)
        return self._database.submit(lambda connection: insert_if_absent(connection, impressions, [row]), synced=synced)

    def has(self, tenant: str, impression_id: str) -> bool:
        """Whether the tenant has an impression with this id."""
        wanted = sa.select(impressions.c.seq).where(impressions.c.tenant == tenant, impressions.c.id == impression_id)
        with self._database.read() as connection:
            return connection.scalar(wanted) is not None

    def get(self, tenant: str, impression_id: str) -> Impression:
        """Return an impression; NotFound when the tenant has none with this id."""
        with self._database.read() as connection:
            return read(connection, tenant, impression_id)

    def after(self, seq: int, limit: int = 1000) -> list[tuple[int, Impression]]:
        """Return the impressions of all tenants after `seq` (this table's own), in order, each with its `seq`."""
        query = sa.select(impressions).where(impressions.c.seq > seq).order_by(impressions.c.seq).limit(limit)
        with self._database.read() as connection:
            return [(row.seq, _impression(row)) for row in connection.execute(query)]

    def end(self, until: float = inf) -> int:
        """Return the `seq` of the newest row that was made up to this time; 0 when there is none."""
        newest_first = sa.select(impressions.c.seq).order_by(impressions.c.seq.desc()).limit(1)
        query = newest_first.where(impressions.c.at <= until) if until < inf else newest_first
        with self._database.read() as connection:
            return connection.scalar(query) or 0

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


def unpacked(record: bytes) -> Impression:
    """What `packed` made; ValueError when it is none of this version."""
    try:
        row = json.loads(record)
        columns = {name: row[name] for name in _COLUMNS}
        if any(not isinstance(columns[name], kind) for name, kind in _COLUMNS.items()):
            raise TypeError
        return _from_row(columns, row["body"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("This is no impression as this version knows them.") from error


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
