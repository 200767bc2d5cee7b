"""The ledger: the truth, of which every index is a view at a sequence number."""

from __future__ import annotations

from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from kaizen.config import LedgerSettings
from kaizen.errors import KaizenError
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.decisions import Decisions
from kaizen.storage.ledger.documents import Documents
from kaizen.storage.ledger.feedback import FeedbackStore
from kaizen.storage.ledger.group_commit import Work
from kaizen.storage.ledger.impressions import Impressions
from kaizen.storage.ledger.keys import Keys
from kaizen.storage.ledger.learning import Candidates, Datasets, Judgements
from kaizen.storage.ledger.quarantine import Quarantine
from kaizen.storage.ledger.releases import Releases
from kaizen.storage.ledger.rollout import RolloutRow
from kaizen.storage.ledger.runs import Runs
from kaizen.storage.ledger.turns import Turns

T = TypeVar("T")


class Ledger:
    """One open ledger. Safe to use from many threads; pickles to its settings and URL, and reopens.

    Attributes:
        documents: document changes in order, and the present state of each document.
        impressions, feedback: what was shown, and how it was judged.
        releases, rollout: the bundles that answer, and who gets which of them.
        decisions: what was done to the rollout and by the steward, and why.
        datasets, candidates, judgements, turns: what learning made, what it is measured by, and the steward's rounds.
        keys: API keys, hashed.
        quarantine, runs: what ingest could not take, and what its runs did.
    """

    def __init__(self, settings: LedgerSettings, url: str) -> None:
        """See `open`."""
        self._database = Database(settings, url)
        self.documents = Documents(self._database)
        self.impressions = Impressions(self._database)
        self.feedback = FeedbackStore(self._database)
        self.releases = Releases(self._database)
        self.rollout = RolloutRow(self._database)
        self.decisions = Decisions(self._database)
        self.datasets = Datasets(self._database)
        self.candidates = Candidates(self._database)
        self.judgements = Judgements(self._database)
        self.turns = Turns(self._database)
        self.keys = Keys(self._database)
        self.quarantine = Quarantine(self._database)
        self.runs = Runs(self._database)

    @classmethod
    def open(cls, settings: LedgerSettings, url: str) -> Ledger:
        """Open the ledger at an SQLAlchemy URL, creating or migrating it; any number of processes may do so at once.

        Raises:
            ConfigError: the URL cannot be used, or the ledger was made by a newer Kaizen.
            Unavailable: the database does not answer or cannot be written.
        """
        return cls(settings, url)

    def submit(self, work: Work[T]) -> Future[T]:
        """Run `work(connection)` in a durable write of its own kind: several steps that must hold together.

        `work` may run more than once and must do nothing but talk to its connection. See `GroupCommit.submit`.
        """
        return self._database.submit(work)

    @property
    def stopped(self) -> KaizenError | None:
        """Why this process can write nothing any more, and another one may; None: it can. See `GroupCommit.stopped`."""
        return self._database.stopped

    def close(self) -> None:
        """Finish the queued writes and let go of the database."""
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Ledger], tuple[LedgerSettings, str]]:
        return Ledger, (self._database.settings, self._database.url)
