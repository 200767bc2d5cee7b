"""Models that lie in the object store are found by their reference, whole and safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaizen.config import Settings
from kaizen.errors import BadModel, Corrupt
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.location import fingerprint_of
from kaizen.workspace import Workspace, open_workspace
from tests.unit.models.tiny_model import write_tiny_model

NAME = "models/embedder-0123"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_tiny_model(tmp_path / "made" / "torch")
    opened = open_workspace(Settings.model_validate({"workspace": {"directory": tmp_path / "workspace"}}))
    opened.store.put_directory(NAME, tmp_path / "made")
    return opened


def test_a_stored_model_and_what_is_in_it_are_found(workspace: Workspace) -> None:
    whole = workspace.model_path(f"object:{NAME}")
    assert workspace.model_path(f"object:{NAME}/torch") == whole / "torch"
    assert fingerprint_of(whole / "torch") == read_spec(f"object:{NAME}/torch", workspace.model_path).fingerprint


def test_a_stored_model_opens(workspace: Workspace) -> None:
    spec: EmbedderSpec = read_spec(f"object:{NAME}/torch", workspace.model_path)
    embedder = open_embedder(spec, workspace.settings.embedder, "bulk", find=workspace.model_path)
    assert embedder.embed(["a pump"]).shape == (1, 32)
    with pytest.raises(BadModel, match="object store"):
        open_embedder(spec, workspace.settings.embedder, "bulk")


@pytest.mark.parametrize("reference", ["object:models/nothing", f"object:{NAME}/none", "object:models", "object:"])
def test_what_is_not_there_is_a_bad_model(workspace: Workspace, reference: str) -> None:
    with pytest.raises(BadModel, match="no model"):
        workspace.model_path(reference)


def test_a_reference_does_not_leave_its_directory(workspace: Workspace) -> None:
    with pytest.raises(BadModel, match="no model"):
        workspace.model_path(f"object:{NAME}/../..")


def test_a_changed_file_is_not_opened(workspace: Workspace) -> None:
    file = workspace.model_path(f"object:{NAME}/torch") / "config.json"
    file.write_bytes(file.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(Corrupt):
        workspace.model_path(f"object:{NAME}/torch")


def test_any_other_reference_is_a_path(workspace: Workspace, tmp_path: Path) -> None:
    assert workspace.model_path(str(tmp_path / "made" / "torch")) == tmp_path / "made" / "torch"
