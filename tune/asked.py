"""What somebody asked a sweep to do, and the plan that follows.

The same asked again is the same sweep as long as it is judged by the same queries and grades. One that has not ended
goes on, whatever is written meanwhile: what wins is tested anew. One that has ended answers for its documents only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from kaizen.errors import InvalidInput, NotFound
from kaizen.ids import fingerprint
from kaizen.learning.query_encoder import QueryEncoderPlan
from kaizen.offline import OfflineIndex
from kaizen.records import Dataset, Release
from kaizen.release import retrieval_of
from kaizen.storage.object_store import ObjectStore
from kaizen.workspace import Workspace
from tune.answering import is_generated
from tune.judged import Judgements
from tune.kept import Kept
from tune.spaces import (
    Drawn,
    answering_space,
    draw,
    present_answering,
    present_retrieval,
    present_training,
    retrieval_space,
    training_space,
)

What = Literal["retrieval", "training", "answering"]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The options. `release`, `dataset` and `name` are None where the default is wanted; `turn`: of the steward."""

    what: What
    release: str | None
    dataset: str | None
    trials: int
    name: str | None
    seed: int = 0
    turn: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A sweep that is decided on, whether it was begun before or not.

    Attributes:
        drawn: settings by number of trial.
        judgements: see `Judgements.fingerprint`. seqs: how far each shard of the index is.
    """

    what: What
    base: Release
    dataset: Dataset | None
    drawn: dict[int, Drawn]
    judgements: str
    seqs: Sequence[int]
    seed: int
    turn: str
    kept: Kept

    def record(self) -> dict[str, Any]:
        """Return it as JSON: what must be the same for a sweep to go on."""
        return {
            "what": self.what,
            "release": self.base.id,
            "dataset": self.dataset.id if self.dataset else "",
            "trials": len(self.drawn),
            "seed": self.seed,
            "judgements": self.judgements,
            "settings": {str(number): settings for number, settings in self.drawn.items()},
        }


def wanted(workspace: Workspace, wish: Wish) -> tuple[Release, Dataset | None]:
    """Find what the options leave open: in the sweep of this name if it was begun, else in the ledger.

    Raises:
        InvalidInput: the name or the number of trials cannot be used. NotFound: there is no such release or data set.
    """
    if wish.trials < 2:
        raise InvalidInput("A sweep of fewer than 2 trials compares nothing.", advice="Give --trials 2 or more.")
    if wish.name is not None and not _NAME.fullmatch(wish.name):
        raise InvalidInput("The name cannot be used.", advice="Use up to 64 of a-z, 0-9, _ and -.")
    begun = (Kept(store=workspace.store, name=wish.name).read("plan.json") if wish.name else None) or {}
    base = workspace.release(wish.release or begun.get("release"))
    dataset = _dataset(workspace, wish.dataset or begun.get("dataset"))
    if wish.what == "training" and dataset is None:
        raise NotFound("There is no data set to train on.", advice="Make one with `kaizen curate`.")
    return base, dataset


def planned(
    store: ObjectStore, wish: Wish, base: Release, dataset: Dataset | None, known: Judgements, index: OfflineIndex
) -> Planned:
    """Return the plan; without a name of its own it is named by what it is made of, and by how often that was swept."""
    found = Planned(
        what=wish.what,
        base=base,
        dataset=dataset,
        drawn=dict(enumerate(_drawn(base, wish), start=1)),
        judgements=known.fingerprint,
        seqs=[index.views[shard].seq for shard in sorted(index.views)],
        seed=wish.seed,
        turn=wish.turn,
        kept=Kept(store=store, name=wish.name or ""),
    )
    if wish.name:
        return found
    named = f"{wish.what}-{fingerprint([found.record(), wish.turn])[:12]}"
    return replace(found, kept=_newest(store, named, found.seqs))


def _newest(store: ObjectStore, named: str, seqs: Sequence[int]) -> Kept:
    """The last of the sweeps of this name; a new one if that has ended on other documents."""
    number, kept = 1, Kept(store=store, name=named)
    while (ended := kept.read("result.json")) is not None and ended["index_seqs"] != list(seqs):
        number += 1
        kept = Kept(store=store, name=f"{named}-{number}")
    return kept


def _dataset(workspace: Workspace, named: str | None) -> Dataset | None:
    return workspace.ledger.datasets.get(named) if named else workspace.ledger.datasets.newest()


def _drawn(base: Release, wish: Wish) -> list[Drawn]:
    if wish.what == "training":
        return draw(training_space(), present_training(QueryEncoderPlan()), wish.trials, wish.seed)
    if wish.what == "answering":
        generated = is_generated(base)
        present = present_answering(base, generated=generated)
        return draw(answering_space(generated=generated), present, wish.trials, wish.seed)
    ranker = "ranker" in base.parts
    return draw(
        retrieval_space(ranker=ranker), present_retrieval(retrieval_of(base), ranker=ranker), wish.trials, wish.seed
    )
