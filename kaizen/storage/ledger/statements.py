"""The two statements that SQL standard and SQLAlchemy Core leave to the dialects, and IN over long lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]
_Bind = Callable[[Any], Any]
_IN_LIST = 500  # SQLite before 3.32 takes 999 variables in a statement


def upsert(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Insert rows, replacing those with the same primary key."""
    connection.execute(_upsert(connection.dialect.name, table), list(rows))


def insert_if_absent(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Insert rows, all with the same columns, leaving alone those whose unique keys are taken."""
    insert = _plain_insert(connection.dialect, table, tuple(rows[0]))
    connection.exec_driver_sql(insert.text, [insert.parameters(row) for row in rows])


@dataclass(frozen=True, slots=True)
class _PlainInsert:
    """A statement as the driver takes it. Each search writes a row, and to have SQLAlchemy look at the same statement
    each time would cost more than the database's own part."""

    text: str
    columns: Mapping[str, _Bind | None]  # and what makes the driver's value of one
    positional: bool

    def parameters(self, row: Mapping[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
        values = {name: row[name] if bind is None else bind(row[name]) for name, bind in self.columns.items()}
        return tuple(values.values()) if self.positional else values


@lru_cache(64)  # each engine has a dialect of its own
def _plain_insert(dialect: Dialect, table: sa.Table, columns: tuple[str, ...]) -> _PlainInsert:
    statement = _insert(dialect.name, table).on_conflict_do_nothing()
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    order = compiled.positiontup or columns
    binds = {name: table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in order}
    return _PlainInsert(str(compiled), binds, compiled.positional)


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
