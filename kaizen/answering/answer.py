"""From retrieved chunks to an answer that can be trusted, before a deadline, whatever the generator does.

Off topic: the honest word. Else the generator's text, if it ends in time and stands in its sources; else the
documents' own sentences, and `degraded` says why.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal, Protocol, cast

from kaizen.answering.abstain import relevance
from kaizen.answering.citations import Citation, cited, with_marks
from kaizen.answering.excerpt import excerpts
from kaizen.answering.extractive import extract
from kaizen.answering.groundedness import Claim, claims
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.marks import parse_marks
from kaizen.answering.prompt import INSTRUCTIONS, Prompt, build_prompt
from kaizen.answering.source import Source
from kaizen.config import Answering, GeneratorSettings
from kaizen.errors import DeadlineExceeded, KaizenError
from kaizen.models.generator import Message

NOT_IN_DOCUMENTS = "The documents do not hold an answer to this question."
# Not the same sentence: who judges a release counts the one above as its word, and the shards' silence is not.
NOT_IN_PART = "The part of the documents that could be searched does not hold an answer to this question."
_GENERATOR_ABSTAINS = "not in the documents"  # what the prompt asks it to say
_OTHER_TOKENS = 256  # of the context: instructions, titles, the question, the chat format
_RESERVED_SECONDS = 0.2  # kept back from the generator, to check its text or to extract
Reason = Literal["generator-timeout", "generator-unavailable", "ungrounded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the asker gets.

    Attributes:
        text: plain text with marks like [1]; escape it where it is shown as HTML.
        grounded: every sentence stands in its source.
        support: of its worst sentence, in [0, 1]; see `groundedness.claims`.
        degraded: why the generator's text was replaced by the documents' own sentences; empty when it was not.
        abstained: the documents, or what could be searched of them, do not hold an answer, and the text says so.
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
        instructions: what the prompt of the release tells the generator to do.
    """

    def __init__(self, answering: Answering, generator: GeneratorSettings, instructions: str = INSTRUCTIONS) -> None:
        self._settings = answering
        self._generator = generator
        self._instructions = instructions
        self._lexicon = Lexicon()

    def compose(
        self, question: str, sources: Sequence[Source], generator: Streams | None, *, deadline: float
    ) -> Answer:
        """Return the answer that `events` ends with."""
        *_, final = self.events(question, sources, generator, deadline=deadline)
        return cast(Final, final).answer

    def events(
        self,
        question: str,
        sources: Sequence[Source],
        generator: Streams | None,
        *,
        deadline: float,
        partial: bool = False,
    ) -> Generator[Delta | Final, None, None]:
        """Yield the generator's pieces as they come, then one `Final`, before `deadline`. Blocks while it waits.

        Args:
            sources: best first; the answer calls them [1], [2], and so on.
            generator: None gives the extractive answer, and that is no degradation.
            deadline: `time.monotonic()` seconds.
            partial: the sources are of a part of the documents: the others could not be searched.
        """
        if relevance(question, sources, self._lexicon) < self._settings.min_relevance:
            final = Final(_abstained(), replaced=False)
        elif generator is None:
            final = Final(self._extractive(question, sources), replaced=False)
        else:
            final = yield from self._generated(question, sources, generator, deadline - _RESERVED_SECONDS)
        if partial and final.answer.abstained:
            final = replace(final, answer=replace(final.answer, text=NOT_IN_PART))
        yield final

    def _generated(
        self, question: str, sources: Sequence[Source], generator: Streams, deadline: float
    ) -> Generator[Delta, None, Final]:
        tokens = prompt_tokens(self._settings, self._generator)
        quoted = excerpts(question, sources, self._lexicon, tokens=tokens)
        prompt = build_prompt(question, quoted, self._instructions)
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
        return Final(answer, replaced=bool(text) and _plain(answer.text, sources) != _plain(text, sources))

    def _extractive(self, question: str, sources: Sequence[Source], *degraded: Reason) -> Answer:
        text, found = extract(question, sources, self._lexicon)
        return _answer(text, found, sources, degraded) if found else _abstained(degraded)

    def _checked(self, question: str, sources: Sequence[Source], text: str, prompt: Prompt) -> Answer:
        """Keep the sentences up to the first that does not stand in the sources."""
        plain, marks = parse_marks(text.strip(), _texts(sources))
        if plain.lower().startswith(_GENERATOR_ABSTAINS):
            return _abstained()
        found = claims(plain, question, sources, self._lexicon, marks)
        good = list(takewhile(lambda claim: claim.support >= self._settings.min_support, found))
        if not good or prompt.marker in text:
            return self._extractive(question, sources, "ungrounded")
        return _answer(plain[: good[-1].end], good, sources, ())


def prompt_tokens(answering: Answering, generator: GeneratorSettings) -> int:
    """Tokens of the sources that a prompt may hold."""
    return min(answering.source_tokens, generator.context_tokens - _OTHER_TOKENS)


def _plain(text: str, sources: Sequence[Source]) -> str:
    return parse_marks(text.strip(), _texts(sources))[0]


def _texts(sources: Sequence[Source]) -> list[str]:
    return [source.text for source in sources]


def _answer(text: str, found: Sequence[Claim], sources: Sequence[Source], degraded: tuple[Reason, ...]) -> Answer:
    support = min(claim.support for claim in found)
    return Answer(
        text=with_marks(text, found), citations=cited(found, sources), grounded=True, support=support,
        degraded=degraded,
    )  # fmt: skip


def _abstained(degraded: tuple[Reason, ...] = ()) -> Answer:
    return Answer(text=NOT_IN_DOCUMENTS, grounded=True, support=1.0, degraded=degraded, abstained=True)
