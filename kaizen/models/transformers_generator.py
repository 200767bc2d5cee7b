"""A causal language model run by transformers: a directory with safetensors, or a GGUF file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kaizen.config import GeneratorSettings
from kaizen.errors import DeadlineExceeded, InvalidInput, Unavailable
from kaizen.models.chat import Message, Wanted, always
from kaizen.models.chat_model import ends_of, load_chat_model
from kaizen.models.pump import LOOK_SECONDS

_PREFILL_TOKENS = 256  # the prompt is read in such pieces, and between two of them a request can be given up
_UNFINISHED = "\ufffd"  # what half a character decodes to


class TransformersGenerator:
    """Greedy text, token by token. Safe to call from many threads; requests run one after the other.

    Sets torch's thread count for the process when it runs on the CPU.
    """

    def __init__(self, settings: GeneratorSettings, record: Mapping[str, Any], path: Path) -> None:
        self.record = record
        self._turn = threading.Lock()
        self._context = settings.context_tokens
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self._device.type == "cpu":
            torch.set_num_threads(settings.threads)
        sixteen = self._device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self._tokenizer, model = load_chat_model(path, torch.bfloat16 if sixteen else torch.float32)
        self._ends = ends_of(model, self._tokenizer)
        self._model: Any = model.eval().to(self._device)

    def stream(
        self, prompt: Sequence[Message], *, max_tokens: int, deadline: float, wanted: Wanted = always
    ) -> Iterator[str]:
        """Yield pieces of text as they are made; see `chat.Generator.stream`."""
        tokens: list[int] = self._tokenizer.apply_chat_template(
            list(prompt), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        if len(tokens) > self._context:
            raise InvalidInput(f"The prompt has {len(tokens)} tokens; the generator reads {self._context}.",
                               advice="Lower answering.chunks, or raise generator.context_tokens.")  # fmt: skip
        if not self._gets_turn(deadline, wanted):
            return
        try:
            yield from self._pieces(tokens, max_tokens, deadline, wanted)
        finally:
            self._turn.release()

    def _gets_turn(self, deadline: float, wanted: Wanted) -> bool:
        """Wait for the turn; False when nobody wants it any more."""
        while wanted():
            left = max(0.0, deadline - time.monotonic())
            if self._turn.acquire(timeout=min(left, LOOK_SECONDS)):
                return True
            if left <= LOOK_SECONDS:
                raise _late()
        return False

    def _pieces(self, tokens: list[int], max_tokens: int, deadline: float, wanted: Wanted) -> Iterator[str]:
        if self._model is None:
            raise Unavailable("The generator has been closed.", advice="Open it again.")
        written: list[int] = []
        shown = ""
        for token in self._greedy(tokens, deadline, wanted):
            if token in self._ends:
                return
            written.append(token)
            text = self._tokenizer.decode(written, skip_special_tokens=True)
            if not text.endswith(_UNFINISHED):
                yield text[len(shown) :]
                shown = text
            if len(written) == max_tokens:
                return

    @torch.inference_mode()
    def _greedy(self, tokens: list[int], deadline: float, wanted: Wanted) -> Iterator[int]:
        """Yield the likeliest next token, again and again while it is wanted."""
        cache = None
        pending = [tokens[i : i + _PREFILL_TOKENS] for i in range(0, len(tokens), _PREFILL_TOKENS)]
        while True:
            for piece in pending:
                if time.monotonic() >= deadline:
                    raise _late()
                if not wanted():
                    return
                ids = torch.tensor([piece], device=self._device)
                out = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
            token = int(out.logits[0, -1].argmax())
            yield token
            pending = [[token]]

    def close(self) -> None:
        """Release the model. Idempotent."""
        with self._turn:
            self._model = None


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The generator did not end in time.", advice="Allow more time, or use a faster model.")
