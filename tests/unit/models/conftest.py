"""Small real models: BERT with random weights and MiniLM's tokenizer, as sentence-transformers lays them out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kaizen.config import EmbedderSettings
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.location import locate
from kaizen.models.onnx_cache import ensure_onnx
from kaizen.models.onnx_export import export_onnx

BertMaker = Callable[..., Path]


def write_bert(directory: Path, *, pooling: str = "mean", spoil: bool = False, **changes: object) -> Path:
    """Write a two-layer BERT; keyword arguments change its pooling, its configuration or its weights."""
    import torch
    from transformers import BertConfig, BertModel

    directory.mkdir(exist_ok=True)
    shutil.copyfile(locate(EmbedderSettings().model) / "tokenizer.json", directory / "tokenizer.json")
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    model = BertModel(BertConfig(vocab_size=30522, max_position_embeddings=64, **(shape | changes)))
    if spoil:
        torch.nn.init.constant_(model.encoder.layer[0].output.dense.weight, float("nan"))
    model.save_pretrained(directory)
    write_layout(directory, pooling)
    return directory


@pytest.fixture(scope="session")
def make_bert(tmp_path_factory: pytest.TempPathFactory) -> BertMaker:
    """Write a BERT into a directory of its own, as `write_bert` does."""
    return lambda **asked: write_bert(tmp_path_factory.mktemp("bert"), **asked)


def write_layout(directory: Path, pooling: str) -> None:
    """Write the files that sentence-transformers adds."""
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"}
               for path, kind in zip(paths, kinds, strict=True)]  # fmt: skip
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 60}))


@pytest.fixture(scope="session")
def bert(make_bert: BertMaker) -> Path:
    """A two-layer BERT that pools by the mean."""
    return make_bert(pooling="mean_tokens")


@pytest.fixture(scope="session")
def default_spec() -> EmbedderSpec:
    """Of the embedder that ships."""
    return read_spec(EmbedderSettings().model)


@pytest.fixture(scope="session")
def default_export(default_spec: EmbedderSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of its export."""
    return ensure_onnx(default_spec, tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="module")
def spec(bert: Path) -> EmbedderSpec:
    """Of `bert`."""
    return read_spec(str(bert))


@pytest.fixture(scope="module")
def exported(spec: EmbedderSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of its export."""
    directory = tmp_path_factory.mktemp("onnx")
    export_onnx(spec, directory)
    return directory
