"""Counting tokens the way the embedder counts them, fast enough to do it for every word of every document."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers

from kaizen.errors import BadModel

# What BERT's normaliser makes a space. Python's `\s` has control characters too (U+000B, U+001C, U+0085...), which
# BERT deletes instead, gluing the words around them together.
WORD = re.compile(r"[^\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_CACHED_WORDS = 200_000  # about 25 MB when full
_LONGEST_CACHED = 32


class TokenCounter:
    """Counts tokens of text under one tokenizer. Safe to share between threads.

    Words (what lies between blanks) are counted one by one and remembered: on English text that costs a third
    of encoding the text, and a thirtieth once the words are known. Under BERT's pre-tokenizer the sum over words
    is exact (`additive`); under others (byte-level BPE, sentencepiece) a blank may cost or save a token, and
    whoever needs a guarantee asks `count`.

    Args:
        prompt: what the embedder puts before every document; its tokens are counted among the `specials`.
        lowercase: the embedder lower-cases texts before its tokenizer sees them.
    """

    def __init__(self, tokenizer: Tokenizer, *, prompt: str = "", lowercase: bool = False) -> None:
        # Our own copy: the caller's truncation and padding must neither hide tokens from us nor be lost.
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A literal "[SEP]" in a document is seven characters of text, not a command to the model.
        self._tokenizer.encode_special_tokens = True
        self._lowercase = lowercase
        self.specials: int = self._tokenizer.num_special_tokens_to_add(False) + self.count(prompt)
        self.additive: bool = isinstance(self._tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer) and isinstance(
            self._tokenizer.normalizer, normalizers.BertNormalizer
        )
        self._words: dict[str, int] = {}

    @classmethod
    def from_directory(cls, directory: str | Path, *, prompt: str = "", lowercase: bool = False) -> TokenCounter:
        """Read `tokenizer.json` of a sentence-transformers directory.

        Raises:
            BadModel: the file is missing or is not a tokenizer.
        """
        path = Path(directory) / "tokenizer.json"
        if not path.is_file():
            raise BadModel(
                f"There is no tokenizer.json in {directory}.",
                advice="Name a directory that sentence-transformers saved, with a fast tokenizer.",
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the bindings raise bare Exception for a file they cannot read
            raise BadModel(f"{path} is not a tokenizer: {error}", advice="Save the model again.") from error
        return cls(tokenizer, prompt=prompt, lowercase=lowercase)

    def count(self, text: str) -> int:
        """Return the exact number of tokens of `text`, specials left out."""
        # The tokenizer refuses lone surrogates; what is stored has "?" in their place, and as many characters.
        text = text.encode("utf-8", "replace").decode()
        return len(self._tokenizer.encode(text.lower() if self._lowercase else text, add_special_tokens=False))

    def words(self, text: str, start: int = 0, end: int | None = None) -> int:
        """Return the number of tokens of `text[start:end]` as the sum over its words, specials left out."""
        return sum(map(self.word, WORD.findall(text, start, len(text) if end is None else end)))

    def word(self, word: str) -> int:
        """Return the number of tokens of one word."""
        known = self._words.get(word)
        if known is not None:
            return known
        tokens = self.count(word)
        if len(word) <= _LONGEST_CACHED:
            if len(self._words) >= _CACHED_WORDS:
                self._words.clear()
            self._words[word] = tokens
        return tokens
