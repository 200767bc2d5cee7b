"""Run by Alembic alone. The connection, inside a transaction, comes from `schema.migrate`."""

from alembic import context

from kaizen.storage.ledger.tables import metadata

# SQLite rolls DDL back as well, if nobody commits in between: a killed migration then leaves nothing behind.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
