"""The embedder's tokenizer: fast, without torch, shared by bulk embedding and queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from kaizen.errors import BadModel


class EmbedderTokenizer:
    """Encodes as one embedder does. Safe to share between threads.

    Args:
        directory: holds `tokenizer.json`.
        max_tokens: inputs are cut to this many tokens, special tokens included.
        lowercase: lower-case texts first.
    """

    def __init__(self, directory: Path, *, max_tokens: int, lowercase: bool = False) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # the bindings raise bare Exception for a file they cannot read
            raise BadModel(f"There is no readable tokenizer.json in {directory}.", advice="Fetch it again.") from error
        # Published files often carry padding and truncation of their own (MiniLM's: 128), which are not ours.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        # A literal "[SEP]" in a document is text, not a command to the model.
        self._tokenizer.encode_special_tokens = True
        self._lowercase = lowercase

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of each text, special tokens included, at most `max_tokens` each."""
        return [e.ids for e in self._tokenizer.encode_batch_fast([self._clean(t) for t in texts])]

    def _clean(self, text: str) -> str:
        # A lone surrogate (possible in JSON) is no Unicode text and the tokenizer would raise on it.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return text.lower() if self._lowercase else text
