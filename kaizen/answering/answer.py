"""From retrieved chunks to an answer that can be trusted, before a deadline, whatever the generator does.

Off topic: the honest word. Else the generator's text, if it ends in time and stands in its sources; else the
documents' own sentences, and `degraded` says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from kaizen.answering.abstain import is_off_topic
from kaizen.answering.citations import Citation, cited, strip_marks, with_marks
from kaizen.answering.extractive import extract
from kaizen.answering.groundedness import Claim, claims
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.prompt import Prompt, build_prompt
from kaizen.answering.source import Source
from kaizen.config import Answering, GeneratorSettings
from kaizen.errors import DeadlineExceeded, KaizenError
from kaizen.models.generator import Message

NOT_IN_DOCUMENTS = "The documents do not hold an answer to this question."
_RESERVED_SECONDS = 0.2  # kept back from the generator, to check its text or to extract
Reason = Literal["generator-timeout", "generator-unavailable", "ungrounded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the asker gets.

    Attributes:
        text: plain text with marks like [1]; escape it where it is shown as HTML.
        grounded: every sentence stands in its source.
        support: share of the worst sentence's meaning that stands in its source, in [0, 1].
        degraded: why the generator's text was replaced by the documents' own sentences; empty when it was not.
        abstained: the documents do not hold an answer, and the text says so.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    grounded: bool
    support: float
    degraded: tuple[Reason, ...] = ()
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the generator's text, shown before it is checked."""

    text: str


@dataclass(frozen=True, slots=True)
class Final:
    """The answer. `replaced`: it is not what the deltas said, and takes their place."""

    answer: Answer
    replaced: bool


class Streams(Protocol):
    """A generator near or far; see `models.generator.Generator.stream`. It must keep the deadline by itself."""

    def stream(self, prompt: Sequence[Message], *, max_tokens: int, deadline: float) -> Iterator[str]:
        """Yield pieces of text."""
        ...


class Composer:
    """Makes answers. Holds nothing between them; safe to share between threads.

    Args:
        answering: when to abstain and when an answer stands in its sources.
        generator: limits of the prompt and of the text.
    """

    def __init__(self, answering: Answering, generator: GeneratorSettings) -> None:
        self._settings = answering
        self._generator = generator
        self._lexicon = Lexicon()

    def compose(
        self, question: str, sources: Sequence[Source], generator: Streams | None, *, deadline: float
    ) -> Answer:
        """Return the answer that `events` ends with."""
        *_, final = self.events(question, sources, generator, deadline=deadline)
        return cast(Final, final).answer

    def events(
        self, question: str, sources: Sequence[Source], generator: Streams | None, *, deadline: float
    ) -> Iterator[Delta | Final]:
        """Yield the generator's pieces as they come, then one `Final`, before `deadline`. Blocks while it waits.

        Args:
            sources: best first; the answer calls them [1], [2], and so on.
            generator: None gives the extractive answer, and that is no degradation.
            deadline: `time.monotonic()` seconds.
        """
        if is_off_topic(question, sources, self._lexicon, self._settings):
            yield Final(_abstained(), replaced=False)
        elif generator is None:
            yield Final(self._extractive(question, sources), replaced=False)
        else:
            yield from self._generated(question, sources, generator, deadline - _RESERVED_SECONDS)

    def _generated(
        self, question: str, sources: Sequence[Source], generator: Streams, deadline: float
    ) -> Iterator[Delta | Final]:
        prompt = build_prompt(question, sources, context_tokens=self._generator.context_tokens)
        text = ""
        try:
            for piece in generator.stream(prompt.messages, max_tokens=self._generator.max_tokens, deadline=deadline):
                text += piece
                yield Delta(piece)
        except DeadlineExceeded:
            answer = self._extractive(question, sources, "generator-timeout")
        except KaizenError:
            answer = self._extractive(question, sources, "generator-unavailable")
        else:
            answer = self._checked(question, sources, text, prompt)
        yield Final(answer, replaced=bool(text) and bool(answer.degraded or answer.abstained))

    def _extractive(self, question: str, sources: Sequence[Source], *degraded: Reason) -> Answer:
        text, found = extract(question, sources, self._lexicon)
        return _answer(text, found, sources, degraded) if found else _abstained(degraded)

    def _checked(self, question: str, sources: Sequence[Source], text: str, prompt: Prompt) -> Answer:
        plain, _ = strip_marks(text.strip(), len(sources))
        if plain.lower().startswith("not in the documents"):
            return _abstained()
        found = claims(plain, sources, self._lexicon)
        good = [claim for claim in found if claim.support >= self._settings.min_support]
        if prompt.marker in text or not found or good != found:
            return self._extractive(question, sources, "ungrounded")
        return _answer(plain, found, sources, ())


def _answer(text: str, found: Sequence[Claim], sources: Sequence[Source], degraded: tuple[Reason, ...]) -> Answer:
    support = min(claim.support for claim in found)
    return Answer(
        text=with_marks(text, found), citations=cited(found, sources), grounded=True, support=support,
        degraded=degraded,
    )  # fmt: skip


def _abstained(degraded: tuple[Reason, ...] = ()) -> Answer:
    return Answer(text=NOT_IN_DOCUMENTS, grounded=True, support=1.0, degraded=degraded, abstained=True)
