"""Alembic migrations of the ledger; `kaizen.storage.ledger.schema` runs them when a ledger is opened."""
