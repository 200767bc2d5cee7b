"""Is a candidate whole, and is it what it says? Asked before anything is measured, the cheapest question first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kaizen.errors import BadModel, Corrupt, KaizenError, NotFound
from kaizen.evaluation.verdict import Finding
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.models.onnx_export import MIN_COSINE
from kaizen.models.onnx_sample import SAMPLE
from kaizen.models.vectors import Vectors, bad_rows
from kaizen.offline import OfflineIndex
from kaizen.records import Release
from kaizen.release import index_of, ranker_of
from kaizen.workspace import Workspace

_PROBES = 12
_PROBE_CHARACTERS = 300
_LEAST_KNOWN = 0.5  # share of texts whose nearest document vector, of a few, is their own
_MOST_ALIKE = 0.95  # mean cosine of sentences on different subjects: all texts are one to an untrained encoder
_ENCODERS = ("embedder", "query_encoder")


@dataclass(frozen=True)
class Suspect:
    """A candidate and the release that it is compared with; what is opened is opened once."""

    workspace: Workspace
    candidate: Release
    stable: Release
    _vectors: dict[str, Vectors] = field(default_factory=dict)

    @property
    def changed(self) -> Mapping[str, Mapping[str, Any]]:
        """The parts that the stable release does not have alike."""
        parts = self.candidate.parts
        return {name: part for name, part in parts.items() if part != self.stable.parts.get(name)}

    @property
    def encoders(self) -> Mapping[str, Mapping[str, Any]]:
        """Those of the changed parts that turn text into vectors."""
        return {name: part for name, part in self.changed.items() if name in _ENCODERS}

    def artifact(self, part: Mapping[str, Any]) -> Path:
        """The directory that holds a part's files."""
        return self.workspace.store.fetch_directory(part["artifact"])

    def vectors(self, part: Mapping[str, Any]) -> Vectors:
        """The texts as the encoder would serve them, unchecked. Raises BadModel when it cannot be opened."""
        name = str(part["artifact"])
        if name not in self._vectors:
            opened = OnnxEmbedder(EmbedderSpec.from_record(part), self.artifact(part))
            self._vectors[name] = opened.embed_checked(self.texts)[0]
        return self._vectors[name]

    @cached_property
    def texts(self) -> Sequence[str]:
        """A few texts in the language of the documents; plain English sentences while there are hardly any."""
        rows = OfflineIndex.open(self.workspace, self.stable).rows(["text"]).column(0)
        if len(rows) < _PROBES:
            return SAMPLE[:_PROBES]
        return [rows[i * len(rows) // _PROBES].as_py()[:_PROBE_CHARACTERS] for i in range(_PROBES)]

    @cached_property
    def index(self) -> OfflineIndex:
        """The index that the candidate searches."""
        return OfflineIndex.open(self.workspace, self.candidate)


def check_integrity(workspace: Workspace, candidate: Release, stable: Release) -> list[Finding]:
    """Return the first thing that is wrong with `candidate`, or nothing. Raises Unavailable when a store is."""
    suspect = Suspect(workspace, candidate, stable)
    for check in _CHECKS:
        if (finding := check(suspect)) is not None:
            return [finding]
    return []


def _dimensions(suspect: Suspect) -> Finding | None:
    parts = suspect.candidate.parts
    said = {name: int(parts[name]["dim"]) for name in (*_ENCODERS, "index") if name in parts}
    if len(set(said.values())) == 1:
        return None
    reason = "Its vectors have different lengths: " + ", ".join(f"{name} {dim}" for name, dim in said.items()) + "."
    return Finding(code="wrong-dimension", reason=reason, figures=said)


def _files(suspect: Suspect) -> Finding | None:
    for name, part in suspect.candidate.parts.items():
        try:
            if "artifact" in part:
                suspect.artifact(part)
            if str(part.get("model", "")).startswith("object:"):
                suspect.workspace.model_path(part["model"])
        except Corrupt as error:
            return Finding(code="truncated-file", reason=f"Its {name} is damaged: {error.message}")
        except (NotFound, BadModel) as error:
            return Finding(code="missing-file", reason=f"Its {name} cannot be opened: {error.message}")
    return None


def _shards(suspect: Suspect) -> Finding | None:
    """A shard of the index that both search may never have been sealed: then both miss the same."""
    index, spec = suspect.index, index_of(suspect.candidate)
    never_sealed = spec.id == index_of(suspect.stable).id and not index.trouble
    if index.coverage == 1 or never_sealed:
        return None
    missing = sorted(set(range(spec.shards)) - index.views.keys())
    said = f" ({index.trouble[0]})" if index.trouble else ""
    reason = f"Its index has {len(index.views)} of {spec.shards} shards; shard {missing[0]} is missing{said}."
    return Finding(code="missing-shard", reason=reason, figures={"coverage": index.coverage, "missing": missing})


def _weights(suspect: Suspect) -> Finding | None:
    for name, part in suspect.changed.items():
        for file in sorted(_weights_directory(suspect, part).rglob("*.safetensors")) if _learnt(part) else ():
            try:
                bad = _not_finite(file)
            except (SafetensorError, OSError) as error:
                return Finding(code="truncated-file", reason=f"{file.name} of its {name} cannot be read: {error}.")
            if bad:
                reason = f"{len(bad)} weights of its {name} are NaN or infinite, such as {bad[0]}."
                return Finding(code="nan-weights", reason=reason, figures={"weights": bad[:10]})
    return None


def _tokenizer(suspect: Suspect) -> Finding | None:
    embedder = _vocabulary(suspect.artifact(suspect.candidate.parts["embedder"]))
    for name, part in suspect.encoders.items():
        own = _vocabulary(suspect.artifact(part))
        torch_directory = suspect.workspace.model_path(part["model"])
        if own != _vocabulary(torch_directory):
            return _mismatch(f"The tokenizer that serves its {name} is not the one that its weights came with.")
        rows = int(json.loads((torch_directory / "config.json").read_text()).get("vocab_size", 0))
        if rows and max(own.values()) >= rows:
            return _mismatch(f"The tokenizer of its {name} has token {max(own.values())}; the weights have {rows}.")
        if name == "query_encoder" and own != embedder:
            return _mismatch("Its query encoder has another tokenizer than the embedder that it began from.")
    return None


def _vectors(suspect: Suspect) -> Finding | None:
    for name, part in suspect.encoders.items():
        try:
            vectors = suspect.vectors(part)
        except BadModel as error:
            return Finding(code="bad-model", reason=f"Its {name} cannot be opened: {error.message}")
        if vectors.shape[1] != part["dim"]:
            reason = f"Its {name} gives vectors of {vectors.shape[1]} numbers; the index has {part['dim']}."
            return Finding(code="wrong-dimension", reason=reason)
        if bad := bad_rows(vectors):
            reason = f"Its {name} gives {len(bad)} of {len(vectors)} vectors that are NaN, infinite or zero."
            return Finding(code="nan-weights", reason=reason)
    return None


def _export(suspect: Suspect) -> Finding | None:
    for name, part in suspect.encoders.items():
        least = float((_by_torch(suspect, part) * suspect.vectors(part)).sum(axis=1).min())
        if not least >= MIN_COSINE:
            reason = f"The ONNX export of its {name} has cosine {least:.4f} to the safetensors; {MIN_COSINE} is asked."
            return Finding(code="export-differs", reason=reason, figures={"least_cosine": least})
    return None


def _untrained(suspect: Suspect) -> Finding | None:
    for name, part in suspect.encoders.items():
        own = suspect.vectors(part)
        alike = float((own @ own.T)[~np.eye(len(own), dtype=bool)].mean())
        if alike > _MOST_ALIKE:
            reason = f"To its {name} all texts are alike (mean cosine {alike:.3f}): it has learnt nothing."
            return Finding(code="untrained", reason=reason, figures={"mean_cosine": alike})
        theirs = suspect.vectors(suspect.candidate.parts["embedder"])
        known = float(((own @ theirs.T).argmax(axis=1) == np.arange(len(own))).mean())
        if known < _LEAST_KNOWN:
            reason = f"Its {name} finds {known:.0%} of a few documents by their own text: it has learnt nothing."
            return Finding(code="untrained", reason=reason, figures={"found": known})
    return None


def _ranker(suspect: Suspect) -> Finding | None:
    try:
        ranker_of(suspect.candidate, suspect.workspace.store)
    except (BadModel, KeyError, TypeError, ValueError) as error:
        said = error.message if isinstance(error, KaizenError) else "Its record is incomplete."
        return Finding(code="bad-ranker", reason=f"Its ranker cannot be used: {said}")
    return None


_CHECKS: Sequence[Callable[[Suspect], Finding | None]] = (
    _dimensions,
    _files,
    _ranker,
    _shards,
    _weights,
    _tokenizer,
    _vectors,
    _export,
    _untrained,
)


def _learnt(part: Mapping[str, Any]) -> bool:
    return str(part.get("model", "")).startswith("object:")


def _weights_directory(suspect: Suspect, part: Mapping[str, Any]) -> Path:
    return suspect.workspace.model_path(part["model"])


def _not_finite(file: Path) -> list[str]:
    """Names of the tensors with a value that is NaN or infinite."""
    with safe_open(str(file), framework="pt") as tensors:
        return [name for name in tensors.keys() if not bool(tensors.get_tensor(name).isfinite().all())]  # noqa: SIM118


def _vocabulary(directory: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    vocabulary: dict[str, int] = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()
    return vocabulary


def _mismatch(reason: str) -> Finding:
    return Finding(code="tokenizer-mismatch", reason=reason)


def _by_torch(suspect: Suspect, part: Mapping[str, Any]) -> Vectors:
    """The vectors of the safetensors, in float32, one text at a time: no padding that could differ."""
    import torch

    from kaizen.models.encoder import load_encoder, pool
    from kaizen.models.tokens import EmbedderTokenizer

    spec = EmbedderSpec.from_record(part)
    directory = suspect.workspace.model_path(spec.model)
    encoder = load_encoder(directory)
    tokenizer = EmbedderTokenizer(directory, max_tokens=spec.max_tokens, lowercase=spec.lowercase)
    rows = []
    with torch.inference_mode():
        for tokens in tokenizer.encode([spec.query_prompt + text for text in suspect.texts]):
            ids = torch.tensor([tokens])
            mask = torch.ones_like(ids)
            hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            rows.append(pool(hidden, mask, spec.pooling).numpy())
    stacked: Vectors = np.concatenate(rows)
    return stacked
