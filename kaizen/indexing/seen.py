"""What a run has seen of its sources: which copies it must take after all, what leaves quarantine, and what goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kaizen.storage.ledger.documents import Documents
from kaizen.text.sources import Expansion

_PAGE = 1000


class Seen:
    """Remembers ids, and one copy of each content that the sieve called a duplicate. Decides; deletes nothing.

    Args:
        since: the ledger's head before the sources were listed. What another writer has made since then is not gone
            because this run does not see it.
        prune: whether documents of these sources go that the run does not see.
    """

    def __init__(self, documents: Documents, tenant: str, expansion: Expansion, *, since: int, prune: bool) -> None:
        self._documents = documents
        self._tenant = tenant
        self._files = expansion.files
        self._numbers = {unit.key: number for number, unit in enumerate(expansion.files)}
        self._unlisted = expansion.incomplete
        self._incomplete = set(expansion.incomplete)
        self._since = since
        self._prune = prune
        self._ids: set[str] = set()
        self._unsettled: set[str] = set()
        self._copies: dict[str, tuple[str, int]] = {}  # content -> id, number of the unit
        self.sources = sorted({unit.source for unit in expansion.files})

    def see(self, ids: Iterable[str]) -> None:
        """These are there, whether they could be taken or not."""
        self._ids.update(ids)

    def see_copy(self, document_id: str, content_sha256: str, unit_key: str) -> None:
        """This one was left out, since another has its content."""
        self._ids.add(document_id)
        self._copies.setdefault(content_sha256, (document_id, self._numbers[unit_key]))

    def see_unread(self, source: str) -> None:
        """A part of this source could not be read: what it does not show may be there still."""
        self._incomplete.add(source)

    def see_unsettled(self, ids: Iterable[str]) -> None:
        """These are in quarantine now, or they were not tried: whatever was said of them before still stands."""
        for document_id in ids:
            self._ids.add(document_id)
            self._unsettled.add(document_id)

    def is_unsettled(self, document_id: str) -> bool:
        """Say whether what is in quarantine under this id stays there. What has been mended or is gone does not."""
        return document_id in self._unsettled

    def listed(self) -> list[str]:
        """Return the sources whose files are all known, read or not."""
        return [source for source in self.sources if source not in self._unlisted]

    def is_complete(self, source: str) -> bool:
        """Say whether what the run has not seen of a source is gone from it."""
        return source not in self._incomplete

    def stranded(self) -> Expansion:
        """What to read again once all has been recorded, before anything is deleted.

        Of each content of copies that no document has which stays (its original was replaced by this run, was
        refused, or goes with `--prune`) one copy, in `only` of its unit.
        """
        lost = set(self._copies)
        for content, document_id, source, seq in self._documents.holders(self._tenant, list(self._copies)):
            if not self._goes(document_id, source, seq):
                lost.discard(content)
        wanted: dict[int, set[str]] = {}
        for content in lost:
            document_id, number = self._copies[content]
            wanted.setdefault(number, set()).add(document_id)
        files = tuple(replace(self._files[number], only=frozenset(wanted[number])) for number in sorted(wanted))
        return Expansion(files=files, skipped={})

    def check_taken(self, again: Expansion) -> None:
        """Let all sources count as incomplete unless all that was wanted of `again` is there now.

        A file that changed while the run read it a second time must not cost the original as well.
        """
        wanted = [document_id for unit in again.files for document_id in unit.only]
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            if len(self._documents.states(self._tenant, page)) < len(page):
                self._incomplete.update(self.sources)

    def unseen(self, source: str) -> list[str]:
        """Return the ids of a source's documents that the run has not seen."""
        there = self._documents.ids_of_source(self._tenant, source, self._since)
        return [document_id for document_id in there if document_id not in self._ids]

    def _goes(self, document_id: str, source: str, seq: int) -> bool:
        unseen = self._prune and seq <= self._since and document_id not in self._ids
        return unseen and source in self.sources and self.is_complete(source)
