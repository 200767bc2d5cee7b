"""The shape of the code: import rules, packages, and what must not happen at import."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("actors", "bench", "cluster", "jobs", "kaizen", "serve_apps", "train", "tune")
# What measurements leave, and programs that run in the environment of what we compare with: they import other things.
NOT_OURS = (ROOT / "bench" / "out", ROOT / "bench" / "peers" / "servers")
HEAVY = ("ray", "torch", "transformers", "pandas", "fastapi", "faiss", "onnxruntime", "pyarrow", "scipy")


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout if result.returncode else "") == (0, "")


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for top in CODE for p in sources(top, "__init__.py")}
    assert sorted(listed) == sorted(found)


def test_every_python_folder_is_a_package() -> None:
    folders = {path.parent for top in (*CODE, "tests") for path in sources(top)}
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
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonical(line.partition("==")[0]) for line in lines if not line.startswith("#")}
    assert sorted(declared("cpu", "dev", "postgres") - pins) == []


def test_everything_imported_is_a_dependency() -> None:
    homes = importlib.metadata.packages_distributions()
    imported = {name for top in CODE for path in sources(top) for name in top_imports(path)}
    outside = imported - set(CODE) - set(sys.stdlib_module_names)
    needed, known = {name: {canonical(home) for home in homes[name]} for name in outside}, declared("cpu")
    assert sorted(name for name, names in needed.items() if not names & known) == []


def sources(top: str, name: str = "*.py") -> Iterator[Path]:
    """Our own files below a folder of the project."""
    for folder, folders, files in os.walk(ROOT / top):
        folders[:] = [one for one in folders if Path(folder, one) not in NOT_OURS]
        yield from (Path(folder, file) for file in files if fnmatch(file, name))


def top_imports(path: Path) -> set[str]:
    """Names of the top-level modules that a file imports anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}}


def declared(*extras: str) -> set[str]:
    """Distributions that pyproject.toml names, with those of some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {canonical(re.split(r"[\[=]", requirement)[0]) for group in groups for requirement in group}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
