"""Rung 2: the encoder of queries learns from a data set; documents and index stay as they are.

    python -m train.query_encoder --dataset ID [--parent RELEASE] [--turn ID] [--epochs N] [--max-steps N]
        [--learning-rate X] [--seed N] [--config FILE] [--json]

Reads the sealed index of the parent, trains in this process (a minute or two on one CPU core for a small encoder),
and records a candidate release with a `query_encoder`: safetensors, and ONNX that was checked against them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from kaizen.job import configured_workspace, run_job
from kaizen.learning.export import export_embedder
from kaizen.learning.query_encoder import (
    IndexRows,
    QueryEncoder,
    QueryEncoderPlan,
    QueryExample,
    learn_query_encoder,
)
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.offline import OfflineIndex, Pool
from kaizen.records import Candidate
from kaizen.release import query_encoder_of, retrieval_of
from train.lesson_queries import LessonQuery, lesson_queries, pools
from train.recording import Clock, Lesson, lesson_parser, open_lesson, record, tell

RUNG = 2


def learn(lesson: Lesson, plan: QueryEncoderPlan, progress: Progress) -> Candidate:
    """Train, export, record. Raises InvalidInput (nothing to learn from), BadModel, Unavailable (index not sealed)."""
    torch.set_num_threads(1)  # sums in another order would give other weights, and serving needs the other cores
    clock = Clock()
    workspace, parent = lesson.workspace, lesson.parent
    index = OfflineIndex.open_whole(workspace, parent)
    places = Places(index)
    examples = query_examples(lesson, index, places)
    part = query_encoder_of(parent)
    spec = EmbedderSpec.from_record(part)
    directory = workspace.model_path(spec.model)
    encoder = QueryEncoder.open(spec, directory)
    task = progress.add_task("query encoder", total=None)
    learnt = learn_query_encoder(
        encoder,
        examples,
        places.searched(),
        plan,
        lambda step, steps, loss: progress.update(
            task, completed=step, total=steps, description=f"query encoder: loss {loss:.4f}"
        ),
    )
    made = export_embedder(encoder.model, spec, directory, workspace.store, "query-encoder")
    losses = learnt.losses
    tenth = max(1, len(losses) // 10)
    figures = {
        "queries": len(examples),
        "steps": len(losses),
        "epoch": learnt.epoch,
        "validation": [round(value, 4) for value in learnt.validation],
        "loss_first": round(sum(losses[:tenth]) / tenth, 4),
        "loss_last": round(sum(losses[-tenth:]) / tenth, 4),
    }
    return record(lesson, {"query_encoder": made}, settings=asdict(plan), cost=clock.cost(), figures=figures)


class Places:
    """Which row of the index's vectors a chunk is, and which document (as a number) each row belongs to."""

    def __init__(self, index: OfflineIndex) -> None:
        table = index.rows(["tenant", "document_id", "ordinal"])
        tenants, documents, ordinals = (table.column(number).to_pylist() for number in range(3))
        self._numbers: dict[tuple[str, str], int] = {}
        self._rows = {key: row for row, key in enumerate(zip(tenants, documents, ordinals, strict=True))}
        pairs = zip(tenants, documents, strict=True)
        self._documents = np.array([self._numbers.setdefault(p, len(self._numbers)) for p in pairs], np.int64)
        self._index = index

    def searched(self) -> IndexRows:
        """The vectors of all rows, with the number of the document of each."""
        return IndexRows(vectors=self._index.vectors(), documents=self._documents)

    def row(self, tenant: str, document: str, ordinal: int) -> int:
        """Row of a chunk."""
        return self._rows[tenant, document, ordinal]

    def document(self, tenant: str, document: str) -> int | None:
        """Number of a document; None when the index does not hold it any more."""
        return self._numbers.get((tenant, document))


def query_examples(lesson: Lesson, index: OfflineIndex, places: Places) -> list[QueryExample]:
    """The train queries of the data set with the candidates that the parent finds for them now."""
    asked = lesson_queries(lesson)
    found = [_example(lesson, *pair, places) for pair in zip(asked, pools(lesson, index, asked), strict=True)]
    return [example for example in found if example.answers]


def _example(lesson: Lesson, query: LessonQuery, pool: Pool, places: Places) -> QueryExample:
    settings = retrieval_of(lesson.parent)
    ranked = pool.ranked(settings, None, k=settings.depth, unit="chunk")
    numbers = {places.document(query.tenant, name): trust for name, trust in query.answers.items()}
    return QueryExample(
        text=query.text,
        rows=np.array([places.row(query.tenant, *name) for name in pool.names(ranked)], np.int64),
        lexical=np.array([item.lexical for item in ranked], np.float32),
        answers={number: trust for number, trust in numbers.items() if number is not None},
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    plan = QueryEncoderPlan()
    parser = lesson_parser("train.query_encoder", __doc__)
    parser.add_argument("--epochs", type=int, default=plan.epochs)
    parser.add_argument("--max-steps", type=int, default=plan.max_steps)
    parser.add_argument("--learning-rate", type=float, default=plan.learning_rate)
    parser.add_argument("--seed", type=int, default=plan.seed)
    return run_job(_learn, parser.parse_args(arguments))


def _learn(options: argparse.Namespace) -> None:
    lesson = open_lesson(configured_workspace(options), RUNG, options)
    with Progress(console=Console(stderr=True), transient=True, disable=options.json) as progress:
        candidate = learn(lesson, _plan(lesson, vars(options)), progress)
    tell(candidate, as_json=options.json)


def _plan(lesson: Lesson, options: Mapping[str, Any]) -> QueryEncoderPlan:
    """The score that is learnt on is the parent's."""
    settings = retrieval_of(lesson.parent)
    return QueryEncoderPlan(
        epochs=options["epochs"],
        max_steps=options["max_steps"],
        learning_rate=options["learning_rate"],
        seed=options["seed"],
        dense_weight=settings.dense_weight,
        lexical_weight=settings.lexical_weight,
    )


if __name__ == "__main__":
    sys.exit(main())
