"""Which token a generator learns to end an answer with, where its model names several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from kaizen.models.chat_model import end_of_answer

IM = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
TURNS = (
    "{% for m in messages %}<|user|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|user|>{% else %}<|endoftext|>{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
TEXT_END, TURN_END = 8, 9


def tokenizer(template: str, eos: str | None) -> Any:  # noqa: ANN401 (transformers' own)
    """Of letters and marks, as a transformers tokenizer. The end of a text has the lower number, as Qwen's has."""
    from transformers import PreTrainedTokenizerFast  # seconds

    words = {word: number for number, word in enumerate(["?", *"abm", "user", "assistant"])}
    made = Tokenizer(models.WordLevel(words, unk_token="?"))  # noqa: S106 (a token of text)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    for mark in ("<|user|>", "<|im_start|>", "<|endoftext|>", "<|im_end|>"):
        made.add_special_tokens([AddedToken(mark, special=True)])
    found = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?", eos_token=eos)  # noqa: S106
    found.chat_template = template
    assert found.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]) == [TEXT_END, TURN_END]
    return found


@pytest.mark.parametrize(
    ("template", "eos", "expected"),
    [
        (IM, "<|im_end|>", TURN_END),
        (IM, "<|endoftext|>", TURN_END),  # as in Llama 3's first tokenizer, or Gemma's
        (TURNS, "<|endoftext|>", TURN_END),
        (PLAIN, "<|im_end|>", TURN_END),
        (PLAIN, "<|endoftext|>", TEXT_END),
        (PLAIN, None, TEXT_END),
    ],
)
def test_it_is_the_one_that_the_template_puts_after_an_answer(template: str, eos: str | None, expected: int) -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[TURN_END, TEXT_END]))
    assert end_of_answer(model, tokenizer(template, eos)) == expected
