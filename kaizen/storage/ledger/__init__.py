"""The ledger: documents, impressions, feedback, releases, rollouts, learning, keys and runs in one SQL database."""

from kaizen.storage.ledger.documents import BatchEntry
from kaizen.storage.ledger.keys import KeyRecord
from kaizen.storage.ledger.ledger import Ledger
from kaizen.storage.ledger.runs import Run

__all__ = ["BatchEntry", "KeyRecord", "Ledger", "Run"]
