"""What a generator learns from is what it will be asked, and only the answer counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from kaizen.answering.answer import Composer
from kaizen.answering.source import Source
from kaizen.config import Answering, GeneratorSettings
from kaizen.errors import InvalidInput
from kaizen.learning.chats import Tokens, chats, tokenised
from kaizen.learning.dataset import table
from kaizen.learning.losses import answer_log_probabilities
from kaizen.models.chat_model import load_chat_model
from kaizen.models.generator import Message
from tests.unit.models.tiny_llama import write_tiny_llama

TEXT = "The pump is greased every 500 hours. " * 30 + "Replace the seal when water drips from the pump."
QUESTION = "When is the seal of the pump replaced?"


def row(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "query_id": "q", "query": QUESTION, "tenant": "default", "split": "train",
        "sources": [{"title": "Pumps", "text": TEXT}, {"title": "", "text": "Valves are closed by hand."}],
        "chosen": "When water drips.", "rejected": "", "kind": "correction", "weight": 1.0,
    } | changes  # fmt: skip


class Listener:
    """A generator that keeps what it is asked."""

    def stream(self, prompt: Sequence[Message], *, max_tokens: int, deadline: float) -> Iterator[str]:
        self.asked = tuple(prompt)
        yield "x"


def test_marks_of_sources_are_not_learnt() -> None:
    shown = row(chosen="When water drips [1].", rejected="Every 500 hours [1, 2].", kind="preference")
    (chat,) = chats(table("demonstrations", [shown]), Answering(), GeneratorSettings(), "Answer.")
    assert (chat.chosen, chat.rejected) == ("When water drips.", "Every 500 hours.")


def test_the_prompt_is_the_one_that_an_answer_is_made_with() -> None:
    answering, generator = Answering(min_relevance=-2), GeneratorSettings()
    (chat,) = chats(table("demonstrations", [row()]), answering, generator, "Answer.")
    listener = Listener()
    sources = [
        Source(chunk_id=str(i), document_id="", title=s["title"], text=s["text"], score=1.0, cosine=0.9)
        for i, s in enumerate(row()["sources"])
    ]
    Composer(answering, generator, "Answer.").compose(QUESTION, sources, listener, deadline=time.monotonic() + 60)
    assert chat.prompt == listener.asked
    assert "\u2026" in chat.prompt[1]["content"], "the source is too long to be read whole"


def test_held_out_and_untrusted_demonstrations_are_left_out() -> None:
    rows = [row(split="held_out"), row(weight=0.0), row(chosen=" ")]
    with pytest.raises(InvalidInput, match="no demonstrations"):
        chats(table("demonstrations", rows), Answering(), GeneratorSettings(), "Answer.")


def test_padding_changes_no_log_probability_and_the_prompt_does_not_count(tmp_path: Path) -> None:
    from train.generator import Instructed, left_padded  # and with it Ray

    tokenizer, model = load_chat_model(write_tiny_llama(tmp_path), torch.float32)
    asked = (("hello", "abc"), ("hi", "x"), ("good morning", "abcdef"), ("hey", "abcd"))
    ends = [
        tokenised([{"role": "user", "content": question}], answer, tokenizer, end=27, longest_answer=4)
        for question, answer in asked
    ]
    assert ends[0] == Tokens(prompt=[7, 4, 11, 11, 14], answer=[0, 1, 2, 27])
    assert list(ends[2].answer) == [0, 1, 2, 3], "cut to the longest answer: no end where the answer has none"
    assert list(ends[3].answer) == [0, 1, 2, 3, 27], "one of just that length is whole"
    batch = left_padded(ends)
    with torch.inference_mode():
        total, count = answer_log_probabilities(Instructed(model, 0.1, compares=False).logits(batch), batch["labels"])
        alone = [_by_hand(model, one) for one in ends]
    assert total.tolist() == pytest.approx(alone, abs=1e-4)
    assert count.tolist() == [4, 2, 4, 5]


def _by_hand(model: Any, one: Tokens) -> float:  # noqa: ANN401 (transformers' own)
    ids = torch.tensor([[*one.prompt, *one.answer]])
    scores = torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)
    first = len(one.prompt)
    return sum(float(scores[first + i - 1, token]) for i, token in enumerate(one.answer))
