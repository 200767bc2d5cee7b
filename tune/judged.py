"""The judged queries of a sweep, in two halves.

Which trusted queries take part is decided when a sweep begins, by the documents that there are then: one that goes on
after a kill asks the same, or its trials could not be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kaizen.errors import InvalidInput
from kaizen.evaluation.trusted import trusted_with_documents, words_on_left_out
from kaizen.ids import fingerprint
from kaizen.judging.query_sets import Asked, dataset_queries, trusted_queries
from kaizen.judging.side import as_everybody
from kaizen.learning.dataset import read_dataset
from kaizen.learning.sweep import halves
from kaizen.offline import OfflineIndex
from kaizen.records import Dataset, Judgement, Release
from kaizen.storage.ledger import Ledger
from kaizen.workspace import Workspace

LEAST = 20  # queries of a half; with fewer no gain that settings can bring is seen
MOST = 2000
_LEARNT = ("ranker", "query_encoder")

Source = Literal["trusted", "train", "held_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The queries that trials compete on, and those that the winner is tested on; by name.

    left_out: names of the trusted queries that are in neither, because their tenant had no relevant document.
    """

    source: Source
    validation: Mapping[str, Asked]
    test: Mapping[str, Asked]
    left_out: Sequence[str] = ()

    def record(self) -> dict[str, Any]:
        """As the result of a sweep has it: how many, and a fingerprint of all that is asked with its grades."""
        both = {**self.validation, **self.test}
        return {
            "source": self.source,
            "validation": len(self.validation),
            "test": len(self.test),
            "fingerprint": fingerprint({name: asdict(one) for name, one in both.items()}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgements:
    """All that a sweep may be judged by, whatever documents there are now.

    Attributes:
        trusted: every trusted judgement.
        split, examples: the queries of the data set that nothing was learnt from; empty without one.
    """

    trusted: Sequence[Judgement]
    split: Source = "train"
    examples: Mapping[str, Asked]

    @property
    def fingerprint(self) -> str:
        """The same while nothing is judged anew: neither documents nor their groups change it."""
        trusted = trusted_queries(self.trusted, len(self.trusted))
        queries = trusted if len(trusted) >= 2 * LEAST else self.examples  # too few are never chosen
        return fingerprint({name: asdict(one) for name, one in queries.items()})

    def without_documents(self, ledger: Ledger) -> list[str]:
        """Names of the trusted queries whose tenant has none of their relevant documents now."""
        kept = _names(trusted_with_documents(self.trusted, ledger).judgements)
        return sorted(_names(self.trusted) - kept)

    def judged(self, index: OfflineIndex, left_out: Collection[str]) -> Judged:
        """Return the trusted queries without those, if there are enough, else those of the data set.

        Raises:
            InvalidInput: there are too few.
        """
        trusted = [one for one in self.trusted if _name(one) not in left_out]
        asked: dict[Source, Mapping[str, Asked]] = {"trusted": as_everybody(trusted_queries(trusted, MOST), index)}
        if self.examples:
            asked[self.split] = self.examples
        for source, queries in asked.items():
            validation, test = halves({name: one.text for name, one in queries.items()})
            if min(len(validation), len(test)) >= LEAST:
                return Judged(
                    source=source,
                    validation={name: queries[name] for name in validation},
                    test={name: queries[name] for name in test},
                    left_out=sorted(left_out),
                )
        found = {source: len(queries) for source, queries in asked.items()}
        raise InvalidInput(
            f"Too few judged queries for a sweep: {found}; each half needs {LEAST}. "
            f"{words_on_left_out(len(left_out))}".rstrip(),
            advice="Add trusted judgements with `kaizen trusted`, or curate a data set from more feedback.",
        )


def judgements_for(workspace: Workspace, base: Release, dataset: Dataset | None, *, trains: bool) -> Judgements:
    """Return the trusted judgements, and the queries of the data set that nothing was learnt from.

    Its train queries, unless `base` has learnt parts or trials train: then the held-out ones.
    """
    trusted = workspace.ledger.judgements.all()
    learnt = trains or any(part in base.parts for part in _LEARNT) or base.parent is not None
    split: Source = "held_out" if learnt else "train"
    if dataset is None:
        return Judgements(trusted=trusted, examples={})
    rows = read_dataset(workspace.store, dataset.artifact).examples
    return Judgements(trusted=trusted, split=split, examples=dataset_queries(rows, split, MOST))


def _names(judgements: Sequence[Judgement]) -> set[str]:
    return {_name(one) for one in judgements}


def _name(judgement: Judgement) -> str:
    return f"{judgement.tenant}/{judgement.query_id}"
