"""BERT from its files alone, against transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kaizen.models.bert import read_bert
from kaizen.models.encoder import load_encoder
from tests.unit.models.conftest import BertMaker


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_the_same_as_transformers(make_bert: BertMaker, activation: str) -> None:
    directory = make_bert(hidden_act=activation)
    ids = torch.randint(1000, 2000, (3, 24))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    ours, theirs = read_bert(directory), load_encoder(directory)
    assert ours is not None
    with torch.inference_mode():
        got, wanted = (e(input_ids=ids, attention_mask=mask).last_hidden_state for e in (ours, theirs))
    torch.testing.assert_close(got[mask == 1], wanted[mask == 1], atol=2e-5, rtol=1e-4)


def without_a_weight(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, directory / "model.safetensors")


def of_another_type(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))


def cut_short(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("change", [without_a_weight, of_another_type, cut_short])
def test_what_is_no_whole_bert_is_left_to_transformers(
    bert: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    directory = Path(shutil.copytree(bert, tmp_path / "bert"))
    assert read_bert(directory) is not None
    change(directory)
    assert read_bert(directory) is None
