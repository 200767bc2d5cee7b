"""A small world for tests of curating: queries with known answers, and people who click as a click model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from kaizen.learning.click_model import PositionBased, hostile_clicks, noise_clicks
from kaizen.learning.curation import ChunkText, Curation, Place
from kaizen.learning.dataset import DatasetContent
from kaizen.records import Feedback, Impression, ShownChunk, identity_of

K = 10
PUSHED = frozenset({"hub-0", "hub-1"})
WORDS = ("amber", "basalt", "cobalt", "dolomite", "emerald", "feldspar", "garnet", "hematite", "iolite", "jasper")


def seeded(seed: int) -> Random:
    """Chance that is the same every time."""
    return Random(seed)  # noqa: S311 (a simulation)


def texts(places: Sequence[Place]) -> Mapping[Place, ChunkText]:
    """Every chunk is still there."""
    return {place: ChunkText("", f"text of {place[1]}") for place in places}


def impression(number: int, query: str, documents: Sequence[str], **fields: object) -> Impression:
    """What one search showed: the first chunk of each document."""
    shown = tuple(
        ShownChunk(
            chunk_id=f"{document}#0", document_id=document, position=place, score=1 / place,
            dense=0.5, lexical=1.0, propensity=1.0, features=(0.5, 0.25),
        )
        for place, document in enumerate(documents, start=1)
    )  # fmt: skip
    given: dict[str, Any] = {
        "id": f"imp-{number}", "at": 60.0 * number, "tenant": "t", "key_id": "key", "release": "r1", "index_seq": 1,
        "kind": "search", "query": query, "mode": "hybrid", "shown": shown, "answer": None, "coverage": 1.0,
        "degraded": (), "timings_ms": {},
    }  # fmt: skip
    return Impression(**{**given, **fields})


def judgement(number: int, on: Impression, kind: str = "click", **fields: object) -> Feedback:
    """Feedback of whoever made the impression."""
    given: dict[str, Any] = {
        "id": f"f-{number}", "at": on.at, "tenant": on.tenant, "impression_id": on.id, "kind": kind, "chunk_id": "",
        "value": 1.0 if kind == "click" else None, "text": "", "identity": on.identity, "idempotency_key": "",
    }  # fmt: skip
    return Feedback(**{**given, **fields})


@dataclass
class World:
    """Impressions and feedback, in order."""

    impressions: list[Impression] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)

    def show(self, query: str, documents: Sequence[str], clicked: Sequence[int] = (), **fields: object) -> Impression:
        """One search, and clicks on these places (from 0)."""
        shown = impression(len(self.impressions) + 1, query, documents, **fields)
        self.impressions.append(shown)
        for place in clicked:
            self.judge(shown, "click", chunk_id=shown.shown[place].chunk_id)
        return shown

    def judge(self, on: Impression, kind: str, **fields: object) -> Feedback:
        """One judgement on an impression."""
        given = judgement(len(self.feedback) + 1, on, kind, **fields)
        self.feedback.append(given)
        return given

    def curate(self, **options: object) -> DatasetContent:
        """What comes of it."""
        curation = Curation(enumerate(self.feedback, start=1), **options)
        for seq, shown in enumerate(self.impressions, start=1):
            curation.add(seq, shown)
        return curation.finish(texts)


def query_text(number: int) -> str:
    """Texts that share no term, as far as ten words and numbers go."""
    return f"{WORDS[number % 10]}{number} {WORDS[number * 7 % 10]}{number}x"


def answer_place(number: int) -> int:
    """Where (from 0) the answer to a query ranks: mostly first, for some queries down to the fifth place."""
    return (0, 0, 1, 0, 2, 0, 1, 3, 0, 4)[number % 10]


def ranking(number: int) -> list[str]:
    """Ten documents for a query: its answer, others of its own, and a hub that shows up everywhere."""
    own = [f"d{number}-{place}" for place in range(K)]
    own[5] = f"hub-{number % 2}"
    own[answer_place(number)] = f"answer-{number}"
    return own


def visited(
    queries: int,
    sessions: int,
    *,
    noise: float = 0.0,
    hostile: int = 0,
    people: int = 50,
    swaps: bool = False,
    seed: int = 1,
) -> World:
    """A world after people came: `hostile` of them push the hubs, a share `noise` of the sessions clicks anything."""
    world, model, chance = World(), PositionBased(), seeded(seed)
    for _ in range(sessions):
        for number in range(queries):
            person, documents, drawn = chance.randrange(people), ranking(number), 0
            if swaps:
                drawn = chance.randrange(1, K)
                if chance.random() < 0.5:
                    documents[drawn - 1 : drawn + 1] = documents[drawn - 1 : drawn + 1][::-1]
            relevant = [document == f"answer-{number}" for document in documents]
            if person < hostile:
                clicked = hostile_clicks(documents, PUSHED)
            elif chance.random() < noise:
                clicked = noise_clicks(K, chance)
            else:
                clicked = model.clicks(relevant, chance)
            shown = world.show(query_text(number), documents, clicked, user=f"person-{person}")
            if swaps:
                world.impressions[-1] = replace(shown, shown=tuple(_drawn(chunk, drawn) for chunk in shown.shown))
    return world


def _drawn(chunk: ShownChunk, upper: int) -> ShownChunk:
    return replace(chunk, propensity=0.5) if chunk.position in (upper, upper + 1) else chunk


def believed(content: DatasetContent) -> set[str]:
    """The documents that are labelled relevant to some query."""
    return {row["document_id"] for row in content.examples.to_pylist() if row["label"] >= 0.5}


def who(user: str) -> str:
    """Identity of a user of the one key."""
    return identity_of("key", user)
