"""For all tests: markers by folder, options, and the order of folders, so that the cheap ones fail first."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import xdist.remote
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["tests.product"]  # the fixture of a running installation

ORDER = ("unit", "ray", "journey", "chaos", "gpu")
# Installations that live until the last test, and load a machine while they idle: what needs none of them comes first.
LASTING = ("product", "twins", "weak_twins")
HERE = Path(__file__).parent
# Folders of unit tests by what their dearest file takes, so that processes end together; all others come last.
DEAREST_FIRST = ("models", "storage", "steward", "learning", "text", "indexing", "evaluation")
# Files that go to one process together, since they share what takes seconds to make: a PostgreSQL; transformers; the
# documents of the standard library.
TOGETHER = {
    "tests/unit/storage/": "storage",
    **{
        f"tests/unit/{name}": "transformers"
        for name in (
            "models/",
            "indexing/test_unsearchable.py",
            "learning/test_chats.py",
            "learning/test_export.py",
            "learning/test_lora.py",
            "learning/test_query_encoder.py",
            "test_workspace.py",
        )
    },
    "tests/unit/test_bench.py": "stdlib",
    "tests/unit/evaluation/test_stdlib_collection.py": "stdlib",
    "tests/unit/text/test_stdlib_corpus.py": "stdlib",
}
CHAOS_OUT = HERE.parent / "bench" / "out" / "chaos.jsonl"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos", "tests of faults (tests/chaos)")
    group.addoption("--chaos", choices=("short", "long"), default="short", help="how long they last")
    group.addoption("--chaos-minutes", type=float, default=30, help="of random faults in the long form")
    group.addoption("--chaos-seed", type=int, default=None, help="repeats the chance of a run that printed it")
    group.addoption("--chaos-out", type=Path, default=CHAOS_OUT, help="file to which results are added")
    fuzz = parser.getgroup("fuzz", "fuzzing of the API (tests/ray/test_fuzz_api.py)")
    fuzz.addoption("--fuzz-seconds", type=int, default=30, help="how long it looks (%(default)s)")
    fuzz.addoption("--fuzz-seed", type=int, default=None, help="looks at the same again as a run that printed it")


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
    files = {item.path: 0 for item in items}
    for item in items:
        files[item.path] = max(files[item.path], _needed(item))
    # Most files share what is dear to make, and so they stay whole; those of chaos share nothing of their own.
    items.sort(key=lambda item: (_needed(item) if _folder(item) == "chaos" else files[item.path], *_place(item)))


def _place(item: pytest.Item) -> tuple[int, int]:
    folder, inner = item.path.relative_to(HERE).parts[:2]
    return ORDER.index(folder), DEAREST_FIRST.index(inner) if inner in DEAREST_FIRST else len(DEAREST_FIRST)


def _needed(item: pytest.Item) -> int:
    """How many of LASTING run beside a test; those that it asks for by name are among its parameters."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    asked = {*getattr(item, "fixturenames", ()), *(value for value in parameters if isinstance(value, str))}
    return max((number for number, name in enumerate(LASTING, 1) if name in asked), default=0)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting makes stays to the end: the garbage collector need not walk it, now or ever again."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """torch works in one thread, whatever a test before asked of it: threads that share cores wait for each other.

    No fixture: it would come after those of modules and of the session.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


class Together(LoadFileScheduling):
    """A process gets a file at a time, in the order of the items, and with it the others of TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        shares = (name for start, name in TOGETHER.items() if nodeid.startswith(start))
        return next(shares, super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: xdist.remote.Producer) -> LoadFileScheduling | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # by count: a file of a hundred tests can take less than one of three
    return Together(config, log)
