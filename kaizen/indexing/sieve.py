"""What of a run's documents must be embedded: not what is there already, not what is there under another id."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal

from kaizen.errors import InvalidInput
from kaizen.records import Document, DocumentState, FieldType
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.metadata_schema import check_room, field_types

Outcome = Literal["embed", "unchanged", "duplicate", "quarantined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with a document; `reason` says why it is quarantined."""

    outcome: Outcome
    reason: str = ""


EMBED, UNCHANGED, DUPLICATE = (Verdict(outcome="embed"), Verdict(outcome="unchanged"), Verdict(outcome="duplicate"))
TWICE = Verdict(outcome="quarantined", reason="Its id came before in this run; ids must differ.")


class Sieve:
    """Judges the documents of one run in order. It remembers ids and contents that the run has had so far.

    A document that is unchanged costs one hash and a part of one query, and no embedding. The first of several
    documents with one id counts; the later ones are quarantined, since it is the source that must decide.

    Only a document that is not there yet can be a duplicate: one that is there would keep its old text. Its original
    may still go in the same run, or be replaced; `seen.Seen.stranded` tells of those.
    """

    def __init__(self, ledger: Ledger, tenant: str, *, deduplicate: bool) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._deduplicate = deduplicate
        self._met: dict[str, tuple[int, Verdict]] = {}  # id -> hash of its unit and content, and what was said
        self._contents: set[str] = set()
        self._types: dict[str, FieldType] = dict(ledger.documents.schema(tenant))

    def sift(self, documents: Sequence[Document], units: Sequence[str]) -> list[Verdict]:
        """One verdict for each document; `units` tell where each was read. What comes again from the same unit with the
        same content is handed on a second time: what became of the first was lost.
        """
        states = self._ledger.documents.states(self._tenant, [d.id for d in documents])
        hashes = [d.content_sha256() for d in documents]
        known = self._ledger.documents.find_content(self._tenant, hashes) if self._deduplicate else {}
        verdicts = []
        for document, content, unit in zip(documents, hashes, units, strict=True):
            place = hash((unit, content))
            if document.id in self._met:
                before, verdict = self._met[document.id]
                verdicts.append(verdict if before == place else TWICE)
                continue
            verdict = self._judge(document, content, states.get(document.id), known)
            self._met[document.id] = place, verdict
            if verdict.outcome != "quarantined":
                self._contents.add(content)
            verdicts.append(verdict)
        return verdicts

    def _judge(self, document: Document, content: str, state: DocumentState | None, known: Container[str]) -> Verdict:
        if state is not None and (state.content_sha256, state.source) == (content, document.source):
            return UNCHANGED
        if self._deduplicate and state is None and (content in self._contents or content in known):
            return DUPLICATE
        return self._admit(document)

    def _admit(self, document: Document) -> Verdict:
        """Embed, unless a metadata field has another type than it has had, or is one too many."""
        try:
            types = field_types(document.metadata)
            check_room(len(self._types), types.keys() - self._types.keys())
        except InvalidInput as error:
            return Verdict(outcome="quarantined", reason=str(error))
        for name, kind in types.items():
            if self._types.get(name, kind) != kind:
                reason = f"The field '{name}' is of type {self._types[name]} here and {kind} in this document."
                return Verdict(outcome="quarantined", reason=f"{reason} Rename it or make the types agree.")
        self._types.update(types)
        return EMBED
