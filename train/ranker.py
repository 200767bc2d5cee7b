"""Rung 1: other fusion weights, a linear ranker or LambdaMART, whichever cross-validation prefers; seconds of CPU.

    python -m train.ranker --dataset ID [--parent RELEASE] [--turn ID] [--max-queries N] [--config FILE] [--json]

The features of a chunk are those that impressions log; they are computed again from the parent's sealed index, so that
the chunks below the shown ones are there too, and so that the parent may be a release that never served.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaizen.ids import fingerprint
from kaizen.job import configured_workspace, run_job
from kaizen.learning.ranker_training import Proposal, RankedQuery, learn_ranker
from kaizen.offline import OfflineIndex, Pool
from kaizen.records import Candidate
from kaizen.release import Part, retrieval_of
from kaizen.retrieval.features import FEATURES
from kaizen.retrieval.ranker import MODEL_FILE
from kaizen.storage.object_store import ObjectStore, holds
from train.lesson_queries import LessonQuery, lesson_queries, pools
from train.recording import Clock, Lesson, lesson_parser, open_lesson, record, tell

RUNG = 1
SIGHT = 50  # documents of each query among which those that were shown are looked for
DEPTH = 20  # chunks that the ranker orders: hardly more than were shown, since it learnt from no others


def learn(lesson: Lesson, max_queries: int) -> Candidate:
    """Learn, choose, record. Raises InvalidInput (too few queries), Unavailable (index not sealed)."""
    clock = Clock()
    index = OfflineIndex.open_whole(lesson.workspace, lesson.parent)
    asked = lesson_queries(lesson)[:max_queries]
    settings = retrieval_of(lesson.parent)
    lists = [_ranked(lesson, *pair) for pair in zip(asked, pools(lesson, index, asked), strict=True)]
    ratio = settings.dense_weight / max(settings.lexical_weight, 1e-9)
    chosen, tried = learn_ranker(lists, ratio=ratio)
    figures: dict[str, Any] = {"queries": len(asked), "kind": chosen.kind}
    for proposal in tried:
        figures[f"{proposal.kind}_gain"] = round(proposal.gain, 4)
        figures[f"{proposal.kind}_error"] = round(proposal.error, 4)
    parts = _parts(lesson, chosen)
    return record(lesson, parts, settings={"max_queries": max_queries}, cost=clock.cost(), figures=figures)


def _ranked(lesson: Lesson, query: LessonQuery, pool: Pool) -> RankedQuery:
    """The documents that were shown, each by its best chunk. One that nobody saw is not known to be irrelevant."""
    found = pool.ranked(retrieval_of(lesson.parent), None, k=SIGHT)
    pairs = [(item, name) for item, (name, _) in zip(found, pool.names(found), strict=True) if name in query.seen]
    ranked = [item for item, _ in pairs]
    labels = [query.answers.get(name, 0.0) for _, name in pairs]
    return RankedQuery(
        table=np.array([item.features for item in ranked], np.float32).reshape(-1, len(FEATURES)),
        labels=np.array(labels, np.float64),
        trust=min(1.0, max(query.answers.values())),
    )


def _parts(lesson: Lesson, proposal: Proposal) -> Mapping[str, Part]:
    """What changes in the release. New weights make a ranker that was learnt for the old ones meaningless."""
    if proposal.kind == "fusion":
        part = dict(lesson.parent.parts["retrieval"])
        return {"retrieval": {**part, "dense_weight": proposal.ratio, "lexical_weight": 1.0}, "ranker": {}}
    common = {"kind": proposal.kind, "features": list(FEATURES), "depth": DEPTH}
    if proposal.kind == "linear":
        return {"ranker": {**common, "weights": list(proposal.weights)}}
    return {"ranker": {**common, "artifact": _stored(lesson.workspace.store, proposal.trees)}}


def _stored(store: ObjectStore, trees: str) -> str:
    name = f"models/ranker-{fingerprint(trees)[:12]}"
    if not holds(store, name):
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / MODEL_FILE).write_text(trees)
            store.put_directory(name, Path(scratch))
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = lesson_parser("train.ranker", __doc__)
    parser.add_argument("--max-queries", type=int, default=500, help="more teach a handful of weights nothing new")
    return run_job(_learn, parser.parse_args(arguments))


def _learn(options: argparse.Namespace) -> None:
    lesson = open_lesson(configured_workspace(options), RUNG, options)
    tell(learn(lesson, options.max_queries), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
