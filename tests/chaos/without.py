"""Switches one defence of a started installation off: a function or a constant of the product is replaced there.

    with without({"actors.fan_out:FanOut._ask_copies": "tests.chaos.stand_ins:ask_one_copy"}):
        with started(configure(folder, {})) as product: ...

Every process that is started inside the block (the head, Ray's workers, jobs) begins with a `sitecustomize` that waits
for the module to be imported, and then puts the stand-in there. A stand-in is a function of the original that gives
what takes its place. This process is left as it is.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

VARIABLE = "CHAOS_WITHOUT"
CLOCK_VARIABLE = "CHAOS_CLOCK"  # see tests.chaos.clock
ROOT = Path(__file__).parents[2]
HOOK = "from tests.chaos.without import install\n\ninstall()\n"


@contextmanager
def without(replaced: Mapping[str, str]) -> Iterator[None]:
    """Processes started inside the block have `replaced`: `module:attribute.path` -> `module:stand_in`."""
    with tempfile.TemporaryDirectory(prefix="kaizen-chaos-") as folder:
        (Path(folder) / "sitecustomize.py").write_text(HOOK)
        path = os.pathsep.join([folder, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with mock.patch.dict(os.environ, {VARIABLE: json.dumps(dict(replaced)), "PYTHONPATH": path}):
            yield


@contextmanager
def with_all_defences() -> Iterator[None]:
    """Processes started inside the block have nothing switched off, also while an installation lives that has."""
    others = {name: value for name, value in os.environ.items() if name != VARIABLE}
    with mock.patch.dict(os.environ, others, clear=True):
        yield


def install() -> None:
    """Called by `sitecustomize` when a process begins."""
    wanted: dict[str, list[tuple[str, str]]] = {}
    for place, stand_in in json.loads(os.environ.get(VARIABLE, "{}")).items():
        module, _, attribute = place.partition(":")
        wanted.setdefault(module, []).append((attribute, stand_in))
    if wanted:
        sys.meta_path.insert(0, _Finder(wanted))
    if folder := os.environ.get(CLOCK_VARIABLE):
        importlib.import_module("tests.chaos.clock").install(Path(folder))


class _Finder(MetaPathFinder):
    """Lets the others find a module, and has the last word when it is loaded."""

    def __init__(self, wanted: Mapping[str, list[tuple[str, str]]]) -> None:
        self._wanted = wanted

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._wanted:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, self._wanted[fullname])
                return spec
        return None


class _Loader(Loader):
    """Loads as the other one does, then replaces."""

    def __init__(self, other: Loader, wanted: list[tuple[str, str]]) -> None:
        self._other = other
        self._wanted = wanted

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._other.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._other.exec_module(module)
        for attribute, stand_in in self._wanted:
            _replace(module, attribute, stand_in)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the other loader has: get_filename, get_source)
        return getattr(self._other, name)


def _replace(module: ModuleType, attribute: str, stand_in: str) -> None:
    *owners, last = attribute.split(".")
    owner: Any = module
    for name in owners:
        owner = getattr(owner, name)
    place, _, name = stand_in.partition(":")
    original = getattr(owner, last)  # an attribute that is not there any more must be noticed
    setattr(owner, last, getattr(importlib.import_module(place), name)(original))
