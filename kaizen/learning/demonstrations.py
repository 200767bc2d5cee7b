"""Answers that people wrote, or preferred to others: what a generator learns from.

A correction is an answer by example, and says that the answer it corrects was worse. Thumbs on answers to one query
make pairs: the best liked against each that was disliked. An identity has one vote on an answer to a query, its last,
and one correction of a query, its last; how far an identity is trusted is its weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kaizen.records import Feedback, Impression


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """One row of the data set's demonstrations; `sources`: ids of the chunks that the answer was made from."""

    tenant: str
    query_id: str
    query: str
    sources: tuple[str, ...]
    chosen: str
    rejected: str
    kind: Literal["correction", "preference"]
    weight: float


@dataclass(frozen=True, slots=True)
class _Answered:
    text: str
    sources: tuple[str, ...]


@dataclass(slots=True)
class _Question:
    """All that was said of the answers to one query, by identity."""

    tenant: str
    text: str
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)  # answer -> what it was made from
    votes: dict[tuple[str, str], float] = field(default_factory=dict)  # (answer, identity) -> -1 to 1, its last
    corrections: dict[str, _Answered] = field(default_factory=dict)  # identity -> what it wrote


Trust = Callable[[str, str], float]


class Demonstrations:
    """Collects judgements on whole impressions. Call `add` in the order of the ledger."""

    def __init__(self) -> None:
        self._questions: dict[str, _Question] = {}

    def add(
        self,
        query_id: str,
        impression: Impression,
        feedback: Sequence[Feedback],
        value: Callable[[Feedback], float | None],
    ) -> list[str]:
        """Count what was said of the whole of an impression; return the ids of the feedback that counted.

        Args:
            value: what a thumb or a rating says, from -1 to 1; 0 takes a vote back, None is no vote.
        """
        counted = []
        sources = tuple(chunk.chunk_id for chunk in impression.shown)
        for given in feedback:
            if given.kind == "correction":
                question = self._question(query_id, impression)
                question.corrections[given.identity] = _Answered(given.text.strip(), sources)
                self._vote(question, impression, sources, given.identity, -1.0)
                counted.append(given.id)
            elif impression.answer and not given.chunk_id and (said := value(given)) is not None:
                self._vote(self._question(query_id, impression), impression, sources, given.identity, said)
                counted.append(given.id)
        return counted

    def queries(self) -> dict[str, str]:
        """Query id -> text of the queries that anything was said about."""
        return {query_id: question.text for query_id, question in self._questions.items()}

    def rows(self, trust: Trust) -> list[Demonstration]:
        """All demonstrations, ordered by query. `trust(tenant, identity)` is from 0 (left out) to 1."""
        found = []
        for query_id, question in sorted(self._questions.items()):
            found += _corrections(query_id, question, trust)
            found += _preferences(query_id, question, trust)
        return found

    def _question(self, query_id: str, impression: Impression) -> _Question:
        return self._questions.setdefault(query_id, _Question(impression.tenant, impression.query))

    @staticmethod
    def _vote(question: _Question, impression: Impression, sources: tuple[str, ...], who: str, said: float) -> None:
        if impression.answer:
            question.sources.setdefault(impression.answer, sources)
            question.votes[impression.answer, who] = said


def _corrections(query_id: str, question: _Question, trust: Trust) -> list[Demonstration]:
    weights: dict[_Answered, float] = defaultdict(float)
    for identity, written in question.corrections.items():
        weights[written] += trust(question.tenant, identity)
    return [
        _row(query_id, question, written, "", "correction", weight) for written, weight in weights.items() if weight > 0
    ]


def _preferences(query_id: str, question: _Question, trust: Trust) -> list[Demonstration]:
    liked: dict[_Answered, float] = defaultdict(float)
    for (answer, identity), said in question.votes.items():
        liked[_Answered(answer, question.sources[answer])] += said * trust(question.tenant, identity)
    for identity, written in question.corrections.items():
        liked[written] += trust(question.tenant, identity)
    best = max(liked, key=lambda answer: (liked[answer], answer.text), default=None)
    if best is None or liked[best] <= 0:
        return []
    return [
        _row(query_id, question, best, worse.text, "preference", min(liked[best], -score))
        for worse, score in sorted(liked.items(), key=lambda pair: pair[0].text)
        if score < 0 and worse.text != best.text
    ]


def _row(
    query_id: str,
    question: _Question,
    chosen: _Answered,
    rejected: str,
    kind: Literal["correction", "preference"],
    weight: float,
) -> Demonstration:
    return Demonstration(
        tenant=question.tenant,
        query_id=query_id,
        query=question.text,
        sources=chosen.sources,
        chosen=chosen.text,
        rejected=rejected,
        kind=kind,
        weight=min(1.0, weight),
    )
