"""The query encoder learns on the score users get, stops when it should, and gives the same weights every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaizen.errors import BadModel, InvalidInput
from kaizen.learning.query_encoder import (
    IndexRows,
    Learnt,
    QueryEncoder,
    QueryEncoderPlan,
    QueryExample,
    learn_query_encoder,
)
from kaizen.models.embedder_spec import read_spec
from kaizen.models.encoder import load_encoder
from tests.unit.models.tiny_model import write_tiny_model

WORDS = ("pump", "valve", "motor", "belt", "gear", "wheel")
PLAN = QueryEncoderPlan(epochs=10, batch=6, learning_rate=5e-3)
ROWS = 24  # two chunks of each of 12 documents


def examples() -> list[QueryExample]:
    """Each word is answered by the document of its number, whatever the random model thinks of it."""
    texts = [f"{article}{word}" for article in ("the ", "a ", "is ", "of ", "") for word in WORDS]
    lexical = np.zeros(ROWS, np.float32)
    return [
        QueryExample(text=text, rows=np.arange(ROWS), lexical=lexical, answers={number % len(WORDS): 0.9})
        for number, text in enumerate(texts)
    ]


def learn(directory: Path, asked: list[QueryExample], plan: QueryEncoderPlan = PLAN) -> tuple[Learnt, Any]:
    encoder = QueryEncoder.open(read_spec(str(directory)), directory)
    vectors = np.random.default_rng(3).normal(size=(ROWS, encoder.spec.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = IndexRows(vectors=vectors, documents=np.arange(ROWS) // 2)
    told: list[int] = []
    learnt = learn_query_encoder(encoder, asked, index, plan, lambda step, steps, loss: told.append(steps - step))
    assert told == list(range(len(learnt.losses)))[::-1]
    return learnt, encoder.model.state_dict()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"), dim=32)


def test_it_learns_what_it_is_shown_and_keeps_the_best_epoch(directory: Path) -> None:
    learnt, weights = learn(directory, examples())
    assert np.mean(learnt.losses[-5:]) < 0.75 * learnt.losses[0]
    assert len(learnt.validation) == 1 + PLAN.epochs
    assert learnt.validation[learnt.epoch] == max(learnt.validation[1:]) > learnt.validation[0]
    before = load_encoder(directory).state_dict()
    changed = {name for name, value in weights.items() if not value.equal(before[name])}
    assert changed
    assert not any(name.startswith("embeddings.") for name in changed)


def test_the_same_lesson_gives_the_same_weights(directory: Path) -> None:
    plan = replace(PLAN, epochs=2)
    (first, ours), (second, theirs) = (learn(directory, examples(), plan) for _ in range(2))
    assert first == second
    assert all(value.equal(theirs[name]) for name, value in ours.items())
    third, _ = learn(directory, examples(), replace(plan, seed=1))
    assert third.losses != first.losses


def test_too_few_to_keep_any_back_teach_all(directory: Path) -> None:
    learnt, _ = learn(directory, examples()[:6], replace(PLAN, max_steps=2))
    assert (len(learnt.losses), learnt.validation, learnt.epoch) == (2, (), 0)


def test_what_cannot_be_learnt_is_said(directory: Path) -> None:
    nowhere = [replace(example, answers={99: 1.0}) for example in examples()]
    with pytest.raises(InvalidInput, match="No query"):
        learn(directory, nowhere)
    with pytest.raises(BadModel, match="diverged"):
        learn(directory, [replace(e, lexical=np.full(ROWS, np.nan, np.float32)) for e in examples()])
