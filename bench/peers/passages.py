"""100,000 real texts with their vectors, made once: what every system is filled with.

The texts are the docstrings of the standard library and of the packages in PACKAGES, which every installation of
Kaizen has in these versions, cut by Kaizen's own chunker to at most 256 tokens; none is synthetic, no two are equal.
They come in an order shuffled once, so that any first part is a fair sample. Vectors are those of Kaizen's bulk
embedder. Both lie below bench/out under a name that says what made them; embedding 100,000 takes 15 minutes on two
quiet cores, the first time.
"""

from __future__ import annotations

import ast
import hashlib
import json
import random
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from bench.chart import OUT
from kaizen.config import Settings
from kaizen.errors import InvalidInput
from kaizen.models.embedder_spec import read_spec
from kaizen.models.location import locate
from kaizen.records import Document
from kaizen.text.chunk import Chunker
from kaizen.text.normalise import normalise
from kaizen.text.stdlib_corpus import stdlib_documents
from kaizen.text.tokens import TokenCounter

# Distributions by the name of their import package.
PACKAGES = {
    "accelerate": "accelerate",
    "deepspeed": "deepspeed",
    "docx": "python-docx",
    "huggingface_hub": "huggingface_hub",
    "networkx": "networkx",
    "numpy": "numpy",
    "onnxscript": "onnxscript",
    "pandas": "pandas",
    "peft": "peft",
    "pydantic": "pydantic",
    "ray": "ray",
    "scipy": "scipy",
    "sqlalchemy": "SQLAlchemy",
    "sympy": "sympy",
    "torch": "torch",
    "transformers": "transformers",
}
MIN_CHARS = 40
PIECE = 5_000  # vectors are made and kept in pieces of so many
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Passages:
    """`texts[i]` has the id `ids[i]` and the vector `vectors[i]`, (n, dim) float32, normalised."""

    texts: Sequence[str]
    vectors: np.ndarray

    @property
    def ids(self) -> list[str]:
        return [str(number) for number in range(len(self.texts))]


def passages(count: int, settings: Settings) -> Passages:
    """The first `count` texts and their vectors; raises InvalidInput when there are not so many texts."""
    folder = OUT / f"passages-{_made_by(settings)}"
    folder.mkdir(parents=True, exist_ok=True)
    texts = first_texts(count, settings)
    pieces = [_vectors(folder, texts, first, settings) for first in range(0, count, PIECE)]
    return Passages(texts=texts, vectors=np.concatenate(pieces)[:count])


def first_texts(count: int, settings: Settings) -> list[str]:
    """The first `count` texts, without vectors."""
    folder = OUT / f"passages-{_made_by(settings)}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "texts.json"
    if not file.exists():
        say("reading the docstrings of the installed packages (once, about a minute)")
        _write(file, json.dumps(_texts(settings)).encode())
    texts: list[str] = json.loads(file.read_bytes())
    if len(texts) < count:
        raise InvalidInput(f"There are {len(texts)} texts, not {count}.", advice=f"Ask for at most {len(texts)}.")
    return texts[:count]


def _made_by(settings: Settings) -> str:
    spec = read_spec(settings.embedder.model)
    parts = [
        FORMAT,
        sys.version,
        *(f"{name} {version(distribution)}" for name, distribution in sorted(PACKAGES.items())),
        spec.fingerprint,
        settings.chunking.model_dump_json(),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _texts(settings: Settings) -> list[str]:
    spec = read_spec(settings.embedder.model)
    counter = TokenCounter.from_directory(locate(spec.model), prompt=spec.document_prompt, lowercase=spec.lowercase)
    chunker = Chunker(counter, settings.chunking)
    found: dict[str, None] = {}
    for text in _docstrings():
        document = Document(tenant="bench", id="d", title="", text=normalise(text))
        found |= dict.fromkeys(chunk.text for chunk in chunker.chunks(document) if len(chunk.text) >= MIN_CHARS)
    texts = list(found)
    random.Random(0).shuffle(texts)  # noqa: S311 (no secret)
    return texts


def _docstrings() -> Iterator[str]:
    for row in stdlib_documents():
        yield row["text"]
    root = Path(sysconfig.get_path("purelib"))
    for package in sorted(PACKAGES):
        for file in sorted((root / package).rglob("*.py")):
            yield from _docstrings_in(file)


def _docstrings_in(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in others' docstrings are not our concern
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # templates of code and samples of broken files
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) >= MIN_CHARS:
                yield text


def _vectors(folder: Path, texts: Sequence[str], first: int, settings: Settings) -> np.ndarray:
    """Vectors of the piece that begins at `first`, from the disk where a run has left them whole."""
    part = texts[first : first + PIECE]
    for file in folder.glob(f"vectors-{first}-*.npy"):
        made: np.ndarray = np.load(file)
        if len(made) >= len(part):
            return made[: len(part)]
    say(f"embedding texts {first} to {first + len(part)} (once)")
    from kaizen.models.embedder import open_embedder  # torch takes seconds to import, and most runs need none

    made = open_embedder(read_spec(settings.embedder.model), settings.embedder, "bulk").embed(part)
    target = folder / f"vectors-{first}-{len(part)}.npy"
    partial = target.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.save(stream, made)
    partial.rename(target)
    return made


def _write(file: Path, content: bytes) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(file)


def say(what: str) -> None:
    """Tell people how far the bench is."""
    sys.stderr.write(f"bench.peers: {what}\n")
