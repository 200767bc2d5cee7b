"""What learning makes small. Plain tensors in, one loss a row out: whoever trains takes the weighted mean.

Shapes: b rows of this batch, m documents of it, t tokens, v words of the vocabulary, d dimensions.
"""

from __future__ import annotations

import torch
from torch.nn import functional

IGNORED = -100  # a label that no loss counts, as everywhere in torch


def contrastive(
    queries: torch.Tensor, documents: torch.Tensor, positives: torch.Tensor, allowed: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Minus the log of the share that a query gives its own document among all of the batch (InfoNCE).

    Source: van den Oord et al. 2018 (arXiv:1807.03748), eq. 4; in-batch and hard negatives as in Karpukhin et al. 2020
    (arXiv:2004.04906), section 3.2.

    Args:
        queries: (b, d) L2-normalised.
        documents: (m, d) L2-normalised: the rows' own, the other rows' and hard negatives.
        positives: (b,) int64, the row's own document.
        allowed: (b, m) bool, False for a document that is relevant to the query too and is therefore no negative.
        temperature: what cosines are divided by.

    Returns:
        (b,) float32.
    """
    scores = (queries.float() @ documents.float().T) / temperature  # (b, m)
    own = functional.one_hot(positives, documents.shape[0]).bool()
    scores = scores.masked_fill(~(allowed | own), float("-inf"))
    return functional.cross_entropy(scores, positives, reduction="none")


def answer_log_probabilities(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probability of each row's answer, and how many tokens it has.

    Args:
        logits: (b, t, v): the scores for the token after each.
        labels: (b, t) int64: the tokens themselves where they are the answer's, IGNORED elsewhere.

    Returns:
        (b,) float32 sums of natural logarithms, and (b,) int64.
    """
    shifted = labels[:, 1:]
    losses = functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), shifted, ignore_index=IGNORED, reduction="none"
    )  # (b, t - 1), 0 where ignored
    return -losses.sum(1), (shifted != IGNORED).sum(1)


def imitation(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Supervised fine-tuning: (b,) mean negative log-likelihoods of the answers' tokens; arguments as above."""
    total, count = answer_log_probabilities(logits, labels)
    return -total / count.clamp(min=1)


def preference(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """Direct preference optimisation: Rafailov et al. 2023 (arXiv:2305.18290), eq. 7.

    Args:
        chosen, rejected: (b,) log-probabilities of the two answers under the model that learns.
        reference_chosen, reference_rejected: (b,) under the model that it began as.
        beta: how dearly leaving that model is paid for.

    Returns:
        (b,): log 2 when the model prefers neither more than it did.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -functional.logsigmoid(beta * margin)
