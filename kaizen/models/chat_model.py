"""A causal language model that chats, and its tokenizer: from a directory with safetensors, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from kaizen.errors import BadModel


def load_chat_model(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return transformers' tokenizer and model of `path`, which `location.check_safe` has seen.

    Raises:
        BadModel: transformers cannot open it, or it has no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # seconds, which `ends_of` need not cost
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path), "local_files_only": True}
    if path.is_file():
        where = where | {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(**where, trust_remote_code=False, dtype=dtype)
    except (ImportError, OSError, ValueError, KeyError) as error:
        advice = "Use a causal chat model; for a GGUF file one whose architecture transformers knows."
        raise BadModel(f"transformers cannot open {path.name!r}.", advice=advice) from error
    if not tokenizer.chat_template:
        raise BadModel(f"{path.name!r} has no chat template.", advice="Use an instruction-tuned model.")
    return tokenizer, model


def ends_of(model: Any, tokenizer: Any) -> frozenset[int]:  # noqa: ANN401 (transformers' own)
    """The tokens that end an answer."""
    of_model = model.generation_config.eos_token_id
    ends = of_model if isinstance(of_model, list) else [of_model]
    return frozenset(token for token in (*ends, tokenizer.eos_token_id) if token is not None)


def end_of_answer(model: Any, tokenizer: Any) -> int:  # noqa: ANN401 (transformers' own)
    """The token that a generator learns to end an answer with, of those that do.

    That which the chat template puts after an answer: it is what the model was taught. Where it puts none, the
    tokenizer's own. Models name further ones, such as the end of a text, in any order.
    """
    ends = ends_of(model, tokenizer)
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    asked = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, tokenize=True, return_dict=False)
    whole = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    own = (token for token in (tokenizer.eos_token_id, *sorted(ends)) if token is not None)
    end: int = next((token for token in whole[len(asked) :] if token in ends), next(own))
    return end
