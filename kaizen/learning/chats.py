"""Demonstrations of a data set as what generators learn from: a prompt as they will read it, and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kaizen.answering.answer import prompt_tokens
from kaizen.answering.excerpt import excerpts
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.marks import parse_marks
from kaizen.answering.prompt import build_prompt
from kaizen.answering.source import Source
from kaizen.config import Answering, GeneratorSettings
from kaizen.errors import InvalidInput
from kaizen.models.chat import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """One demonstration.

    Attributes:
        prompt: what the generator is asked.
        chosen: the answer to learn.
        rejected: the one that it is preferred to; empty: imitate `chosen`.
        weight: trust in it.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    weight: float


def chats(
    demonstrations: pa.Table, answering: Answering, generator: GeneratorSettings, instructions: str
) -> list[Chat]:
    """Return the training demonstrations in an order that does not depend on that of the rows.

    The prompts are those that `answering.Composer` would write for the same sources.

    Raises:
        InvalidInput: there is none of any weight.
    """
    lexicon = Lexicon()
    rows = [row for row in demonstrations.to_pylist() if row["split"] == "train" and row["weight"] > 0]
    rows.sort(key=lambda row: (row["query_id"], row["kind"], row["chosen"], row["rejected"]))
    made = [
        Chat(
            prompt=_prompt(row, answering, generator, instructions, lexicon),
            chosen=_plain(row["chosen"], row),
            rejected=_plain(row["rejected"], row),
            weight=row["weight"],
        )
        for row in rows
        if row["chosen"].strip()
    ]
    if not made:
        raise InvalidInput("The data set has no demonstrations.", advice="Collect corrections and thumbs first.")
    return made


def _prompt(
    row: Mapping[str, Any], answering: Answering, generator: GeneratorSettings, instructions: str, lexicon: Lexicon
) -> tuple[Message, ...]:
    sources = [_source(source) for source in row["sources"]]
    quoted = excerpts(row["query"], sources, lexicon, tokens=prompt_tokens(answering, generator))
    return build_prompt(row["query"], quoted, instructions).messages


def _plain(text: str, row: Mapping[str, Any]) -> str:
    """Without the marks of sources: in answers that were shown they are the composer's, and no generator is to learn
    them."""
    return parse_marks(text, [source["text"] for source in row["sources"]])[0]


def _source(source: Mapping[str, str]) -> Source:
    return Source(chunk_id="", document_id="", title=source["title"], text=source["text"], score=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A prompt and one answer to it, as token ids."""

    prompt: Sequence[int]
    answer: Sequence[int]


def tokenised(
    prompt: Sequence[Message],
    answer: str,
    tokenizer: Any,  # noqa: ANN401 (transformers' own)
    *,
    end: int,
    longest_answer: int,
) -> Tokens:
    """Encode as `TransformersGenerator` does, with the token that ends an answer behind it.

    One that is longer than `longest_answer` tokens is cut there and has no end: it would teach to end in mid-sentence.
    What is left teaches how the answer begins, which is all that a generator that writes no more tokens could give.
    """
    asked = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=True, return_dict=False)
    written = tokenizer(answer, add_special_tokens=False)["input_ids"]
    whole = len(written) <= longest_answer
    return Tokens(prompt=asked, answer=[*written, end] if whole else written[:longest_answer])
