"""Rung 3: the whole embedder learns from a data set, queries and documents; a new index is then built beside the old.

    python -m train.embedder --dataset ID [--parent RELEASE] [--turn ID] [--epochs N] [--batch N] [--learning-rate X]
        [--negatives N] [--workers N] [--zero-stage 0..3] [--max-steps N] [--json]

Each query is pulled towards a chunk that answered it and away from the other chunks of the batch, hard negatives among
them. The same command again goes on where a killed one was.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from kaizen.config import Settings
from kaizen.learning.dataset import read_dataset
from kaizen.learning.export import export_embedder
from kaizen.learning.losses import contrastive
from kaizen.learning.pairs import Batch, Question, draw_batch, questions
from kaizen.models.batches import padded
from kaizen.models.embedder_spec import EmbedderSpec, Pooling
from kaizen.models.encoder import load_encoder, pool
from kaizen.models.tokens import EmbedderTokenizer
from kaizen.records import Dataset, Release
from kaizen.workspace import Workspace, open_workspace
from train.command import Learnt, Rung, run_command
from train.gather import gather
from train.learner import Tensors
from train.loop import train
from train.plan import Plan

RUNG = 3
TEMPERATURE = 0.05  # as sentence-transformers' MultipleNegativesRankingLoss: its scale of 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderTask:
    """Which embedder learns from which data set. `embedder`: the part of the release that it begins as."""

    settings: Settings
    dataset: str
    embedder: Mapping[str, Any]
    negatives: int
    seed: int

    def open(self) -> EmbedderLearner:
        """Read data and model."""
        workspace = open_workspace(self.settings)
        try:
            pool_ = questions(read_dataset(workspace.store, self.dataset).examples)
            spec = EmbedderSpec.from_record(self.embedder)
            return EmbedderLearner(spec, workspace.model_path(spec.model), pool_, self.negatives, self.seed)
        finally:
            workspace.ledger.close()


class EmbedderLearner:
    """An encoder with the queries that it learns from."""

    def __init__(
        self, spec: EmbedderSpec, directory: Path, pool_: Sequence[Question], negatives: int, seed: int
    ) -> None:
        self.examples = len(pool_)
        self.module: Contrastive = Contrastive(load_encoder(directory), spec.pooling)
        self._spec = spec
        self._pool = pool_
        self._negatives = negatives
        self._seed = seed
        self._tokenizer = EmbedderTokenizer(directory, max_tokens=spec.max_tokens, lowercase=spec.lowercase)

    def batch(self, rows: Sequence[int], step: int) -> Tensors:
        """Token ids and masks of queries (b, t) and documents (m, t), names and weights."""
        drawn = draw_batch(self._pool, rows, negatives=self._negatives, seed=self._seed + step)
        query_ids, query_mask = self._tokens(self._spec.query_prompt, drawn.queries)
        document_ids, document_mask = self._tokens(self._spec.document_prompt, drawn.documents)
        return {
            "query_ids": query_ids,
            "query_mask": query_mask,
            "document_ids": document_ids,
            "document_mask": document_mask,
            "names": torch.tensor([_number(name) for name in drawn.chunk_ids]),
            "relevant": _relevant(drawn),
            "weights": torch.tensor(drawn.weights),
        }

    def _tokens(self, prompt: str, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self._tokenizer.encode([prompt + text for text in texts])
        ids, mask = padded(tokens, max(map(len, tokens)))
        return torch.from_numpy(ids), torch.from_numpy(mask)


class Contrastive(torch.nn.Module):
    """The loss of this worker's queries against the documents of all workers. No dropout: equal data, equal loss."""

    def __init__(self, encoder: Any, pooling: Pooling) -> None:  # noqa: ANN401 (transformers' own)
        super().__init__()
        self.encoder = encoder
        self._pooling = pooling
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler.requires_grad_(False)  # a layer of BERT's that no vector goes through

    def forward(self, batch: Tensors) -> torch.Tensor:
        """Return the weighted mean loss, scaled for a mean over workers; see `learner.Learner`."""
        queries = self._vectors(batch["query_ids"], batch["query_mask"])  # (b, d)
        documents = self._vectors(batch["document_ids"], batch["document_mask"])  # (m, d)
        with torch.autocast(queries.device.type, enabled=False):
            return self._loss(queries, documents, batch)

    def _loss(self, queries: torch.Tensor, documents: torch.Tensor, batch: Tensors) -> torch.Tensor:
        rank, workers = torch.distributed.get_rank(), torch.distributed.get_world_size()
        first = rank * documents.shape[0]
        positives = torch.arange(first, first + len(queries), device=queries.device)
        names = gather(batch["names"])  # (workers * m,)
        allowed = ~(names[None, :, None] == batch["relevant"][:, None, :]).any(-1)  # (b, workers * m)
        losses = contrastive(queries, gather(documents), positives, allowed, TEMPERATURE)
        total = gather(batch["weights"]).sum()
        return workers * (losses * batch["weights"]).sum() / total

    def _vectors(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return pool(self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask, self._pooling)


def _relevant(batch: Batch) -> torch.Tensor:
    """(b, r) int64: the numbers of all answers of each row; a row with fewer repeats one of its own."""
    rows = [sorted(_number(name) for name in names) for names in batch.relevant]
    longest = max(map(len, rows))
    return torch.tensor([row + row[:1] * (longest - len(row)) for row in rows])


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def learn_embedder(
    workspace: Workspace, parent: Release, dataset: Dataset, plan: Plan, run: Path, *, negatives: int
) -> Learnt:
    """Train on the connected cluster and store the new embedder. Raises BadModel, InvalidInput, Unavailable."""
    part = parent.parts["embedder"]
    task = EmbedderTask(
        settings=workspace.settings, dataset=dataset.artifact, embedder=part, negatives=negatives, seed=plan.seed
    )
    trained = train(task, plan, run, what="embedder")
    spec = EmbedderSpec.from_record(part)
    directory = workspace.model_path(spec.model)
    module = Contrastive(load_encoder(directory), spec.pooling)
    module.load_state_dict(trained.weights, strict=False)
    made = export_embedder(module.encoder, spec, directory, workspace.store, "embedder")
    # A query encoder of the old embedder would search an index that is gone.
    return Learnt(parts={"embedder": made, "query_encoder": {}}, trained=trained, figures={})


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    rung = Rung(number=RUNG, module="train.embedder", description=__doc__ or "", epochs=2, batch=32, learning_rate=3e-5)
    parser = rung.parser()
    parser.add_argument("--negatives", type=int, default=2, help="hard negatives of each query in a batch")
    return run_command(rung, parser.parse_args(arguments), learn_embedder, ("negatives",))


if __name__ == "__main__":
    sys.exit(main())
