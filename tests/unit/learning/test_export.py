"""What learnt is stored whole, opens in both ways, and is refused when it is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kaizen.config import Settings
from kaizen.errors import BadModel
from kaizen.learning.export import export_embedder
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.encoder import load_encoder
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.workspace import Workspace, open_workspace
from tests.unit.models.tiny_model import write_tiny_model

TEXTS = ["a pump is a motor", "the wheel of the gear", "belt"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(Settings.model_validate({"workspace": {"directory": tmp_path / "workspace"}}))


@pytest.fixture
def base(tmp_path: Path) -> EmbedderSpec:
    return read_spec(str(write_tiny_model(tmp_path / "base")))


@pytest.fixture
def learnt(base: EmbedderSpec) -> Any:  # noqa: ANN401 (transformers' own)
    encoder = load_encoder(Path(base.model))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return encoder


def test_what_learnt_opens_in_both_ways_and_differs_from_its_base(
    workspace: Workspace, base: EmbedderSpec, learnt: torch.nn.Module
) -> None:
    part = export_embedder(learnt, base, Path(base.model), workspace.store, "query-encoder")
    spec = EmbedderSpec.from_record(part)
    artifact = workspace.store.fetch_directory(part["artifact"])
    queries = OnnxEmbedder(spec, artifact).embed(TEXTS)
    bulk = open_embedder(spec, workspace.settings.embedder, "bulk", find=workspace.model_path).embed(TEXTS)
    before = open_embedder(base, workspace.settings.embedder, "bulk").embed(TEXTS)
    assert np.einsum("ij,ij->i", queries, bulk).min() > 0.999  # bulk work may be in 16 bits
    assert np.einsum("ij,ij->i", bulk, before).max() < 0.999
    assert part["artifact"] == f"models/query-encoder-{spec.fingerprint[:12]}"
    assert part["model"] == f"object:{part['artifact']}/torch"


def test_the_artifact_has_all_that_the_contract_names(
    workspace: Workspace, base: EmbedderSpec, learnt: torch.nn.Module
) -> None:
    part = export_embedder(learnt, base, Path(base.model), workspace.store, "embedder")
    files = {file.path for file in workspace.store.manifest(part["artifact"]).files}
    torch_files = {"config.json", "model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json"}
    assert {"model.onnx", "tokenizer.json", "record.json"} | {f"torch/{name}" for name in torch_files} <= files


def test_the_same_weights_are_the_same_artifact(
    workspace: Workspace, base: EmbedderSpec, learnt: torch.nn.Module
) -> None:
    parts = [export_embedder(learnt, base, Path(base.model), workspace.store, "embedder") for _ in range(2)]
    reloaded = load_encoder(workspace.model_path(parts[0]["model"]))
    again = export_embedder(reloaded, EmbedderSpec.from_record(parts[0]), workspace.model_path(parts[0]["model"]),
                            workspace.store, "embedder")  # fmt: skip
    assert parts[0] == parts[1] == again


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_refused(
    workspace: Workspace,
    base: EmbedderSpec,
    learnt: Any,  # noqa: ANN401
    value: float,
) -> None:
    learnt.encoder.layer[0].output.dense.weight.data[0, 0] = value
    with pytest.raises(BadModel, match="NaN or infinite"):
        export_embedder(learnt, base, Path(base.model), workspace.store, "embedder")
    assert workspace.store.list("models") == []


def test_an_encoder_that_gives_zero_vectors_is_refused(
    workspace: Workspace,
    base: EmbedderSpec,
    learnt: Any,  # noqa: ANN401
) -> None:
    norm = learnt.encoder.layer[-1].output.LayerNorm
    torch.nn.init.zeros_(norm.weight)
    torch.nn.init.zeros_(norm.bias)
    with pytest.raises(BadModel, match="NaN, infinite or zero"):
        export_embedder(learnt, base, Path(base.model), workspace.store, "embedder")
    assert workspace.store.list("models") == []


def test_another_layout_is_refused(workspace: Workspace, base: EmbedderSpec, tmp_path: Path) -> None:
    other = load_encoder(write_tiny_model(tmp_path / "other", dim=16))
    with pytest.raises(BadModel, match="layout"):
        export_embedder(other, base, Path(base.model), workspace.store, "embedder")
