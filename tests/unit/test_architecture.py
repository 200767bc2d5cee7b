"""The shape of the code: import rules, packages, and what must not happen at import."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("actors", "bench", "cluster", "jobs", "kaizen", "serve_apps", "train", "tune")
HEAVY = ("ray", "torch", "transformers", "pandas", "fastapi", "faiss", "onnxruntime", "pyarrow", "scipy")


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout if result.returncode else "") == (0, "")


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for top in CODE for p in (ROOT / top).rglob("__init__.py")}
    assert sorted(listed) == sorted(found)


def test_every_python_folder_is_a_package() -> None:
    folders = {path.parent for top in (*CODE, "tests") for path in (ROOT / top).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    code = f"import sys, kaizen.cli; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_unit_test_cannot_start_ray() -> None:
    ray = importlib.import_module("ray")
    with pytest.raises(RuntimeError, match="cannot start Ray"):
        ray.init(address="local")


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    names = {
        requirement.partition("[")[0].partition("=")[0].lower().replace("_", "-")
        for group in (project["dependencies"], optional["cpu"], optional["dev"], optional["postgres"])
        for requirement in group
    }
    pins = (
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    assert sorted(names - {name.lower().replace("_", "-") for name, _version in pins}) == []
