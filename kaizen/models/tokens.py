"""The embedder's tokenizer: fast, without torch, shared by chunking, bulk embedding and queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer


class EmbedderTokenizer:
    """Counts and encodes as one embedder does. Safe to share between threads.

    Args:
        directory: holds `tokenizer.json`.
        max_tokens: inputs are cut to this many tokens, special tokens included.
        lowercase: lower-case texts first.
    """

    def __init__(self, directory: Path, *, max_tokens: int, lowercase: bool = False) -> None:
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        # Published files often carry padding and truncation of their own (MiniLM's: 128), which are not ours.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._counter = Tokenizer.from_str(self._tokenizer.to_str())
        self._tokenizer.enable_truncation(max_tokens)
        self._lowercase = lowercase
        self.max_tokens = max_tokens
        self.specials = len(self._counter.encode("").ids)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of each text, special tokens included, at most `max_tokens` each."""
        return [e.ids for e in self._tokenizer.encode_batch_fast([self._clean(t) for t in texts])]

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, special tokens not included, however long it is."""
        return len(self._counter.encode(self._clean(text), add_special_tokens=False).ids)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return `count` of each text, in one parallel call."""
        cleaned = [self._clean(t) for t in texts]
        return [len(e.ids) for e in self._counter.encode_batch_fast(cleaned, add_special_tokens=False)]

    def _clean(self, text: str) -> str:
        # A lone surrogate (possible in JSON) is no Unicode text and the tokenizer would raise on it.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return text.lower() if self._lowercase else text
