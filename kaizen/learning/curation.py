"""From impressions and feedback to a data set: what counts is collected, judged together, and written down.

    impressions + feedback -> evidence -> robots out -> examination -> relevance and honesty -> examples, demonstrations

Each step is a module of this package; here is their order, what is left out before the first, and the record of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kaizen.learning import propensity, relevance
from kaizen.learning.dataset import DatasetContent, table
from kaizen.learning.demonstrations import Demonstration, Demonstrations, Trust
from kaizen.learning.evidence import Evidence, Floats, Item, Votes, opinion_value
from kaizen.learning.identities import RobotRules, Robots, capped, find_robots
from kaizen.learning.relevance import HONEST, Relevance
from kaizen.learning.shares import Shares
from kaizen.learning.splits import HELD_OUT, NEAR, Nearness, Split, query_id, sides_of
from kaizen.records import Feedback, Impression, Judgement

LEAST_EVIDENCE = 0.05  # of an honest look; below it nothing is known of an item
UNSHOWN_LABEL = 0.02
UNSHOWN_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class ChunkText:
    """What an example says of a chunk."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unshown:
    """A candidate that ranked just below what was shown."""

    chunk_id: str
    document_id: str
    features: tuple[float, ...] = ()


Place = tuple[str, str]  # (tenant, chunk id)
Texts = Callable[[Sequence[Place]], Mapping[Place, ChunkText]]
"""Texts of chunks; one that is gone is left out of the answer, and so of the data set."""
FindUnshown = Callable[[str, str, tuple[str, ...]], Sequence[Unshown]]
"""(tenant, query, groups) -> hard negatives beyond what was shown."""


class Curation:
    """Takes a ledger's rows in order, and makes a data set of them.

    Memory: the feedback, about 30 bytes a shown chunk, and one entry for each distinct query and chunk.
    """

    def __init__(
        self,
        feedback: Iterable[tuple[int, Feedback]],
        *,
        trusted: Sequence[Judgement] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        releases: Set[str] | None = None,
        rules: RobotRules | None = None,
        seed: int = 0,
    ) -> None:
        """Start with all feedback.

        Args:
            feedback: (seq, feedback), in order.
            trusted: the trusted set: its queries, and those that are nearly the same, are left out.
            groups: of each key, by its id.
            releases: those whose chunks are the chunks that `finish` gets the texts of; None: all. Under another
                chunking the same name means another text.
            seed: of the split.
        """
        self._feedback: defaultdict[str, list[Feedback]] = defaultdict(list)
        self._keys: set[str] = set()
        self._ranges = {"feedback": (0, 0), "impressions": (0, 0)}
        for seq, given in feedback:
            self._feedback[given.impression_id].append(given)
            self._keys.add(given.identity.partition("/")[0])
            self._widen("feedback", seq)
        self._trusted = {query_id(one.tenant, one.query): one.query for one in trusted}
        self._groups, self._rules, self._seed = groups or {}, rules or RobotRules(), seed
        self._releases = releases
        self._evidence, self._demonstrations = Evidence(), Demonstrations()
        self._asked: dict[str, str] = {}  # query id -> text, in the order in which they were first asked
        self._left_out: Counter[str] = Counter()
        self._counted: list[tuple[str, str, str]] = []  # (tenant, identity, feedback id)

    def add(self, seq: int, impression: Impression) -> None:
        """Take the next impression."""
        self._widen("impressions", seq)
        name = query_id(impression.tenant, impression.query)
        # Whether it counts or not: feedback may yet come, and then the order must be the one that it always was.
        self._asked.setdefault(name, impression.query)
        if reason := self._refusal(impression):
            self._left_out[reason] += 1
            return
        feedback = self._feedback.get(impression.id, ())
        counted = self._demonstrations.add(name, impression, feedback, opinion_value)
        if impression.kind == "search" and impression.shown:
            self._evidence.add(impression, feedback, self._groups.get(impression.key_id, ()))
            counted += [given.id for given in feedback if given.chunk_id and given.kind != "comment"]
        elif impression.kind == "answer":
            self._evidence.ask(impression)
        wanted = set(counted)
        self._counted += [(given.tenant, given.identity, given.id) for given in feedback if given.id in wanted]

    def finish(self, texts: Texts, unshown: FindUnshown | None = None) -> DatasetContent:
        """Judge all that was taken and return the data set."""
        judged = _Judged.of(self._evidence, self._rules)
        sides = self._sides()
        examples = self._examples(judged, sides, texts, unshown)
        demonstrations = self._demonstrated(judged, sides, texts)
        left = {f"{tenant}\0{identity}" for tenant, identity, _ in self._counted} & judged.robots_named(self._evidence)
        ids = sorted(name for tenant, who, name in self._counted if f"{tenant}\0{who}" not in left)
        return DatasetContent(
            examples=table("examples", examples),
            demonstrations=table("demonstrations", demonstrations),
            feedback_ids=table("feedback_ids", [{"id": name} for name in ids]),
            record=self._record(judged, examples, demonstrations),
        )

    def _widen(self, what: str, seq: int) -> None:
        first, _ = self._ranges[what]
        self._ranges[what] = (first or seq, seq)

    def _refusal(self, impression: Impression) -> str:
        """Why an impression does not count; empty when it does."""
        if impression.arm == "shadow":
            return "shadow"  # nobody saw it
        if impression.coverage < 1 or impression.degraded:
            return "partial_or_degraded"
        if impression.key_id not in self._keys:
            return "key_without_feedback"  # its silence says nothing: it never sends any
        if query_id(impression.tenant, impression.query) in self._trusted:
            return "trusted_query"
        if self._releases is not None and not self._releases >= {impression.release, impression.challenger} - {""}:
            return "other_chunking"
        return ""

    # ------------------------------------------------------------------------------------------ queries

    def _sides(self) -> dict[str, Split]:
        """Query id -> side of the split; queries that are nearly a trusted one are not in it."""
        used = {query.id for query in self._evidence.queries} | self._demonstrations.queries()
        names = [*self._asked, *(name for name in self._trusted if name not in self._asked)]
        near = Nearness([self._asked.get(name) or self._trusted[name] for name in names])
        leaders = {name: near.leader(number) for number, name in enumerate(names)}
        barred = {leaders[name] for name in self._trusted}
        kept = {name for name in used if leaders[name] not in barred}
        self._left_out["query_near_a_trusted_one"] = len(used) - len(kept)
        self._left_out["query_near_another"] = len(kept) - len({leaders[name] for name in kept})
        sides = sides_of(names, near, self._seed)
        return {name: side for name, side in zip(names, sides, strict=True) if name in kept}

    # ------------------------------------------------------------------------------------------ rows

    def _examples(
        self, judged: _Judged, sides: Mapping[str, Split], texts: Texts, unshown: FindUnshown | None
    ) -> list[dict[str, Any]]:
        rows = []
        for number, item in enumerate(self._evidence.items):
            query = self._evidence.queries[item.query]
            if query.id not in sides:
                continue
            if judged.relevance.evidence[number] < LEAST_EVIDENCE:
                self._left_out["chunk_without_evidence"] += 1
                continue
            rows.append(self._row(item, sides[query.id], judged.row(number, item)))
        if unshown is not None:
            rows += self._unshown(sides, unshown)
        return self._with_texts(rows, texts)

    def _row(self, item: Item, side: Split, measured: Mapping[str, object]) -> dict[str, Any]:
        query = self._evidence.queries[item.query]
        return {
            "query_id": query.id,
            "query": query.text,
            "tenant": query.tenant,
            "groups": sorted(query.groups),
            "split": side,
            "chunk_id": item.chunk_id,
            "document_id": item.document_id,
            "features": list(item.features),
            **measured,
        }

    def _unshown(self, sides: Mapping[str, Split], find: FindUnshown) -> list[dict[str, Any]]:
        shown = {(self._evidence.queries[item.query].id, item.chunk_id) for item in self._evidence.items}
        measured = {"label": UNSHOWN_LABEL, "weight": UNSHOWN_WEIGHT, "shown": 0, "clicks": 0.0, "position": 0.0}
        rows = []
        for number, query in enumerate(self._evidence.queries):
            for found in find(query.tenant, query.text, tuple(sorted(query.groups))) if query.id in sides else ():
                if (query.id, found.chunk_id) not in shown:
                    item = Item(number, found.chunk_id, found.document_id, found.features)
                    rows.append(self._row(item, sides[query.id], {**measured, "judged": False}))
        return rows

    def _with_texts(self, rows: list[dict[str, Any]], texts: Texts) -> list[dict[str, Any]]:
        """The rows whose chunk is still there, with its text, in a fixed order."""
        found = texts(sorted({(row["tenant"], row["chunk_id"]) for row in rows}))
        kept = [row | asdict(found[place]) for row in rows if (place := (row["tenant"], row["chunk_id"])) in found]
        self._left_out["chunk_not_in_index"] += len(rows) - len(kept)
        order = ("tenant", "query_id", "judged", "position", "chunk_id")
        return sorted(kept, key=lambda row: tuple(not row[name] if name == "judged" else row[name] for name in order))

    def _demonstrated(self, judged: _Judged, sides: Mapping[str, Split], texts: Texts) -> list[dict[str, Any]]:
        def trust(tenant: str, identity: str) -> float:
            return judged.trust.get(f"{tenant}\0{identity}", HONEST)

        found = texts(sorted(self._demonstrations.places()))
        rows = self._learnable(trust, sides, found)
        shares = Shares.of(rows)
        rows = self._learnable(shares.trust(trust), sides, found)
        held_out = [row for row in rows if sides[row.query_id] == "held_out"]
        kept = set(shares.rationed(held_out))
        self._left_out["held_out_demonstration_over_a_share"] = len(held_out) - len(kept)
        self._left_out["identities_capped_in_demonstrations"] = sum(factor < 1 for factor in shares.factors.values())
        return [
            {
                **asdict(row),
                "split": sides[row.query_id],
                "sources": [asdict(found[row.tenant, chunk]) for chunk in row.sources],
            }
            for row in rows
            if row in kept or sides[row.query_id] == "train"
        ]

    def _learnable(
        self, trust: Trust, sides: Mapping[str, Split], found: Mapping[Place, ChunkText]
    ) -> list[Demonstration]:
        """Those of the queries that have a side, as far as all of their sources are there."""
        rows = [row for row in self._demonstrations.rows(trust) if row.query_id in sides]
        # Without what it was made from, an answer would teach to answer from nothing.
        whole = [row for row in rows if row.sources and all((row.tenant, chunk) in found for chunk in row.sources)]
        self._left_out["demonstration_without_its_sources"] = len(rows) - len(whole)
        return whole

    # ------------------------------------------------------------------------------------------ the record

    def _record(
        self, judged: _Judged, examples: Sequence[Mapping[str, Any]], demonstrations: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        sides = {row["query_id"]: row["split"] for row in (*examples, *demonstrations)}
        return {
            "impressions": {"seqs": list(self._ranges["impressions"]), "counted": len(self._evidence.asked_by)},
            "feedback": {"seqs": list(self._ranges["feedback"]), "counted": len(self._counted)},
            "left_out": {**dict(sorted(self._left_out.items())), **judged.left_out()},
            "split": {
                "rule": f"by the hash of a query; those that share {NEAR} of its terms later go where it went",
                "seed": self._seed,
                "held_out": HELD_OUT,
                "queries": dict(sorted(Counter(sides.values()).items())),
            },
            "tenants": sorted({row["tenant"] for row in (*examples, *demonstrations)}),
            "relevant": sum(row["label"] >= 0.5 for row in examples),
            **judged.record(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """The evidence, and what it comes to."""

    seen: Votes
    votes: Votes
    robots: Robots
    weight: Floats
    examination: propensity.Examination
    relevance: Relevance
    clicks: Floats
    trust: Mapping[str, float]

    @classmethod
    def of(cls, evidence: Evidence, rules: RobotRules) -> _Judged:
        seen = evidence.votes()
        robots = find_robots(evidence, seen, rules)
        person = (~robots.any).astype(np.float64)
        examination = propensity.estimate(seen, max(1, int(seen.position.max(initial=1))), person)
        votes = seen.once_each()
        opinions = evidence.opinions()
        spoken = np.bincount(votes.who, votes.clicked, len(person)) + np.bincount(opinions.who, minlength=len(person))
        weight = person * capped(spoken * person)
        positions = np.array([item.positions / item.shown for item in evidence.items])
        found = relevance.estimate(votes, opinions, positions, evidence.documents(), examination, weight)
        trust = found.honest * weight
        return cls(
            seen=seen,
            votes=votes,
            robots=robots,
            weight=weight,
            examination=examination,
            relevance=found,
            clicks=np.bincount(votes.item, votes.clicked * trust[votes.who], len(positions)).astype(np.float64),
            trust=dict(zip(evidence.identities, trust.tolist(), strict=True)),
        )

    def row(self, number: int, item: Item) -> dict[str, object]:
        """What was measured of an item. Rounded, so that the last bit of a sum cannot make another data set."""
        looks = float(self.relevance.evidence[number])
        return {
            "label": round(float(self.relevance.label[number]), 4),
            "weight": round(looks / (1 + looks), 4),
            "shown": item.shown,
            "clicks": round(float(self.clicks[number]), 3),
            "position": round(item.positions / item.shown, 3),
            "judged": True,
        }

    def robots_named(self, evidence: Evidence) -> set[str]:
        """Identities whose feedback counts for nothing."""
        return {evidence.identities[number] for number in np.flatnonzero(self.robots.any)}

    def left_out(self) -> dict[str, int]:
        """How many of what the filters of this class took out."""
        careless = (self.relevance.honest < 0.5) & ~self.robots.any
        return {
            "identities_too_fast": int(self.robots.too_fast.sum()),
            "identities_that_click_all": int(self.robots.clicks_all.sum()),
            "identities_of_one_position": int(self.robots.constant.sum()),
            "identities_that_disagree": int(careless.sum()),
            "documents_pushed": self.relevance.pushes,
            "identities_capped": int(((self.weight > 0) & (self.weight < 1)).sum()),
            "repeats": len(self.seen) - len(self.votes),
        }

    def record(self) -> dict[str, Any]:
        """What was estimated, for the record."""
        by_position = self.examination.by_position
        return {
            "identities": len(self.weight),
            "propensities": [round(float(value), 4) for value in by_position],
            "propensity_clicks": [round(float(value), 1) for value in self.examination.clicks],
            "randomised_share": round(propensity.swapped_share(self.seen), 4),
            "attentive_share": round(self.relevance.attentive, 3),
            "click_rates": {
                "relevant": np.round(self.relevance.hit, 3).tolist(),
                "irrelevant": np.round(self.relevance.noise, 3).tolist(),
            },
        }
