"""Bringing a ledger's schema up to date: Alembic, run by the program itself when a ledger is opened."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa

from kaizen.errors import ConfigError

REVISION = "0003"
"""The newest migration (a test compares). Opening an up-to-date ledger reads this and never imports Alembic."""

MIGRATIONS = Path(__file__).parent / "migrations"
# Alembic's `op` and `context` are proxies that all threads of a process share: its users must take turns.
_ALEMBIC = threading.Lock()


def current_revision(connection: sa.Connection) -> str | None:
    """Return the revision that the database is at; None when it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(sa.select(sa.column("version_num", sa.Text)).select_from(sa.table("alembic_version")))


def migrate(connection: sa.Connection) -> None:
    """Bring the database to `REVISION` inside the caller's transaction, which must exclude all other writers.

    Raises:
        ConfigError: the database was made by a newer Kaizen.
    """
    if current_revision(connection) != REVISION:
        with _ALEMBIC:
            _upgrade(connection)


def _upgrade(connection: sa.Connection) -> None:
    # Imported here: it takes longer than opening the ledger does, and is needed once in a ledger's life.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, REVISION)
    except CommandError as error:
        raise ConfigError(
            f"The ledger's schema is not one that this Kaizen knows ({error}).",
            advice="Run the version of Kaizen that made it, or a newer one.",
        ) from error
