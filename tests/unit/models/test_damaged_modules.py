"""A damaged modules.json is a bad model, not a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaizen.errors import BadModel
from kaizen.models.embedder_spec import read_spec
from tests.unit.models.tiny_model import write_tiny_model


@pytest.mark.parametrize(
    "modules", ["[{", "{}", "[1, 2]", '[{"path": ""}]', "null", '[{"type": "x.Transformer"}, {"type": "x.Pooling"}]']
)
def test_it_is_refused(tmp_path: Path, modules: str) -> None:
    model = write_tiny_model(tmp_path / "model")
    (model / "modules.json").write_text(modules)
    with pytest.raises(BadModel):
        read_spec(str(model))
