"""What of the object store nobody needs any more, from what the ledger says and what the store holds. Pure.

    index/ID                            no release needs the index
    index/ID/shard-000/segments/ID      a shard's pointer does not lead there, nor to the generation before
    batches/ID                          the ledger never recorded it: its ingest was killed

Nothing goes at first sight. What is of no use is remembered, and goes when it was so at every look for a while: a shard
seals, an ingest writes and only then records, an operator takes a release back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kaizen.ids import made_at
from kaizen.records import Candidate, Release, Rollout
from kaizen.release import index_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What is needed.

    Attributes:
        indices: ids of the indices.
        batches: names in the store of those that the ledger records.
        in_use: `index/ID/SHARD` -> names of what its pointer leads to; None where that cannot be read.
    """

    indices: Collection[str]
    batches: Collection[str]
    in_use: Mapping[str, Collection[str] | None]


def needed_indices(
    rollout: Rollout,
    releases: Sequence[Release],
    candidates: Sequence[Candidate],
    tried: Collection[str],
    *,
    after: float,
) -> frozenset[str]:
    """Ids of the indices that some release needs.

    Those in the rollout, those that the open turn tries, those recorded later than `after`, and candidates younger than
    the stable release that were not rejected: they may yet be put before users.
    """
    numbers = {release.id: release.number for release in releases}
    stable = numbers.get(rollout.stable or "", 0)
    hopeful = {one.release for one in candidates if one.verdict != "reject" and numbers.get(one.release, 0) > stable}
    wanted = hopeful.union(rollout.releases, tried)
    return frozenset(index_id(one) for one in releases if "index" in one.parts and (one.id in wanted or one.at > after))


def shards_of(names: Iterable[str]) -> list[str]:
    """The shards, `index/ID/SHARD`, that names in the store belong to."""
    return sorted({name.rsplit("/", 2)[0] for name in names if _is_of_shard(name)})


def unneeded(names: Iterable[str], needs: Needs, *, before: float) -> list[str]:
    """What is of no use now, as in the table above; but nothing that was made after `before`: it may be in hand."""
    return sorted(set(_unneeded(names, needs, before)))


def _unneeded(names: Iterable[str], needs: Needs, before: float) -> Iterator[str]:
    for name in names:
        if _is_of_shard(name):
            index, shard = name.split("/")[1], name.rsplit("/", 2)[0]
            if index not in needs.indices:
                yield f"index/{index}"
            elif (used := needs.in_use.get(shard)) is not None and name not in used and _made_before(name, before):
                yield name
        elif name.startswith("batches/") and name not in needs.batches and _made_before(name, before):
            yield name


def due(
    found: Iterable[str], seen: Mapping[str, float], *, now: float, age: float
) -> tuple[list[str], dict[str, float]]:
    """What goes now, and what to remember: name -> since when (seconds) it has been of no use at every look."""
    since = {name: min(now, seen.get(name, now)) for name in found}
    return [name for name, first in since.items() if now - first >= age], since


def _is_of_shard(name: str) -> bool:
    return name.startswith("index/") and name.count("/") == 4


def _made_before(name: str, moment: float) -> bool:
    try:
        return made_at(name) < moment
    except ValueError:
        return False  # not a name that we gave
