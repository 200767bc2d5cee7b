"""What learning leaves in the ledger: data sets, candidates with their verdicts, and the trusted judgements."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.records import Candidate, Dataset, Judgement, Verdict
from kaizen.storage.ledger import decisions, releases
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.statements import insert_if_absent, upsert
from kaizen.storage.ledger.tables import candidates, datasets, judgements

EARLIER = "earlier"  # in a candidate's record: how it was learnt before
_MOST_EARLIER = 20


class Datasets:
    """Every data set that was curated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, dataset: Dataset) -> None:
        """Store a data set durably; the same id again changes nothing."""
        added = {name: getattr(dataset, name) for name in Dataset.__dataclass_fields__}
        self._database.write(lambda connection: insert_if_absent(connection, datasets, [added]))

    def get(self, dataset_id: str) -> Dataset:
        """Return a data set; NotFound when there is none with this id."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(datasets).where(datasets.c.id == dataset_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no data set {dataset_id!r}.", advice="Make one with `python -m jobs.curate`.")
        return Dataset(**row._mapping)

    def list(self) -> list[Dataset]:
        """Return all data sets, the newest first."""
        query = sa.select(datasets).order_by(datasets.c.at.desc(), datasets.c.id.desc())
        with self._database.read() as connection:
            return [Dataset(**row._mapping) for row in connection.execute(query)]

    def newest(self) -> Dataset | None:
        """Return the latest data set, or None."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(datasets).order_by(datasets.c.at.desc(), datasets.c.id.desc()).limit(1)
            ).one_or_none()
        return None if row is None else Dataset(**row._mapping)


class Candidates:
    """Releases that were learnt."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, candidate: Candidate) -> Candidate:
        """Store a candidate durably, and return what is stored.

        A release that is learnt again, from another data set or in another turn, is what was learnt last, and not
        judged yet; what it was before is kept in its record as `earlier`, the newest first. The same again changes
        nothing, and neither does who began from the release and learnt nothing: it would be its own parent.
        """
        self._database.write(lambda connection: _add(connection, candidate))
        return self.get(candidate.release)

    def judge(self, release: str, *, verdict: Verdict, reason: str, report: str) -> Candidate:
        """Store the verdict on a candidate; NotFound when the release is none."""
        values = {"verdict": verdict, "reason": reason, "report": report}
        update = sa.update(candidates).where(candidates.c.release == release).values(**values)
        self._database.write(lambda connection: _found(connection.execute(update).rowcount, release))
        return self.get(release)

    def get(self, release: str) -> Candidate:
        """Return a candidate; NotFound when the release is none."""
        with self._database.read() as connection:
            found = _read(connection, release)
        if found is None:
            raise _no_candidate(release)
        return found

    def list(self, *, turn: str | None = None) -> list[Candidate]:
        """Return the candidates of one turn or of all, the newest first."""
        query = sa.select(candidates).order_by(candidates.c.at.desc(), candidates.c.release.desc())
        if turn is not None:
            query = query.where(candidates.c.turn == turn)
        with self._database.read() as connection:
            return [Candidate(**row._mapping) for row in connection.execute(query)]


class Judgements:
    """The trusted evaluation set. Only an operator writes here, and each change leaves a decision beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_many(self, trusted: Sequence[Judgement], *, source: str = "") -> None:
        """Store judgements durably, replacing those on the same query and document. `source`: where they were read."""
        rows = [{name: getattr(one, name) for name in Judgement.__dataclass_fields__} for one in trusted]
        queries = {tenant: len({one.query_id for one in trusted if one.tenant == tenant})
                   for tenant in {one.tenant for one in trusted}}  # fmt: skip
        decision = _trusted("add", f"{len(rows)} judgements were added.", {"queries": queries, "source": source})

        def write(connection: sa.Connection) -> None:
            upsert(connection, judgements, rows)
            decisions.insert(connection, decision)

        if rows:
            self._database.write(write)

    def all(self) -> list[Judgement]:
        """Return all judgements of all tenants, ordered by tenant, query and document."""
        key = (judgements.c.tenant, judgements.c.query_id, judgements.c.document_id)
        with self._database.read() as connection:
            return [Judgement(**row._mapping) for row in connection.execute(sa.select(judgements).order_by(*key))]

    def clear(self, tenant: str) -> int:
        """Delete a tenant's judgements and return how many there were."""
        gone = sa.delete(judgements).where(judgements.c.tenant == tenant)

        def write(connection: sa.Connection) -> int:
            count = int(connection.execute(gone).rowcount)
            kept = {"tenant": tenant, "judgements": count}
            decisions.insert(connection, _trusted("clear", f"All {count} judgements of {tenant} were deleted.", kept))
            return count

        return self._database.write(write)


def _trusted(what: str, reason: str, evidence: dict[str, object]) -> dict[str, object]:
    kind = f"trusted_{what}"
    return decisions.row(by=decisions.COMMAND, kind=kind, release="", turn="", reason=reason, evidence=evidence)


def _add(connection: sa.Connection, candidate: Candidate) -> None:
    releases.read(connection, candidate.release)
    added = {name: getattr(candidate, name) for name in Candidate.__dataclass_fields__}
    before = _read(connection, candidate.release)
    if before is None:
        insert_if_absent(connection, candidates, [added])
    elif _is_learnt_again(before, candidate):
        added["record"] = {
            **candidate.record,
            EARLIER: [_told(before), *before.record.get(EARLIER, ())][:_MOST_EARLIER],
        }
        upsert(connection, candidates, [added])


def _read(connection: sa.Connection, release: str) -> Candidate | None:
    row = connection.execute(sa.select(candidates).where(candidates.c.release == release)).one_or_none()
    return None if row is None else Candidate(**row._mapping)


def _is_learnt_again(before: Candidate, after: Candidate) -> bool:
    made_of = [(one.turn, one.record.get("dataset")) for one in (before, after)]
    return made_of[0] != made_of[1] and after.record.get("parent") != after.release


def _told(before: Candidate) -> dict[str, object]:
    """Where it came from and what came of it."""
    told = {name: getattr(before, name) for name in ("at", "rung", "turn", "verdict", "reason", "report")}
    return {**told, **{name: before.record.get(name) for name in ("dataset", "parent")}}


def _found(count: int, release: str) -> None:
    if not count:
        raise _no_candidate(release)


def _no_candidate(release: str) -> NotFound:
    return NotFound(f"The release {release!r} is no candidate.", advice="List the candidates to see them.")
