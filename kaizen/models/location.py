"""Where a model is, whether its files are safe to open, and which files make it what it is."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from kaizen.errors import BadModel

Find = Callable[[str], Path]  # a reference -> the file or directory that it names, checked to be safe to open
_PACKAGE = "package:"
OBJECT = "object:"  # what learning made lies in the object store: `Workspace.model_path` finds it
_WEIGHTS = frozenset({".safetensors", ".gguf", ".onnx"})
_PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack"})
_CODE = frozenset({".py", ".pyc", ".so"})
_MATTERS = _WEIGHTS | {".json", ".txt", ".model", ".jinja"}
_CONFIGS = frozenset({"config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"})


def locate(reference: str) -> Path:
    """Return the file or directory that `reference` names, checked to be safe to open.

    `package:NAME/PATH` is a path inside an installed package, found without importing it; anything else is a
    path on this machine. (`object:NAME` needs a workspace: see `Workspace.model_path`.)

    Raises:
        BadModel: there is nothing there, the path leaves its package, or `check_safe` refuses the files.
    """
    if reference.startswith(OBJECT):
        raise BadModel(f"{reference!r} lies in an object store.", advice="Releases name such models; configure a path.")
    packaged = reference.startswith(_PACKAGE)
    path = _inside_package(reference) if packaged else Path(reference).expanduser().absolute()
    if not path.exists():
        raise BadModel(f"There is no model at {reference!r}.", advice="Check the path, or install the package.")
    check_safe(path)
    return path


def _inside_package(reference: str) -> Path:
    name, _, inner = reference.removeprefix(_PACKAGE).partition("/")
    if not name.isidentifier() or not inner:
        raise BadModel(f"{reference!r} is not of the form package:NAME/PATH.", advice="Name a top-level package.")
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise BadModel(f"The package {name!r} of {reference!r} is not installed.", advice="Install it with pip.")
    root = Path(next(iter(found.submodule_search_locations))).resolve()
    path = (root / inner).resolve()
    if not path.is_relative_to(root):
        raise BadModel(f"{reference!r} leaves its package.", advice="Name a path inside the package.")
    return path


def check_safe(path: Path) -> None:
    """Refuse a model that could run code when it is opened: only safetensors, GGUF and ONNX hold weights here.

    A directory may carry a pickle beside safetensors (many published ones do): it is never read.

    Raises:
        BadModel: Python or compiled code, an `auto_map` in a configuration, or weights only as pickles.
    """
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    suffixes = {f.suffix.lower() for f in files}
    if code := sorted(f.name for f in files if f.suffix.lower() in _CODE):
        raise BadModel(f"The model at {path} brings code ({code[0]}).", advice="Use a model that needs none.")
    if not suffixes & _WEIGHTS:
        pickled = " Pickled weights are not opened." if suffixes & _PICKLES else ""
        advice = "Convert it with save_pretrained(safe_serialization=True), or use GGUF or ONNX."
        raise BadModel(f"The model at {path} has no safetensors, GGUF or ONNX weights.{pickled}", advice=advice)
    for file in files:
        if file.name in _CONFIGS and "auto_map" in read_json(file):
            raise BadModel(f"{file.name} of the model at {path} asks for code of its own (auto_map).",
                           advice="Use a model whose architecture transformers knows.")  # fmt: skip


def read_json(file: Path) -> dict[str, object]:
    """Return the JSON object in `file`; raise BadModel when it is not one."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadModel(f"{file} cannot be read: {error}.", advice="Fetch the model again.") from error
    if not isinstance(value, dict):
        raise BadModel(f"{file} does not hold a JSON object.", advice="Fetch the model again.")
    return value


def fingerprint_of(path: Path) -> str:
    """Return 64 hex digits of SHA-256 over the files that decide what the model computes.

    Weights, configurations and vocabularies count, by their name relative to `path`; a README does not. Hashing
    runs at more than 1 GB/s where the CPU has SHA instructions: 0.1 s for a 90 MB model.
    """
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.suffix.lower() in _MATTERS and f.is_file()]
    total = hashlib.sha256()
    for file in sorted(files):
        name = file.name if file == path else file.relative_to(path).as_posix()
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()
