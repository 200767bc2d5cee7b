"""What is read off a sentence-transformers directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kaizen.config import EmbedderSettings
from kaizen.errors import BadModel
from kaizen.models.embedder_spec import EmbedderSpec, read_spec


@pytest.fixture
def copied(bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "bert"))


def test_the_default_embedder() -> None:
    spec = read_spec(EmbedderSettings().model)
    assert (spec.dim, spec.max_tokens, spec.pooling, spec.query_prompt) == (384, 256, "mean", "")


def test_a_record_gives_the_spec_back(bert: Path) -> None:
    spec = read_spec(str(bert))
    assert EmbedderSpec.from_record(json.loads(json.dumps(spec.record() | {"artifact": "models/x"}))) == spec


def test_prompts(copied: Path) -> None:
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (copied / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    spec = read_spec(str(copied))
    assert (spec.query_prompt, spec.document_prompt) == ("query: ", "passage: ")


@pytest.mark.parametrize(("positions", "kind", "limit", "expected"), [(64, "bert", 1e30, 64), (64, "roberta", 1e30, 62),
                                                                     (64, "bert", 32, 32)])  # fmt: skip
def test_max_tokens_without_a_stated_one(copied: Path, positions: int, kind: str, limit: float, expected: int) -> None:
    (copied / "sentence_bert_config.json").unlink()
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"max_position_embeddings": positions, "model_type": kind}))
    (copied / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}))
    assert read_spec(str(copied)).max_tokens == expected


def test_cls_pooling(copied: Path) -> None:
    (copied / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert read_spec(str(copied)).pooling == "cls"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "known: mean, cls"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "include_prompt": False}, "prompt out"),
        ("modules.json", [{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"},
                          {"path": "2_Dense", "type": "a.Dense"}], "Dense"),
        ("modules.json", [{"path": "", "type": "a.Transformer"}, {"path": "../x", "type": "a.Pooling"}], "outside"),
        ("config.json", {"model_type": "t5"}, "hidden_size"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused(copied: Path, file: str, content: object, reason: str) -> None:
    (copied / file).write_text(json.dumps(content))
    with pytest.raises(BadModel, match=reason):
        read_spec(str(copied))


def test_a_directory_without_tokenizer_is_refused(copied: Path) -> None:
    (copied / "tokenizer.json").unlink()
    with pytest.raises(BadModel, match=r"tokenizer\.json"):
        read_spec(str(copied))
