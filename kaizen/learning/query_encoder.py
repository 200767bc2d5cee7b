"""Rung 2: the encoder of queries learns while the documents' vectors stay as they are.

Nothing needs to be embedded again, so the index is untouched and a step costs one batch of short texts. The loss is
taken on the score that users get, cosine and BM25 together: what words find already teaches nothing, and the encoder
learns what they miss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kaizen.errors import BadModel, InvalidInput
from kaizen.models.batches import padded
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.encoder import pool
from kaizen.models.tokens import EmbedderTokenizer

_NEVER = -1e9  # a score that no document has: stands for what is not in a query's sight


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryExample:
    """One query, the chunks that compete for it, and the documents that answer it.

    Attributes:
        rows: (m,) int64 rows of the index's vectors: the candidates of the product's own search.
        lexical: (m,) float32: BM25's part of each candidate's score, weighted as the release weights it.
        answers: document number -> trust, above 0 (numbers as in `documents` of `learn_query_encoder`).
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


def learn_query_encoder(
    encoder: Any,  # noqa: ANN401 (transformers' own)
    spec: EmbedderSpec,
    tokenizer: EmbedderTokenizer,
    examples: Sequence[QueryExample],
    vectors: np.ndarray,
    documents: np.ndarray,
    plan: QueryEncoderPlan,
    progress: Progress,
) -> list[float]:
    """Train `encoder` in place and return the loss of every step. The same arguments give the same weights.

    The word embeddings stay frozen: they are half of a small encoder, and the few words that clicks touch would
    drift away from all the others.

    Args:
        vectors: (rows, dim) float32 of the index. documents: (rows,) int64, which document each row is of.

    Raises:
        InvalidInput: no query has an answer among its candidates. BadModel: the loss is not a number any more.
    """
    useful = [example for example in examples if set(example.answers) & set(documents[example.rows].tolist())]
    if not useful:
        raise InvalidInput("No query has an answer among its candidates.", advice="Collect more feedback first.")
    torch.manual_seed(plan.seed)
    encoder.embeddings.requires_grad_(False)
    encoder.train()
    weights = [weight for weight in encoder.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate, weight_decay=0.01)
    steps = plan.steps(len(useful))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    for batch in _batches(useful, plan, steps):
        queries = _embed(encoder, spec, tokenizer, [example.text for example in batch])
        loss = _loss(queries, batch, vectors, documents, plan)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise BadModel("Learning diverged: the loss is not a number.", advice="Lower the learning rate.")
        progress(len(losses), steps, losses[-1])
    encoder.eval()
    return losses


def _batches(examples: Sequence[QueryExample], plan: QueryEncoderPlan, steps: int) -> Iterator[list[QueryExample]]:
    random = np.random.default_rng(plan.seed)
    made = 0
    while True:
        order = random.permutation(len(examples))
        for start in range(0, len(order), plan.batch):
            if made == steps:
                return
            made += 1
            yield [examples[int(number)] for number in order[start : start + plan.batch]]


def _embed(
    encoder: Any,  # noqa: ANN401
    spec: EmbedderSpec,
    tokenizer: EmbedderTokenizer,
    texts: Sequence[str],
) -> torch.Tensor:
    tokens = tokenizer.encode([spec.query_prompt + text for text in texts])
    ids, mask = (torch.from_numpy(array) for array in padded(tokens, max(map(len, tokens))))
    return pool(encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask, spec.pooling)


def _loss(
    queries: torch.Tensor,
    batch: Sequence[QueryExample],
    vectors: np.ndarray,
    documents: np.ndarray,
    plan: QueryEncoderPlan,
) -> torch.Tensor:
    """Cross-entropy between the trusted answers and the softmax over all documents in sight, each by its best chunk.

    In sight are the candidates of all queries of the batch: (b, candidates) scores, then (b, documents).
    """
    rows = np.unique(np.concatenate([example.rows for example in batch]))
    scores = plan.dense_weight * (queries @ torch.from_numpy(np.asarray(vectors[rows])).T)
    scores = (scores + torch.from_numpy(_lexical(batch, rows))) / (plan.dense_weight + plan.lexical_weight)
    names, place = np.unique(documents[rows], return_inverse=True)
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
