"""Twelve bad candidates, each really made, none promoted, each with the reason that fits; and a good one that is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.judge import judge_release
from kaizen.config import GeneratorSettings
from kaizen.models.generator_spec import generator_record
from kaizen.records import Dataset
from kaizen.release import Part, index_of, with_parts
from tests.ray.bad_candidates import (
    clicks_that_are_meant,
    five_times_slower,
    forged_dimension,
    mismatched_tokenizer,
    nan_weights,
    over_fitted,
    poisoned,
    shuffled_labels,
    taught_encoder,
    truncated,
    untrained,
    with_encoder,
    worse_on_a_slice,
    wrong_dimension,
)
from tests.ray.small_world import World, make_world

Make = Callable[[World, Dataset, Path], str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        yield make_world(directory)


@pytest.fixture(scope="module")
def honest(world: World) -> Dataset:
    """What people clicked who mean it."""
    return clicks_that_are_meant(world)


@pytest.fixture(scope="module")
def good(world: World, honest: Dataset) -> Part:
    """The query encoder of a candidate that deserves to be promoted."""
    return taught_encoder(world, honest)


def verdict(world: World, release: str) -> tuple[str, str]:
    """Judge a release and return its verdict and reason, which the ledger and the report must hold too."""
    report = judge_release(world.workspace, release)
    kept = world.workspace.ledger.candidates.get(release)
    assert (kept.verdict, kept.reason) == (report["verdict"], report["reason"])
    assert reported(world, release) == report
    assert report["reason"].encode()[:20] in world.workspace.store.get_bytes(f"{kept.report}/report.html")
    return report["verdict"], report["code"]


def reported(world: World, release: str) -> dict[str, Any]:
    """The report behind its verdict."""
    kept = world.workspace.ledger.candidates.get(release)
    report: dict[str, Any] = json.loads(world.workspace.store.get_bytes(f"{kept.report}/report.json"))
    return report


def test_a_good_candidate_is_promoted(world: World, honest: Dataset, good: Part) -> None:
    assert verdict(world, with_encoder(world, honest, good)) == ("promote", "better")


def test_shuffled_labels(world: World, honest: Dataset, tmp_path: Path) -> None:
    assert verdict(world, shuffled_labels(world, honest, tmp_path)) == ("reject", "worse")


@pytest.mark.parametrize("make", [wrong_dimension, forged_dimension])
def test_wrong_dimension(world: World, honest: Dataset, tmp_path: Path, make: Make) -> None:
    assert verdict(world, make(world, honest, tmp_path)) == ("reject", "wrong-dimension")


def test_nan_weights(world: World, honest: Dataset, good: Part, tmp_path: Path) -> None:
    assert verdict(world, nan_weights(world, honest, good, tmp_path)) == ("reject", "nan-weights")


def test_an_untrained_model(world: World, honest: Dataset, tmp_path: Path) -> None:
    assert verdict(world, untrained(world, honest, tmp_path)) == ("reject", "untrained")


def test_five_times_slower(world: World, honest: Dataset, tmp_path: Path) -> None:
    release = five_times_slower(world, honest, tmp_path)
    assert verdict(world, release) == ("reject", "slow")
    times = reported(world, release)["p50_ms"]
    assert times["candidate"] >= 5 * times["stable"]


def test_poisoned_by_hostile_clicks(world: World) -> None:
    assert verdict(world, poisoned(world)) == ("reject", "feedback-disagrees")


def test_an_over_fitted_one(world: World) -> None:
    assert verdict(world, over_fitted(world)) == ("reject", "over-fitted")


def test_a_tokenizer_mismatch(world: World, honest: Dataset, good: Part, tmp_path: Path) -> None:
    release = mismatched_tokenizer(world, honest, good, tmp_path)
    assert verdict(world, release) == ("reject", "tokenizer-mismatch")


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
    release = worse_on_a_slice(world)
    assert verdict(world, release) == ("reject", "slice")
    report = reported(world, release)
    assert report["sets"]["trusted"]["metrics"]["ndcg@10"]["low"] > 0
    assert report["figures"]["slice"]["name"] == "language = rare"


def test_a_generator_that_echoes_its_prompt(world: World, honest: Dataset, echo: str) -> None:
    settings = GeneratorSettings(kind="openai", model="parrot", endpoint_url=echo)
    release = world.candidate(honest, with_parts(world.stable, generator=generator_record(settings)))
    assert verdict(world, release) == ("reject", "echoes-prompt")


def test_a_truncated_file(world: World, honest: Dataset, good: Part, tmp_path: Path) -> None:
    assert verdict(world, truncated(world, honest, good, tmp_path)) == ("reject", "truncated-file")


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
