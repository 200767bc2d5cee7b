"""Twelve bad candidates, each really made, none promoted, each with the reason that fits; and a good one that is."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.judge import judge_release
from kaizen.config import GeneratorSettings
from kaizen.learning.export import export_embedder
from kaizen.models.bert_graph import write_bert
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.encoder import load_encoder
from kaizen.models.generator_spec import generator_record
from kaizen.models.location import fingerprint_of
from kaizen.records import Dataset
from kaizen.release import Part, index_of, with_parts
from tests.ray.small_world import (
    SPAM,
    SYNONYMS,
    WORDS,
    Query,
    World,
    chance,
    make_world,
    write_encoder,
    write_tokenizer,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        yield make_world(directory)


@pytest.fixture(scope="module")
def honest(world: World) -> Dataset:
    """What people clicked who mean it."""
    return world.dataset("honest", world.train, world.held_out, lambda query: {query.answer: 1.0})


@pytest.fixture(scope="module")
def good(world: World, honest: Dataset) -> Part:
    """The query encoder of a candidate that deserves to be promoted."""
    candidate = world.teach(honest)
    return dict(world.workspace.ledger.releases.get(candidate.release).parts["query_encoder"])


def verdict(world: World, release: str) -> tuple[str, str]:
    """Judge a release and return its verdict and reason, which the ledger and the report must hold too."""
    report = judge_release(world.workspace, release)
    kept = world.workspace.ledger.candidates.get(release)
    assert (kept.verdict, kept.reason) == (report["verdict"], report["reason"])
    assert json.loads(world.workspace.store.get_bytes(f"{kept.report}/report.json")) == report
    assert report["reason"].encode()[:20] in world.workspace.store.get_bytes(f"{kept.report}/report.html")
    return report["verdict"], report["code"]


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


def test_a_good_candidate_is_promoted(world: World, honest: Dataset, good: Part) -> None:
    assert verdict(world, with_encoder(world, honest, good)) == ("promote", "better")


def test_shuffled_labels(world: World, honest: Dataset, tmp_path: Path) -> None:
    answers = [query.answer for query in world.train]
    chance(5).shuffle(answers)
    shuffled = dict(zip((query.id for query in world.train), answers, strict=True))
    taught = world.dataset("shuffled", world.train, [], lambda query: {shuffled[query.id]: 1.0})
    encoder = world.workspace.ledger.releases.get(world.teach(taught).release).parts["query_encoder"]
    part = handed_over(world, copied(world, encoder, tmp_path / "e", 1.0))
    assert verdict(world, with_encoder(world, honest, part)) == ("reject", "worse")


def test_wrong_dimension(world: World, honest: Dataset, tmp_path: Path) -> None:
    part = exported(world, write_encoder(tmp_path / "e", dim=64))
    assert verdict(world, with_encoder(world, honest, part)) == ("reject", "wrong-dimension")
    forged = {**part, "dim": 96, "fingerprint": part["fingerprint"]}
    assert verdict(world, with_encoder(world, honest, forged)) == ("reject", "wrong-dimension")


def test_nan_weights(world: World, honest: Dataset, good: Part, tmp_path: Path) -> None:
    directory = copied(world, good, tmp_path / "e", 0.0)
    weights = load_file(directory / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][3, 5] = torch.nan
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    assert verdict(world, with_encoder(world, honest, handed_over(world, directory))) == ("reject", "nan-weights")


def test_an_untrained_model(world: World, honest: Dataset, tmp_path: Path) -> None:
    part = exported(world, write_encoder(tmp_path / "e", seed=9))
    assert verdict(world, with_encoder(world, honest, part)) == ("reject", "untrained")


def test_five_times_slower(world: World, honest: Dataset, tmp_path: Path) -> None:
    part = handed_over(world, write_encoder(tmp_path / "e", idle=150_000))
    release = with_encoder(world, honest, part)
    assert verdict(world, release) == ("reject", "slow")
    times = json.loads(world.workspace.store.get_bytes(f"reports/{release}/report.json"))["p50_ms"]
    assert times["candidate"] >= 5 * times["stable"]


def test_poisoned_by_hostile_clicks(world: World) -> None:
    """Of twenty who search, six are hostile and click a document of their choice, in every list."""

    def clicked(query: Query) -> dict[str, float]:
        rng = chance(int(query.id[1:]))
        honest_clicks = sum(rng.random() < 0.5 for _ in range(14))
        most = max(honest_clicks, 6)
        return {query.answer: honest_clicks / most, f"{SPAM}0": 6 / most}

    poisoned = world.dataset("poisoned", world.train, world.held_out, clicked)
    assert verdict(world, world.teach(poisoned).release) == ("reject", "feedback-disagrees")


def test_an_over_fitted_one(world: World) -> None:
    few = world.dataset("few", world.train[:40], world.held_out, lambda query: {query.answer: 1.0})
    candidate = world.teach(few, epochs=80, learning_rate=1e-2)
    assert verdict(world, candidate.release) == ("reject", "over-fitted")


def test_a_tokenizer_mismatch(world: World, honest: Dataset, good: Part, tmp_path: Path) -> None:
    directory = copied(world, good, tmp_path / "e", 2.0)
    (tmp_path / "other").mkdir()
    write_tokenizer(tmp_path / "other", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SYNONYMS.values(), *WORDS])
    part = handed_over(world, directory, tmp_path / "other" / "tokenizer.json")
    assert verdict(world, with_encoder(world, honest, part)) == ("reject", "tokenizer-mismatch")


def test_a_missing_index_shard(world: World, honest: Dataset, good: Part) -> None:
    chunking = {**world.stable.parts["index"]["chunking"], "max_tokens": 128}
    index = {**world.stable.parts["index"], "chunking": chunking}
    release = world.candidate(honest, with_parts(world.stable, query_encoder=good, index=index))
    made = world.workspace.ledger.releases.get(release)
    world.build_index(made)
    assert verdict(world, release) == ("promote", "better")
    prefix = index_of(made).shard_prefix(1)
    for name in world.workspace.store.list(f"{prefix}/segments"):
        world.workspace.store.delete(name)
    assert verdict(world, release) == ("reject", "missing-shard")


def test_better_on_average_and_far_worse_on_one_slice(world: World) -> None:
    """Those who speak the rare language were misunderstood: their clicks stand under other queries of theirs."""
    rare = [query for query in world.train if query.language == "rare"]
    wrong = dict(zip((q.id for q in rare), (q.answer for q in rare[7:] + rare[:7]), strict=True))
    mixed = world.dataset(
        "misunderstood", world.train, world.held_out, lambda query: {wrong.get(query.id, query.answer): 1.0}
    )
    release = world.teach(mixed, epochs=16).release
    assert verdict(world, release) == ("reject", "slice")
    report = json.loads(world.workspace.store.get_bytes(f"reports/{release}/report.json"))
    assert report["sets"]["trusted"]["metrics"]["ndcg@10"]["low"] > 0
    assert report["figures"]["slice"]["name"] == "language = rare"


def test_a_generator_that_echoes_its_prompt(world: World, honest: Dataset, echo: str) -> None:
    settings = GeneratorSettings(kind="openai", model="parrot", endpoint_url=echo)
    release = world.candidate(honest, with_parts(world.stable, generator=generator_record(settings)))
    assert verdict(world, release) == ("reject", "echoes-prompt")


def test_a_truncated_file(world: World, honest: Dataset, good: Part, tmp_path: Path) -> None:
    part = handed_over(world, copied(world, good, tmp_path / "e", 3.0))
    stored = world.workspace.store.fetch_directory(part["artifact"]) / "model.onnx"
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes()[:-1000])
    assert verdict(world, with_encoder(world, honest, part)) == ("reject", "truncated-file")


def copied(world: World, part: Mapping[str, Any], directory: Path, mark: float) -> Path:
    """The sentence-transformers directory of a part; `mark`, in a weight that nothing reads, makes it another model."""
    shutil.copytree(world.workspace.model_path(part["model"]), directory)
    weights = load_file(directory / "model.safetensors")
    weights["pooler.dense.bias"][0] += mark
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


@pytest.fixture
def echo() -> Iterator[str]:
    """An endpoint that speaks the protocol and says what it was told; its URL."""

    class Parrot(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = "\n".join(message["content"] for message in asked["messages"])
            event = json.dumps({"choices": [{"delta": {"content": text}}]})
            body = f"data: {event}\n\ndata: [DONE]\n\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Parrot)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
