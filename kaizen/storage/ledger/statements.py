"""The two statements that SQL standard and SQLAlchemy Core leave to the dialects, and IN over long lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]
_IN_LIST = 500  # SQLite before 3.32 takes 999 variables in a statement


def upsert(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Insert rows, replacing those with the same primary key."""
    connection.execute(_upsert(connection.dialect.name, table), list(rows))


def insert_if_absent(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Insert rows, leaving alone those whose unique keys are taken."""
    connection.execute(_insert(connection.dialect.name, table).on_conflict_do_nothing(), list(rows))


@cache  # building it takes longer than running it, and there are as many as there are tables
def _upsert(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    statement = _insert(dialect, table)
    key = [column.name for column in table.primary_key]
    replaced = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in key}
    return statement.on_conflict_do_update(index_elements=key, set_=replaced)


def _insert(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut `values` into pieces that fit an IN list."""
    for start in range(0, len(values), _IN_LIST):
        yield values[start : start + _IN_LIST]
