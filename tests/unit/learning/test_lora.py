"""Adapters begin as no change, learn a little, and become part of the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from kaizen.config import GeneratorSettings, Settings
from kaizen.errors import BadModel
from kaizen.learning.export import export_generator
from kaizen.learning.lora import merged, with_adapters
from kaizen.models.chat_model import load_chat_model
from kaizen.models.generator import open_generator
from kaizen.workspace import open_workspace
from tests.unit.models.tiny_llama import write_tiny_llama

IDS = torch.tensor([[7, 4, 11, 11, 14]])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


def opened(path: Path) -> Any:  # noqa: ANN401 (transformers' own)
    return load_chat_model(path, torch.float32)[1]


def changed(model: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """Adapters moved away from zero."""
    random = torch.Generator().manual_seed(1)
    return {
        name: parameter.detach() + 0.3 * torch.randn(parameter.shape, generator=random)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def test_adapters_begin_as_no_change_and_are_few(tiny: Path) -> None:
    adapted = with_adapters(opened(tiny), 2)
    learning = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert 0 < learning < 0.2 * sum(p.numel() for p in adapted.parameters())
    with torch.inference_mode():
        assert torch.equal(adapted(IDS).logits, opened(tiny)(IDS).logits)


def test_the_merged_model_computes_what_the_adapted_one_does(tiny: Path) -> None:
    adapted = with_adapters(opened(tiny), 2)
    weights = changed(adapted)
    adapted.load_state_dict(weights, strict=False)
    with torch.inference_mode():
        wanted = adapted(IDS).logits.clone()
        got = merged(with_adapters(opened(tiny), 2), weights)(IDS).logits
        assert not torch.allclose(wanted, opened(tiny)(IDS).logits, atol=1e-2)
    assert torch.allclose(wanted, got, atol=1e-4)


def test_broken_or_foreign_weights_are_refused(tiny: Path) -> None:
    adapted = with_adapters(opened(tiny), 2)
    weights = changed(adapted)
    name = next(iter(weights))
    with pytest.raises(BadModel, match="another model"):
        merged(adapted, {"nothing": torch.zeros(1)})
    with pytest.raises(BadModel, match="NaN"):
        merged(adapted, weights | {name: weights[name] * float("nan")})


def test_what_learnt_is_stored_once_and_opens_as_a_generator(tiny: Path, tmp_path: Path) -> None:
    workspace = open_workspace(Settings.model_validate({"workspace": {"directory": tmp_path / "workspace"}}))
    base = GeneratorSettings(kind="transformers", model=str(tiny), max_tokens=7)
    parts = []
    for _ in range(2):
        tokenizer, model = load_chat_model(tiny, torch.float32)
        torch.manual_seed(0)  # adapters begin at random
        adapted = with_adapters(model, 2)
        part, apart = export_generator(merged(adapted, changed(adapted)), tokenizer, base, workspace.store)
        assert abs(apart) < 0.01, "bfloat16 rounds, and nothing else is changed"
        parts.append(part)
    assert parts[0] == parts[1]
    assert (parts[0]["kind"], parts[0]["max_tokens"]) == ("transformers", 7)
    settings = base.model_copy(update={"model": parts[0]["model"]})
    generator = open_generator(settings, {}, workspace.model_path)
    assert dict(generator.record) == parts[0]
    text = "".join(
        generator.stream([{"role": "user", "content": "hello"}], max_tokens=3, deadline=time.monotonic() + 60)
    )
    assert text


def test_an_export_that_computes_something_else_is_refused(tiny: Path, tmp_path: Path) -> None:
    workspace = open_workspace(Settings.model_validate({"workspace": {"directory": tmp_path / "workspace"}}))
    tokenizer, model = load_chat_model(tiny, torch.float32)
    model.get_output_embeddings().weight.data.mul_(100)  # so that it means what it says
    model.config.rms_norm_eps = 1e6  # the configuration is exported; what learnt has the one that it was made with
    with pytest.raises(BadModel, match="nats"):
        export_generator(model, tokenizer, GeneratorSettings(kind="transformers", model=str(tiny)), workspace.store)
    assert workspace.store.list("models") == []
