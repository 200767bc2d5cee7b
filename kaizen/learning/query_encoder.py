"""Rung 2: the encoder of queries learns while the documents' vectors stay as they are.

Nothing needs to be embedded again, so the index is untouched and a step costs one batch of short texts. The loss is
taken on the score that users get, cosine and BM25 together: what words find already teaches nothing, and the encoder
learns what they miss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kaizen.errors import BadModel, InvalidInput
from kaizen.evaluation.ranking import dcg
from kaizen.models.batches import padded
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.encoder import load_encoder, pool
from kaizen.models.tokens import EmbedderTokenizer

_NEVER = -1e9  # a score that no document has: stands for what is not in a query's sight


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryExample:
    """One query, the chunks that compete for it, and the documents that answer it.

    Attributes:
        rows: (m,) int64 rows of the index's vectors: the candidates of the product's own search.
        lexical: (m,) float32: BM25's part of each candidate's score, weighted as the release weights it.
        answers: document number -> trust, above 0 (numbers as in `IndexRows.documents`).
    """

    text: str
    rows: np.ndarray
    lexical: np.ndarray
    answers: dict[int, float]

    @property
    def trust(self) -> float:
        """What the query counts for: the trust in its best answer, at most 1."""
        return min(1.0, max(self.answers.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEncoderPlan:
    """How it learns.

    Attributes:
        epochs, max_steps: passes over the queries, and the most steps that all of them may take.
        batch: queries of a step; the candidates of each are negatives of all the others.
        temperature: of the softmax over scores that lie between 0 and about 1.
        dense_weight: of the cosine in a score, as the release has it.
    """

    epochs: int = 8
    max_steps: int = 600
    batch: int = 16
    learning_rate: float = 1e-4
    temperature: float = 0.035
    dense_weight: float = 0.4
    lexical_weight: float = 1.0
    seed: int = 0

    def steps(self, examples: int) -> int:
        """Steps in all."""
        return min(self.max_steps, self.epochs * math.ceil(examples / self.batch))


Progress = Callable[[int, int, float], None]  # step, steps, loss
VALIDATION = 7  # every so many-th query teaches nothing and tells when to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """How it went. `losses`: of every step. `validation`: nDCG@10 on the queries kept back, before and after each
    epoch. `epoch`: the one (from 1) whose weights were kept: the best of them on these queries."""

    losses: tuple[float, ...]
    validation: tuple[float, ...]
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEncoder:
    """An encoder that turns queries into vectors, and can learn. `model`: transformers' own."""

    model: Any
    spec: EmbedderSpec
    tokenizer: EmbedderTokenizer

    @classmethod
    def open(cls, spec: EmbedderSpec, directory: Path) -> QueryEncoder:
        """Open the encoder of `spec` from its checked directory. Raises BadModel."""
        tokenizer = EmbedderTokenizer(directory, max_tokens=spec.max_tokens, lowercase=spec.lowercase)
        return cls(model=load_encoder(directory), spec=spec, tokenizer=tokenizer)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts -> (n, dim) float32, through which gradients go."""
        tokens = self.tokenizer.encode([self.spec.query_prompt + text for text in texts])
        ids, mask = (torch.from_numpy(array) for array in padded(tokens, max(map(len, tokens))))
        return pool(self.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask, self.spec.pooling)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (n, dim) float32, as the encoder is at this moment of its training."""
        training = self.model.training
        self.model.eval()
        vectors: np.ndarray = self(texts).numpy()
        self.model.train(training)
        return vectors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IndexRows:
    """What is searched. `vectors`: (rows, dim) float32 of the index; `documents`: (rows,) int64, which document each
    row is of."""

    vectors: np.ndarray
    documents: np.ndarray

    def answered(self, examples: Sequence[QueryExample]) -> list[QueryExample]:
        """Those with an answer among their candidates."""
        return [example for example in examples if set(example.answers) & set(self.documents[example.rows].tolist())]


def learn_query_encoder(
    encoder: QueryEncoder,
    examples: Sequence[QueryExample],
    index: IndexRows,
    plan: QueryEncoderPlan,
    progress: Progress,
) -> Learnt:
    """Train `encoder` in place. The same arguments give the same weights.

    One query in seven is kept back, and the weights of the epoch that ranks these best are kept: how long learning
    helps differs between collections (2 epochs on one, 8 on another). The word embeddings stay frozen: they are half
    of a small encoder, and the few words that clicks touch would drift away from all the others.

    Raises:
        InvalidInput: no query has an answer among its candidates. BadModel: the loss is not a number any more.
    """
    useful = index.answered(examples)
    if not useful:
        raise InvalidInput("No query has an answer among its candidates.", advice="Collect more feedback first.")
    torch.manual_seed(plan.seed)
    encoder.model.embeddings.requires_grad_(False)
    encoder.model.train()
    weights = [weight for weight in encoder.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate, weight_decay=0.01)
    teaching, kept_back = _split(useful)
    steps = plan.steps(len(teaching))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses: list[float] = []
    judge = _Validation(encoder, kept_back, index, plan)
    for batch, ends_epoch in _batches(teaching, plan, steps):
        loss = _loss(encoder([example.text for example in batch]), batch, index, plan)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise BadModel("Learning diverged: the loss is not a number.", advice="Lower the learning rate.")
        progress(len(losses), steps, losses[-1])
        if ends_epoch:
            judge.look()
    epoch = judge.restore_best()
    encoder.model.eval()
    return Learnt(losses=tuple(losses), validation=tuple(judge.found), epoch=epoch)


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: up in a line for a tenth of the steps, then down along a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _split(examples: Sequence[QueryExample]) -> tuple[list[QueryExample], list[QueryExample]]:
    """Those that teach, and those kept back; all teach where there are too few to keep any."""
    if len(examples) < 2 * VALIDATION:
        return list(examples), []
    kept_back = list(examples[::VALIDATION])
    return [example for number, example in enumerate(examples) if number % VALIDATION], kept_back


class _Validation:
    """nDCG@10 of the queries kept back, epoch by epoch, and the weights that gave the best."""

    def __init__(
        self, encoder: QueryEncoder, examples: Sequence[QueryExample], index: IndexRows, plan: QueryEncoderPlan
    ) -> None:
        self._encoder, self._examples, self._index, self._plan = encoder, examples, index, plan
        self._best: dict[str, torch.Tensor] = {}
        self.found: list[float] = [self._measure()] if examples else []

    def look(self) -> None:
        """Measure, and remember the weights when they are the best after any epoch so far."""
        if not self._examples:
            return
        self.found.append(self._measure())
        if self.found[-1] >= max(self.found[1:]):
            self._best = {name: value.clone() for name, value in self._encoder.model.state_dict().items()}

    def restore_best(self) -> int:
        """Put the best weights back and return their epoch; without queries kept back, the last (0)."""
        if not self._best:
            return 0
        self._encoder.model.load_state_dict(self._best)
        return len(self.found) - 1 - int(np.argmax(self.found[:0:-1]))

    def _measure(self) -> float:
        queries = self._encoder.embed([example.text for example in self._examples])
        pairs = zip(self._examples, queries, strict=True)
        return float(np.mean([self._ndcg(example, query) for example, query in pairs]))

    def _ndcg(self, example: QueryExample, query: np.ndarray) -> float:
        """Of the query's own candidates, each document by its best chunk."""
        scores = self._plan.dense_weight * (np.asarray(self._index.vectors[example.rows]) @ query) + example.lexical
        order = self._index.documents[example.rows[np.argsort(-scores, kind="stable")]]
        _, first = np.unique(order, return_index=True)
        gains = [example.answers.get(int(document), 0.0) for document in order[np.sort(first)][:10]]
        ideal = sorted(example.answers.values(), reverse=True)[:10]
        return dcg(gains) / dcg(ideal)


def _batches(
    examples: Sequence[QueryExample], plan: QueryEncoderPlan, steps: int
) -> Iterator[tuple[list[QueryExample], bool]]:
    """Batches in an order of the seed's, each with whether it is the last of an epoch, or of all."""
    random = np.random.default_rng(plan.seed)
    made = 0
    while True:
        order = random.permutation(len(examples))
        for start in range(0, len(order), plan.batch):
            if made == steps:
                return
            made += 1
            last = start + plan.batch >= len(order) or made == steps
            yield [examples[int(number)] for number in order[start : start + plan.batch]], last


def _loss(
    queries: torch.Tensor, batch: Sequence[QueryExample], index: IndexRows, plan: QueryEncoderPlan
) -> torch.Tensor:
    """Cross-entropy between the trusted answers and the softmax over all documents in sight, each by its best chunk.

    In sight are the candidates of all queries of the batch: (b, candidates) scores, then (b, documents).
    """
    rows = np.unique(np.concatenate([example.rows for example in batch]))
    scores = plan.dense_weight * (queries @ torch.from_numpy(np.asarray(index.vectors[rows])).T)
    scores = (scores + torch.from_numpy(_lexical(batch, rows))) / (plan.dense_weight + plan.lexical_weight)
    names, place = np.unique(index.documents[rows], return_inverse=True)
    best = torch.full((len(batch), len(names)), _NEVER).scatter_reduce(
        1, torch.from_numpy(place)[None].expand(len(batch), -1), scores / plan.temperature, "amax"
    )
    wanted, trust = _wanted(batch, names)
    losses = -(wanted * torch.log_softmax(best, dim=1)).sum(1)
    return (losses * trust).sum() / trust.sum()


def _lexical(batch: Sequence[QueryExample], rows: np.ndarray) -> np.ndarray:
    """(b, len(rows)) float32; 0 where BM25 did not bring the row to the query's candidates."""
    table = np.zeros((len(batch), len(rows)), np.float32)
    for number, example in enumerate(batch):
        table[number, np.searchsorted(rows, example.rows)] = example.lexical
    return table


def _wanted(batch: Sequence[QueryExample], names: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, documents), each row a distribution over the answers; and (b,), how much each row counts."""
    table = np.zeros((len(batch), len(names)), np.float32)
    for number, example in enumerate(batch):
        for document, trust in example.answers.items():
            place = np.searchsorted(names, document)
            if place < len(names) and names[place] == document:
                table[number, place] = trust
    table /= table.sum(1, keepdims=True)
    return torch.from_numpy(table), torch.tensor([example.trust for example in batch])
