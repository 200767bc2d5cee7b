"""What of the object store nobody needs any more, from what the ledger says and what the store holds. Pure.

    index/ID                            no release needs the index
    index/ID/shard-000/segments/ID      a shard's pointer does not lead there, nor to the generation before
    batches/ID                          no change leads to it: its ingest was killed before it was recorded, or later
                                        changes replaced or deleted documents in it, and the others lie elsewhere now
    models/KIND-ID                      no release needs the model
    datasets/ID                         nothing that is needed was learnt from it, nor is it among the newest
    monitoring/reference-RELEASE-..     the release is out of the rollout: drift is measured of no other
    reports/RELEASE/ID/..               neither its verdict nor a decision names it, and there are NEWEST_REPORTS newer

An index can be built again from the ledger, a model cannot. So models stay with more releases than indices do: with all
that were configured, and with the newest candidates that were not rejected. Sweeps are small and stay.

Nothing goes at first sight. What is of no use is remembered, and goes when it was so at every look for a while: a shard
seals, an ingest writes and only then records, an operator takes a release back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kaizen.ids import made_at
from kaizen.records import Candidate, Dataset, Release, Rollout
from kaizen.release import index_id, models_of

NEWEST_CANDIDATES = 20  # that were not rejected: with a fine-tuned encoder each, 180 MB a piece, 3.6 GB
NEWEST_DATASETS = 10  # whatever became of what was learnt from them: somebody may be about to learn from one
NEWEST_REPORTS = 20  # of a release: each time that it is judged leaves one
_BATCHES = "batches/"
_REFERENCE = "monitoring/reference-"
_MODEL = re.compile(r"models/(embedder|query-encoder|ranker|generator)-[0-9a-f]{12}")
_REPORT = re.compile(r"(reports/[^/]+)/report_[0-9a-z]{26}")
_DATASET = re.compile(r"datasets/[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What is needed.

    Attributes:
        indices: ids of the indices.
        batches: names in the store of those that a change in the ledger leads to.
        in_use: `index/ID/SHARD` -> names of what its pointer leads to; None where that cannot be read.
        learnt: names in the store of models and data sets.
        watched: releases that drift is measured of.
        reports: folders of those that a decision or a verdict names.
    """

    indices: Collection[str]
    batches: Collection[str]
    in_use: Mapping[str, Collection[str] | None]
    learnt: Collection[str]
    watched: Collection[str]
    reports: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the ledger says of releases and what they were learnt from.

    Attributes:
        tried: releases of the open turn; `material`: the data set that it learns from, empty without one.
        datasets: the newest first.
        after: what was recorded later is needed, whatever it is.
    """

    rollout: Rollout
    releases: Sequence[Release]
    candidates: Sequence[Candidate]
    datasets: Sequence[Dataset]
    tried: Collection[str]
    material: str
    after: float


def needed_indices(known: Known) -> frozenset[str]:
    """Ids of the indices that some release needs."""
    wanted = _in_hand(known)
    return frozenset(index_id(one) for one in known.releases if "index" in one.parts and one.id in wanted)


def needed_models(known: Known) -> frozenset[str]:
    """Names of the models that some release needs; several may share one."""
    wanted = _with_models(known)
    return frozenset(name for one in known.releases if one.id in wanted for name in models_of(one))


def needed_datasets(known: Known) -> frozenset[str]:
    """Names of the data sets that what has its models was learnt from, or one of its parents; and of the newest."""
    wanted = _with_parents(known, _with_models(known))
    named = {known.material} | {str(one.record.get("dataset", "")) for one in known.candidates if one.release in wanted}
    newest = {one.id for one in known.datasets[:NEWEST_DATASETS]}
    return frozenset(one.artifact for one in known.datasets if one.id in named | newest or one.at > known.after)


def _in_hand(known: Known) -> frozenset[str]:
    """Releases that answer or may soon.

    Those in the rollout, those that the open turn tries, those recorded later than `after`, and those of the newest
    candidates that are younger than the stable release: they may yet be put before users.
    """
    numbers = {release.id: release.number for release in known.releases}
    stable = numbers.get(known.rollout.stable or "", 0)
    hopeful = {one for one in _newest_not_rejected(known) if numbers[one] > stable}
    fresh = {one.id for one in known.releases if one.at > known.after}
    return frozenset(hopeful.union(fresh, known.rollout.releases, known.tried))


def _with_models(known: Known) -> frozenset[str]:
    """Releases that stay whole: whoever wants one back can have it."""
    learnt = {one.release for one in known.candidates}
    configured = {one.id for one in known.releases if one.id not in learnt}
    return _in_hand(known).union(configured, _newest_not_rejected(known))


def _newest_not_rejected(known: Known) -> list[str]:
    kept = {one.release for one in known.candidates if one.verdict != "reject"}
    newest = sorted(known.releases, key=lambda one: -one.number)
    return [one.id for one in newest if one.id in kept][:NEWEST_CANDIDATES]


def _with_parents(known: Known, wanted: Collection[str]) -> frozenset[str]:
    parents = {one.id: one.parent for one in known.releases}
    found = set[str]()
    for name in wanted:
        ancestor: str | None = name
        while ancestor is not None and ancestor not in found:
            found.add(ancestor)
            ancestor = parents.get(ancestor)
    return frozenset(found)


def shards_of(names: Iterable[str]) -> list[str]:
    """The shards, `index/ID/SHARD`, that names in the store belong to."""
    return sorted({name.rsplit("/", 2)[0] for name in names if _is_of_shard(name)})


def unneeded(names: Iterable[str], needs: Needs, *, before: float) -> list[str]:
    """What is of no use now, as in the table above; but nothing that was made after `before`: it may be in hand."""
    known = list(names)
    return sorted({*_unneeded(known, needs, before), *_old_reports(known, needs, before)})


def _unneeded(names: Iterable[str], needs: Needs, before: float) -> Iterator[str]:
    for name in names:
        if _is_of_shard(name):
            index, shard = name.split("/")[1], name.rsplit("/", 2)[0]
            if index not in needs.indices:
                yield f"index/{index}"
            elif (used := needs.in_use.get(shard)) is not None and name not in used and _made_before(name, before):
                yield name
        elif _is_named_by_nobody(name, needs, before):
            yield name


def _old_reports(names: Sequence[str], needs: Needs, before: float) -> Iterator[str]:
    """What lies in the folders of reports that nobody names, but for the newest of each release."""
    found: dict[str, set[str]] = {}
    for name in names:
        if match := _REPORT.match(name):
            found.setdefault(match[1], set()).add(match[0])
    old = {report for own in found.values() for report in sorted(own)[:-NEWEST_REPORTS]}
    idle = {report for report in old if report not in needs.reports and _made_before(report, before)}
    yield from (name for name in names if name.rpartition("/")[0] in idle)


def due(
    found: Iterable[str], seen: Mapping[str, float], *, now: float, age: float, batch_age: float
) -> tuple[list[str], dict[str, float]]:
    """What goes now, and what to remember: name -> since when (seconds) it has been of no use at every look.

    Batches have an age of their own: nothing can make them again, and a ledger from a backup may lead to them.
    """
    since = {name: min(now, seen.get(name, now)) for name in found}
    ages = {name: batch_age if name.startswith(_BATCHES) else age for name in since}
    return [name for name, first in since.items() if now - first >= ages[name]], since


def _is_named_by_nobody(name: str, needs: Needs, before: float) -> bool:
    if name.startswith(_BATCHES):
        return name not in needs.batches and _made_before(name, before)
    return name not in needs.learnt if is_learnt(name) else _watches_none_of(name, needs.watched)


def is_learnt(name: str) -> bool:
    """Whether it is a model or a data set, under a name that we gave. It is of its content, and tells no time."""
    return bool(_MODEL.fullmatch(name) or _DATASET.fullmatch(name))


def _watches_none_of(name: str, watched: Collection[str]) -> bool:
    """Whether it is a reference of another release than these: monitoring/reference-RELEASE-AFTER-UNTIL."""
    return name.startswith(_REFERENCE) and name.removeprefix(_REFERENCE).rsplit("-", 2)[0] not in watched


def _is_of_shard(name: str) -> bool:
    return name.startswith("index/") and name.count("/") == 4


def _made_before(name: str, moment: float) -> bool:
    try:
        return made_at(name) < moment
    except ValueError:
        return False  # not a name that we gave
