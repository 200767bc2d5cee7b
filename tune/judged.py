"""The judged queries of a sweep, in two halves."""

from __future__ import annotations

from collections.abc import Mapping
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
from kaizen.records import Dataset, Release
from kaizen.workspace import Workspace

LEAST = 20  # queries of a half; with fewer no gain that settings can bring is seen
MOST = 2000
_LEARNT = ("ranker", "query_encoder")

Source = Literal["trusted", "train", "held_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The queries that trials compete on, and those that the winner is tested on; by name.

    left_out: how many trusted queries are in neither, because their tenant has no relevant document.
    """

    source: Source
    validation: Mapping[str, Asked]
    test: Mapping[str, Asked]
    left_out: int = 0

    def record(self) -> dict[str, Any]:
        """As the plan of a sweep has it: how many, and a fingerprint of all that is asked with its grades."""
        both = {**self.validation, **self.test}
        return {
            "source": self.source,
            "validation": len(self.validation),
            "test": len(self.test),
            "fingerprint": fingerprint({name: asdict(one) for name, one in both.items()}),
        }


def judged_queries(
    workspace: Workspace, base: Release, dataset: Dataset | None, index: OfflineIndex, *, trains: bool
) -> Judged:
    """Return the trusted queries if there are enough, else those of the data set that nothing was learnt from.

    Its train queries, unless `base` has learnt parts or trials train: then the held-out ones.

    Raises:
        InvalidInput: there are too few.
    """
    known = trusted_with_documents(workspace.ledger.judgements.all(), workspace.ledger)
    asked: dict[Source, Mapping[str, Asked]] = {"trusted": as_everybody(trusted_queries(known.judgements, MOST), index)}
    if dataset is not None:
        learnt = trains or any(part in base.parts for part in _LEARNT) or base.parent is not None
        split: Source = "held_out" if learnt else "train"
        asked[split] = dataset_queries(read_dataset(workspace.store, dataset.artifact).examples, split, MOST)
    found = {source: len(queries) for source, queries in asked.items()}
    for source, queries in asked.items():
        validation, test = halves({name: one.text for name, one in queries.items()})
        if min(len(validation), len(test)) >= LEAST:
            return Judged(
                source=source,
                validation={name: queries[name] for name in validation},
                test={name: queries[name] for name in test},
                left_out=known.left_out,
            )
    raise InvalidInput(
        f"Too few judged queries for a sweep: {found}; each half needs {LEAST}. "
        f"{words_on_left_out(known.left_out)}".rstrip(),
        advice="Add trusted judgements with `kaizen trusted`, or curate a data set from more feedback.",
    )
