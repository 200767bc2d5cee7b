"""Bad candidates, each really made, as somebody would hand them over who checked nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from kaizen.learning.export import export_embedder
from kaizen.models.bert_graph import write_bert
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.encoder import load_encoder
from kaizen.models.location import fingerprint_of
from kaizen.records import Dataset
from kaizen.release import Part, with_parts
from tests.ray.small_world import (
    DIM,
    SPAM,
    SPECIALS,
    SYNONYMS,
    WORDS,
    Query,
    World,
    chance,
    write_encoder,
    write_tokenizer,
)

IDLE = 250_000  # units: an encoder with so many more takes ten times as long for a query


def clicks_that_are_meant(world: World) -> Dataset:
    """What people clicked who mean it."""
    return world.dataset("honest", world.train, world.held_out, lambda query: {query.answer: 1.0})


def taught_encoder(world: World, dataset: Dataset) -> Part:
    """The query encoder that learnt from a data set."""
    candidate = world.teach(dataset)
    return dict(world.workspace.ledger.releases.get(candidate.release).parts["query_encoder"])


def with_encoder(world: World, dataset: Dataset, part: Mapping[str, Any]) -> str:
    return world.candidate(dataset, with_parts(world.stable, query_encoder=dict(part)))


def exported(world: World, directory: Path) -> Part:
    """An encoder as learning would hand it over."""
    spec = read_spec(str(directory))
    return export_embedder(load_encoder(directory), spec, directory, world.workspace.store, "query-encoder")


def handed_over(world: World, directory: Path, tokenizer: Path | None = None) -> Part:
    """An encoder put into the object store by somebody who checked nothing."""
    made = directory.with_suffix(".artifact")
    torch_directory = made / "torch"
    shutil.copytree(directory, torch_directory)
    encoder = load_encoder(directory)
    write_bert(encoder, "mean", made / "model.onnx")
    (made / "tokenizer.json").write_bytes((tokenizer or directory / "tokenizer.json").read_bytes())
    read = read_spec(str(torch_directory))
    name = f"models/query-encoder-{read.fingerprint[:12]}"
    spec = EmbedderSpec.from_record({**read.record(), "model": f"object:{name}/torch"})
    record = {"source": spec.fingerprint, "onnx": fingerprint_of(made / "model.onnx"), "embedder": spec.record()}
    (made / "record.json").write_text(json.dumps(record))
    world.workspace.store.put_directory(name, made)
    return {**spec.record(), "artifact": name}


def copied(world: World, part: Mapping[str, Any], directory: Path, mark: float) -> Path:
    """The sentence-transformers directory of a part; `mark`, in a weight that nothing reads, makes it another model."""
    shutil.copytree(world.workspace.model_path(part["model"]), directory)
    weights = load_file(directory / "model.safetensors")
    weights["pooler.dense.bias"][0] += mark
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def shuffled_labels(world: World, honest: Dataset, directory: Path) -> str:
    """It learnt that other documents answer."""
    answers = [query.answer for query in world.train]
    chance(5).shuffle(answers)
    shuffled = dict(zip((query.id for query in world.train), answers, strict=True))
    taught = world.dataset("shuffled", world.train, [], lambda query: {shuffled[query.id]: 1.0})
    encoder = world.workspace.ledger.releases.get(world.teach(taught).release).parts["query_encoder"]
    return with_encoder(world, honest, handed_over(world, copied(world, encoder, directory / "e", 1.0)))


def wrong_dimension(world: World, honest: Dataset, directory: Path, dim: int = 64) -> str:
    """Its vectors have another length than those of the index."""
    return with_encoder(world, honest, exported(world, write_encoder(directory / "e", dim=dim)))


def forged_dimension(world: World, honest: Dataset, directory: Path, dim: int = 64) -> str:
    """They have, and its record says that they have not."""
    part = exported(world, write_encoder(directory / "e", dim=dim))
    return with_encoder(world, honest, {**part, "dim": DIM, "fingerprint": part["fingerprint"]})


def nan_weights(world: World, honest: Dataset, good: Part, directory: Path, place: tuple[int, int] = (3, 5)) -> str:
    """One of its weights is NaN."""
    copy = copied(world, good, directory / "e", 0.0)
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][place] = torch.nan
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return with_encoder(world, honest, handed_over(world, copy))


def untrained(world: World, honest: Dataset, directory: Path, seed: int = 9) -> str:
    """Nobody taught it, and its vectors are not those of the documents."""
    return with_encoder(world, honest, exported(world, write_encoder(directory / "e", seed=seed)))


def five_times_slower(world: World, honest: Dataset, directory: Path) -> str:
    """It has a hundred thousand units that add nothing."""
    return with_encoder(world, honest, handed_over(world, write_encoder(directory / "e", idle=IDLE)))


def slow_and_better(world: World, honest: Dataset, good: Part, directory: Path) -> str:
    """The good one with as many units that add nothing."""
    copy, layer, pad = copied(world, good, directory / "e", 4.0), "encoder.layer.0.", torch.nn.functional.pad
    weights = load_file(copy / "model.safetensors")
    for name, added in {
        "intermediate.dense.weight": (0, 0, 0, IDLE), "intermediate.dense.bias": (0, IDLE),
        "output.dense.weight": (0, IDLE),
    }.items():  # fmt: skip
        weights[layer + name] = pad(weights[layer + name], added)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": config["intermediate_size"] + IDLE}))
    return with_encoder(world, honest, handed_over(world, copy))


def poisoned(world: World) -> str:
    """Of twenty who search, six are hostile and click a document of their choice, in every list."""

    def clicked(query: Query) -> dict[str, float]:
        rng = chance(int(query.id[1:]))
        honest_clicks = sum(rng.random() < 0.5 for _ in range(14))
        most = max(honest_clicks, 6)
        return {query.answer: honest_clicks / most, f"{SPAM}0": 6 / most}

    return world.teach(world.dataset("poisoned", world.train, world.held_out, clicked)).release


def over_fitted(world: World) -> str:
    """It learnt a few queries by heart."""
    few = world.dataset("few", world.train[:40], world.held_out, lambda query: {query.answer: 1.0})
    return world.teach(few, epochs=80, learning_rate=1e-2).release


def mismatched_tokenizer(world: World, honest: Dataset, good: Part, directory: Path, seed: int = 0) -> str:
    """Its words have other numbers than those that its weights came with."""
    copy = copied(world, good, directory / "e", 2.0 + seed)
    (directory / "other").mkdir()
    words = chance(seed).sample([*SYNONYMS.values(), *WORDS], len(SYNONYMS) + len(WORDS))
    write_tokenizer(directory / "other", [*SPECIALS, *words])
    return with_encoder(world, honest, handed_over(world, copy, directory / "other" / "tokenizer.json"))


def worse_on_a_slice(world: World) -> str:
    """Those who speak the rare language were misunderstood: their clicks stand under other queries of theirs."""
    rare = [query for query in world.train if query.language == "rare"]
    wrong = dict(zip((q.id for q in rare), (q.answer for q in rare[7:] + rare[:7]), strict=True))
    mixed = world.dataset(
        "misunderstood", world.train, world.held_out, lambda query: {wrong.get(query.id, query.answer): 1.0}
    )
    return world.teach(mixed, epochs=16).release


def truncated(world: World, honest: Dataset, good: Part, directory: Path, cut: int = 1000) -> str:
    """The end of a file is missing."""
    part = handed_over(world, copied(world, good, directory / "e", 3.0 + cut))
    stored = world.workspace.store.fetch_directory(part["artifact"]) / "model.onnx"
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes()[:-cut])
    return with_encoder(world, honest, part)
