"""Packed models: the same bits or 8 of them, shared, checked, and never what keeps a model from being opened."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kaizen import packed_models
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.location import fingerprint_of
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.models.onnx_export import export_onnx
from kaizen.models.onnx_sample import SAMPLE
from kaizen.models.packed_weights import pack
from kaizen.packed_models import KEPT, PackedModels
from kaizen.storage.manifest import MANIFEST_FILE
from tests.unit.models.conftest import BertMaker

NOW = time.time()


def refuse(*_: object) -> None:
    raise AssertionError("made again")


@pytest.fixture(params=[False, True], ids=["as exported", "8 bits"], autouse=True)
def eight_bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor multiplies bytes: all holds either way."""
    monkeypatch.setattr(packed_models, "multiplies_bytes", lambda: request.param)
    return bool(request.param)


def test_it_is_made_once_and_as_exported_to_the_bit_or_close(
    spec: EmbedderSpec, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eight_bits: bool
) -> None:
    packed = PackedModels(tmp_path).of(exported)
    assert packed is not None
    monkeypatch.setattr(packed_models, "pack", refuse)
    assert PackedModels(tmp_path).of(exported) == packed
    plain, got = OnnxEmbedder(spec, exported).embed(SAMPLE), OnnxEmbedder(spec, exported, packed=packed).embed(SAMPLE)
    assert np.array_equal(got, plain) is not eight_bits
    assert (got * plain).sum(axis=1).min() > 0.999


def test_what_is_not_close_in_8_bits_is_packed_as_it_was_exported(
    spec: EmbedderSpec, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaizen.models.eight_bits.MIN_MEAN_COSINE", 1.1)
    packed = PackedModels(tmp_path).of(exported)
    assert packed is not None
    plain, got = OnnxEmbedder(spec, exported).embed(SAMPLE), OnnxEmbedder(spec, exported, packed=packed).embed(SAMPLE)
    np.testing.assert_array_equal(got, plain)


def test_another_processor_has_another_packing(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eight_bits: bool
) -> None:
    packed = PackedModels(tmp_path).of(exported)
    monkeypatch.setattr(packed_models, "multiplies_bytes", lambda: not eight_bits)
    assert PackedModels(tmp_path).of(exported) not in (packed, None)


def test_of_those_who_start_together_one_makes_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def counted(model: Path, into: Path) -> None:
        made.append(model)
        pack(model, into)

    monkeypatch.setattr(packed_models, "pack", counted)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: PackedModels(tmp_path).of(exported), range(4)))
    assert len(found) == len(made) == 1
    assert None not in found


def test_the_weights_are_mapped(spec: EmbedderSpec, exported: Path, tmp_path: Path) -> None:
    packed = PackedModels(tmp_path).of(exported)
    assert packed is not None
    held = OnnxEmbedder(spec, exported, packed=packed)
    assert str(packed.with_name("model.weights")) in Path("/proc/self/maps").read_text()
    assert held.embed(["a pump"]).shape == (1, 64)


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", ["model.weights", "model.onnx", MANIFEST_FILE, ""])
def test_what_is_damaged_is_made_again(exported: Path, tmp_path: Path, damage: str) -> None:
    """Any of the files with a flipped bit, and the manifest gone."""
    packed = PackedModels(tmp_path).of(exported)
    assert packed is not None
    whole = {file.name: file.read_bytes() for file in packed.parent.iterdir()}
    if damage:
        flipped(packed.with_name(damage))
    else:
        packed.with_name(MANIFEST_FILE).unlink()
    assert PackedModels(tmp_path).of(exported) == packed
    assert {file.name: file.read_bytes() for file in packed.parent.iterdir()} == whole


def test_a_packing_that_is_taken_away_does_not_matter(spec: EmbedderSpec, exported: Path, tmp_path: Path) -> None:
    packed = PackedModels(tmp_path).of(exported)
    assert packed is not None
    shutil.rmtree(packed.parent)
    assert OnnxEmbedder(spec, exported, packed=packed).embed(["a pump"]).shape == (1, 64)


def test_nothing_is_packed_under_the_name_of_another_model(
    make_bert: BertMaker, exported: Path, tmp_path: Path
) -> None:
    other = make_bert(pooling="cls_token")
    (tmp_path / "other").mkdir()
    export_onnx(read_spec(str(other)), tmp_path / "other")
    shutil.copyfile(exported / "record.json", tmp_path / "other" / "record.json")
    assert PackedModels(tmp_path / "packed").of(tmp_path / "other") is None
    assert not any((tmp_path / "packed").rglob("model.onnx"))


def test_where_nothing_can_be_written_the_model_is_opened_as_it_was_exported(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert PackedModels(tmp_path / "file" / "packed").of(exported) is None


def test_what_is_no_model_is_left_to_who_opens_it(exported: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (broken / "model.onnx").write_bytes(b"no model")
    assert PackedModels(tmp_path / "packed").of(broken) is None


def test_those_last_opened_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_models, "pack", lambda model, into: (into / "model.onnx").write_text(str(model)))
    models = PackedModels(tmp_path / "packed")
    exports = [tmp_path / f"export-{number}" for number in range(KEPT + 1)]
    for number, export in enumerate(exports):
        export.mkdir()
        (export / "model.onnx").write_text(f"{number}")
        (export / "record.json").write_text(json.dumps({"onnx": fingerprint_of(export / "model.onnx")}))
    made = [models.of(export) for export in exports[:KEPT]]
    for age, path in enumerate(reversed(made), start=1):
        assert path is not None
        os.utime(path.parent, (NOW - age, NOW - age))
    assert models.of(exports[0]) == made[0]
    assert models.of(exports[KEPT]) is not None
    assert [path is not None and path.exists() for path in made] == [True, False, *[True] * (KEPT - 2)]
