"""For all tests: markers by folder, and the order unit, ray, journey, gpu, so that the cheap ones fail first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["tests.product"]  # the fixture of a running installation

ORDER = ("unit", "ray", "journey", "gpu")
HERE = Path(__file__).parent


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without_gpu = pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="there is no NVIDIA GPU here")
    for item in items:
        folder = _folder(item)
        if folder != "unit":
            item.add_marker(folder)
        if folder == "gpu":
            item.add_marker(without_gpu)
    items.sort(key=lambda item: ORDER.index(_folder(item)))
