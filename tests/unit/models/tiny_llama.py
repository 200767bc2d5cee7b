"""A one-layer Llama with random weights and a tokenizer of letters, as a transformers directory."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def write_tiny_llama(directory: Path) -> Path:
    """Write the model and return its directory."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # seconds

    letters = {chr(97 + i): i for i in range(26)} | {"?": 26, "</s>": 27}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="?"))  # noqa: S106 (a token of text)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="?")  # noqa: S106
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=28, eos_token_id=27, bos_token_id=None, **shape)).save_pretrained(directory)
    return directory
