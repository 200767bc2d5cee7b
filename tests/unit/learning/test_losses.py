"""Losses against numbers that were worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from kaizen.learning.losses import IGNORED, answer_log_probabilities, contrastive, imitation, preference


def unit(*angles: float) -> torch.Tensor:
    """(n, 2): unit vectors at these angles in degrees."""
    return torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles])


def test_contrastive_is_the_log_of_the_share_of_the_own_document() -> None:
    queries, documents = unit(0, 90), unit(60, 90, 180)  # cosines of the first: .5, 0, -1; of the second: .866, 1, 0
    losses = contrastive(queries, documents, torch.tensor([0, 1]), torch.ones(2, 3, dtype=torch.bool), 0.5)
    first = math.log(math.e + 1 + math.exp(-2)) - 1
    second = math.log(math.exp(math.sqrt(3)) + math.exp(2) + 1) - 2
    assert losses.tolist() == pytest.approx([first, second], abs=1e-6)


def test_another_answer_of_the_query_is_no_negative_but_its_own_document_counts() -> None:
    queries, documents = unit(0), unit(60, 90, 180)
    allowed = torch.tensor([[False, False, True]])
    losses = contrastive(queries, documents, torch.tensor([0]), allowed, 0.5)
    assert losses.tolist() == pytest.approx([math.log(math.e + math.exp(-2)) - 1], abs=1e-6)


def logits(*rows: tuple[float, ...]) -> torch.Tensor:
    """(1, t, v): such that softmax gives these probabilities."""
    return torch.log(torch.tensor([rows]))


def test_only_the_answers_tokens_count_each_by_the_scores_before_it() -> None:
    scores = logits((0.9, 0.1), (0.25, 0.75), (0.5, 0.5), (0.1, 0.9))
    labels = torch.tensor([[IGNORED, IGNORED, 1, 0]])
    total, count = answer_log_probabilities(scores, labels)
    assert total.tolist() == pytest.approx([math.log(0.75) + math.log(0.5)], abs=1e-6)
    assert count.tolist() == [2]
    assert imitation(scores, labels).tolist() == pytest.approx([-(math.log(0.75) + math.log(0.5)) / 2], abs=1e-6)


def test_a_row_without_an_answer_is_no_division_by_zero() -> None:
    assert imitation(logits((0.5, 0.5), (0.5, 0.5)), torch.tensor([[IGNORED, IGNORED]])).tolist() == [0.0]


def test_preference() -> None:
    chosen, rejected = torch.tensor([-2.0, -5.0]), torch.tensor([-3.0, -5.0])
    before_chosen, before_rejected = torch.tensor([-4.0, -5.0]), torch.tensor([-2.0, -5.0])
    losses = preference(chosen, rejected, before_chosen, before_rejected, beta=0.5)
    # The first moved by (2 - -1) = 3 to the chosen one: -log sigmoid(1.5). The second did not move: log 2.
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1.5)), math.log(2)], abs=1e-6)
