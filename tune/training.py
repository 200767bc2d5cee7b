"""Trials of a query encoder's training: each trains on the data set's train queries and searches with what it learnt.

A trial measures at every quarter of its way. Its test half is measured at the end; trials do not compete on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from kaizen.config import Settings
from kaizen.errors import BadModel
from kaizen.evaluation.ranking import ndcg
from kaizen.judging.query_sets import Asked
from kaizen.learning.query_encoder import QueryEncoder, QueryEncoderPlan, QueryExample, learn_query_encoder
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.offline import OfflineIndex
from kaizen.records import Release
from kaizen.release import query_encoder_of, ranker_of, retrieval_of
from kaizen.workspace import Workspace, open_workspace
from train.query_encoder import Places
from tune.retrieval import CUT, rankings
from tune.study import Report
from tune.trials import REPORTS

Values = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStudy:
    """See Study. A worker opens the workspace of `settings` itself; `examples` are the same for all trials."""

    settings: Settings
    base: Release
    examples: Sequence[QueryExample]
    validation: Mapping[str, Asked]
    test: Mapping[str, Asked]
    stepwise: bool = True

    def run(self, settings: Mapping[str, Any], report: Callable[[Report], None]) -> None:
        """See Study. Settings under which learning diverges are worth 0."""
        torch.set_num_threads(1)
        workspace = open_workspace(self.settings)
        try:
            self._run(workspace, planned_training(self.base, settings), report)
        except BadModel:
            nothing = (dict.fromkeys(self.validation, 0.0), dict.fromkeys(self.test, 0.0))
            report(Report(share=1.0, values=nothing[0], test=nothing[1]))
        finally:
            workspace.ledger.close()

    def _run(self, workspace: Workspace, plan: QueryEncoderPlan, report: Callable[[Report], None]) -> None:
        index = OfflineIndex.open(workspace, self.base)
        spec = EmbedderSpec.from_record(query_encoder_of(self.base))
        encoder = QueryEncoder.open(spec, workspace.model_path(spec.model))

        def measured(asked: Mapping[str, Asked]) -> Values:
            ranker = ranker_of(self.base, workspace.store)
            found = rankings(index, encoder.embed, asked, retrieval_of(self.base), ranker)
            return {name: ndcg(found[name], one.grades, CUT) for name, one in asked.items()}

        def look(step: int, steps: int, _loss: float) -> None:
            quarters = {round(steps * part / REPORTS) for part in range(1, REPORTS)}
            if step in quarters and step < steps:
                report(Report(share=step / steps, values=measured(self.validation)))

        learn_query_encoder(encoder, self.examples, Places(index).searched(), plan, look)
        report(Report(share=1.0, values=measured(self.validation), test=measured(self.test)))


def planned_training(base: Release, drawn: Mapping[str, Any]) -> QueryEncoderPlan:
    """The plan of a trial; it learns on the score of the release."""
    settings = retrieval_of(base)
    return replace(
        QueryEncoderPlan(), dense_weight=settings.dense_weight, lexical_weight=settings.lexical_weight, **drawn
    )
