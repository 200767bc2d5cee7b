"""Releases to swap between: made from the one that runs."""

from __future__ import annotations

from kaizen.answering.prompt import prompt_record
from kaizen.records import Release
from kaizen.release import answering_of, with_parts
from tests.product import Product


def stable(product: Product) -> Release:
    """The release that answers."""
    ledger = product.parts.ledger
    return ledger.releases.get(ledger.rollout.current() or "")


def variant(product: Product, name: str) -> str:
    """A release with other retrieval settings and another prompt over the same index; its id."""
    base = stable(product)
    retrieval = {**base.parts["retrieval"], "dense_weight": 0.7}
    prompt = prompt_record(answering_of(base), f"Answer in one short sentence, from the sources alone. {name}")
    return product.parts.ledger.releases.record(with_parts(base, retrieval=retrieval, prompt=prompt), base.id).id


def rechunked(product: Product, max_tokens: int = 160) -> str:
    """A release with another chunking, which needs an index of its own; its id."""
    base = stable(product)
    index = {**base.parts["index"], "chunking": {"max_tokens": max_tokens, "overlap_tokens": 16}}
    return product.parts.ledger.releases.record(with_parts(base, index=index), base.id).id
