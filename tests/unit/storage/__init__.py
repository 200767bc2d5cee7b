"""Tests of the ledger, the object store and the keys."""
