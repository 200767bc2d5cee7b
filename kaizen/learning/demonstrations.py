"""Answers that people wrote, or preferred to others: what a generator learns from.

A correction is an answer by example, and says that the answer it corrects was worse. Thumbs on answers to one query
make pairs: the best liked against each that was disliked. An identity has one vote on an answer to a query, its last,
and one correction of a query, its last; how far an identity is trusted is its weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kaizen.records import Feedback, Impression


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """One row of the data set's demonstrations.

    Attributes:
        sources: ids of the chunks that the answer was made from.
        chosen_by: identities that are trusted and wrote or liked `chosen`.
        carried_by: those whose vote its weight hangs on: of who likes the one and who dislikes the other, the fewer,
            or both where they are about as many.
    """

    tenant: str
    query_id: str
    query: str
    sources: tuple[str, ...]
    chosen: str
    rejected: str
    kind: Literal["correction", "preference"]
    weight: float
    chosen_by: frozenset[str]
    carried_by: frozenset[str]


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
_ABOUT = 2.0  # times as many votes are about as many
_Votes = Mapping[str, float]  # identity -> -1 to 1, times the trust in it; only those who are trusted


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

    def queries(self) -> set[str]:
        """Ids of the queries that anything was said about."""
        return set(self._questions)

    def places(self) -> set[tuple[str, str]]:
        """(tenant, chunk id) of all that answers were made from."""
        found: set[tuple[str, str]] = set()
        for question in self._questions.values():
            written = (answer.sources for answer in question.corrections.values())
            for sources in (*question.sources.values(), *written):
                found.update((question.tenant, chunk) for chunk in sources)
        return found

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
    written: dict[_Answered, dict[str, float]] = defaultdict(dict)
    for identity, answer in question.corrections.items():
        if trusted := trust(question.tenant, identity):
            written[answer][identity] = trusted
    return [_row(query_id, question, answer, "", votes) for answer, votes in written.items()]


def _preferences(query_id: str, question: _Question, trust: Trust) -> list[Demonstration]:
    said = _said(question, trust)
    liked = {answer: sum(votes.values()) for answer, votes in said.items()}
    best = max(liked, key=lambda answer: (liked[answer], answer.text), default=None)
    if best is None or liked[best] <= 0:
        return []
    return [
        _row(query_id, question, best, worse.text, said[best], {who: -value for who, value in said[worse].items()})
        for worse, score in sorted(liked.items(), key=lambda pair: pair[0].text)
        if score < 0 and worse.text != best.text
    ]


def _said(question: _Question, trust: Trust) -> Mapping[_Answered, _Votes]:
    """What was said of each answer. Whoever wrote one likes it."""
    said: dict[_Answered, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    votes = [(identity, _Answered(answer, question.sources[answer]), value)
             for (answer, identity), value in question.votes.items()]  # fmt: skip
    for identity, answer, value in [*votes, *((who, written, 1.0) for who, written in question.corrections.items())]:
        if trusted := trust(question.tenant, identity):
            said[answer][identity] += value * trusted
    return said


def _row(
    query_id: str, question: _Question, chosen: _Answered, rejected: str, liked: _Votes, *disliked: _Votes
) -> Demonstration:
    sides = (liked, *disliked)
    sums = [sum(side.values()) for side in sides]
    fewer = [side for side, total in zip(sides, sums, strict=True) if total <= _ABOUT * min(sums)]
    return Demonstration(
        tenant=question.tenant,
        query_id=query_id,
        query=question.text,
        sources=chosen.sources,
        chosen=chosen.text,
        rejected=rejected,
        kind="preference" if disliked else "correction",
        weight=min(1.0, *sums),
        chosen_by=_agreeing(liked),
        carried_by=_agreeing(*fewer),
    )


def _agreeing(*sides: _Votes) -> frozenset[str]:
    return frozenset(who for side in sides for who, value in side.items() if value > 0)
