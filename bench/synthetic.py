"""Chunks of any number at next to no cost: synthetic vectors in clusters, synthetic words with Zipf's frequencies.

Fitted to 1,200 passages of squad2 under the default embedder (in brackets what this world has at 20,000 chunks): the
median cosine of a chunk's nearest neighbour .70 (.60), of its tenth .53 (.50), of any two .03 +- .12 (.01 +- .11);
of a query's nearest chunk .59 (.60), of its tenth .40 (.38); half of the variance lies in 24 of 384 dimensions (28).

A chunk is of one of `chunks / 20` topics, which lie in domains of 50: its vector is a sum of three Gaussians with that
spectrum, and of its 40 words about a third are those of its topic. A query has a vector near that of a chunk, three
words of the chunk's topic, two that it shares with the chunk, and three of the words that most chunks hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kaizen.retrieval.chunk_table import SCHEMA

DIM = 384
TENANT = "bench"
TOPIC_CHUNKS, DOMAIN_TOPICS = 20, 50
ASKED = 1  # of the seed of the queries; whoever tunes an index draws them with another, so that these stay unseen
CHUNK_WORDS, TOPIC_WORDS = 40, 30
COMMON_WORDS, RARE_WORDS = 50_000, 150_000
_CONSONANTS, _VOWELS = "bdfghjklmnprstvzwxcq", "aeiou"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query: its vector (DIM,) float32 and its text."""

    vector: np.ndarray
    text: str


class World:
    """Where `chunks` chunks come from. The same seed gives the same ones."""

    def __init__(self, chunks: int, seed: int = 0) -> None:
        self.chunks = chunks
        self._seed = seed
        self._chance = np.random.default_rng(seed)
        spectrum = 1 / (np.arange(DIM) + 12.0) ** 1.25
        self._scale = np.sqrt(spectrum / spectrum.sum()).astype(np.float32)
        topics = max(1, chunks // TOPIC_CHUNKS)
        domains = self._gaussian(max(1, topics // DOMAIN_TOPICS))
        own = self._chance.integers(0, len(domains), topics)
        self._topics = np.sqrt(0.22) * domains[own] + np.sqrt(0.28) * self._gaussian(topics)  # (topics, DIM)
        self._words = np.array([_word(number) for number in range(COMMON_WORDS + RARE_WORDS)], object)
        self._common = np.cumsum(1 / np.arange(1, COMMON_WORDS + 1))
        self._common /= self._common[-1]

    def batches(self, size: int, questions: int) -> Iterator[tuple[pa.Table, np.ndarray, list[Question]]]:
        """The chunks in batches of at most `size`: table (chunk_table.SCHEMA), vectors, and queries near some of them.

        `questions`: how many there are in all.
        """
        starts = range(0, self.chunks, size)
        for number, first in enumerate(starts):
            self._chance = np.random.default_rng([self._seed, number])  # each batch is the same whatever came before
            rows = min(size, self.chunks - first)
            topics = self._chance.integers(0, len(self._topics), rows)
            vectors = _normalised(self._topics[topics] + np.sqrt(0.5) * self._gaussian(rows))
            words = self._text(topics)
            wanted = (number + 1) * questions // len(starts) - number * questions // len(starts)
            self._chance = np.random.default_rng([self._seed, number, ASKED])
            near = self._chance.integers(0, rows, wanted)
            asked = [self._question(vectors[row], topics[row], words[row]) for row in near]
            yield self._table(first, topics, words), vectors, asked

    def _gaussian(self, rows: int) -> np.ndarray:
        drawn: np.ndarray = self._chance.standard_normal((rows, DIM), dtype=np.float32) * self._scale
        return drawn

    def _common_words(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.searchsorted(self._common, self._chance.random(shape))

    def _topic_words(self, topics: np.ndarray, count: int) -> np.ndarray:
        """(len(topics), count): numbers of words of each topic, its first ones most often."""
        which = (TOPIC_WORDS * self._chance.random((len(topics), count)) ** 2).astype(np.int64)
        return COMMON_WORDS + (topics[:, None] * 7919 + which * 104_729) % RARE_WORDS

    def _text(self, topics: np.ndarray) -> np.ndarray:
        words = self._common_words((len(topics), CHUNK_WORDS))
        of_topic = self._chance.random(words.shape) < 1 / 3
        return np.where(of_topic, self._topic_words(topics, CHUNK_WORDS), words)

    def _question(self, vector: np.ndarray, topic: int, words: np.ndarray) -> Question:
        near = _normalised(0.6 * vector + np.sqrt(0.6) * self._gaussian(1)[0])
        own = self._topic_words(np.array([topic]), 3)[0]
        shared = self._chance.choice(words, 2)
        frequent = self._chance.integers(0, 30, 3)
        return Question(vector=near, text=self._spelt(np.concatenate([own, shared, frequent])))

    def _spelt(self, words: np.ndarray) -> str:
        return " ".join(self._words[words])

    def _table(self, first: int, topics: np.ndarray, words: np.ndarray) -> pa.Table:
        rows = len(topics)
        texts = [self._spelt(row) for row in words]
        titles = [self._spelt(row) for row in COMMON_WORDS + (topics[:, None] * 7919 + [0, 104_729]) % RARE_WORDS]
        columns = {
            "tenant": [TENANT] * rows,
            "document_id": [f"chunk-{number}" for number in range(first, first + rows)],
            "ordinal": [0] * rows,
            "title": titles,
            "text": texts,
            "start": [0] * rows,
            "end": [len(text) for text in texts],
            "metadata": ["{}"] * rows,
            "groups": [[]] * rows,
            "source": ["synthetic"] * rows,
        }
        return pa.table(columns, schema=SCHEMA)


def _normalised(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit


def _word(number: int) -> str:
    """Three syllables and a letter that no stemmer takes off: all different."""
    syllables = []
    for _ in range(3):
        number, syllable = divmod(number, 100)
        syllables.append(_CONSONANTS[syllable // 5] + _VOWELS[syllable % 5])
    return "".join(syllables) + "k"
