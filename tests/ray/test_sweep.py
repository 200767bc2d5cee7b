"""Sweeps on a real Ray: killed in the middle they go on, what is proven becomes a candidate, what is not does not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaizen.release import answering_of, retrieval_of
from tests.product import eventually
from tests.ray.small_world import World, make_world
from tune.sweep import main

TRIALS = 6


class Swept:
    """The small world with its configuration in a file; `run` is the command."""

    def __init__(self, directory: Path) -> None:
        self.world: World = make_world(directory)
        self.dataset = self.world.dataset(
            "honest", self.world.train, self.world.held_out, lambda query: {query.answer: 1.0}
        )
        self._config = directory / "kaizen.toml"
        self._config.write_text(
            f'[workspace]\ndirectory = "{directory / "w"}"\n[generator]\nkind = "extractive"\n[cluster]\ncpus = 2\n'
        )

    def options(self, what: str, name: str, trials: int) -> list[str]:
        return [
            "--what", what, "--name", name, "--trials", str(trials), "--json",
            "--release", self.world.stable.id, "--dataset", self.dataset.id, "--config", str(self._config),
        ]  # fmt: skip

    def start(self, what: str, name: str, trials: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tune.sweep", *self.options(what, name, trials)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, what: str, name: str, trials: int) -> dict[str, Any]:
        with self.start(what, name, trials) as process:
            out, errors = process.communicate()
        assert process.returncode == 0, errors
        result: dict[str, Any] = json.loads(out)  # and nothing else was printed
        return result

    def kept(self, name: str) -> dict[str, bytes]:
        store = self.world.workspace.store
        return {found: store.get_bytes(found) for found in store.list(f"sweeps/{name}/trials")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    directory = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        made = Swept(directory)
        yield made
        made.world.workspace.ledger.close()


def test_a_sweep_of_retrieval_is_killed_goes_on_and_ends_with_a_candidate(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    with swept.start("retrieval", "killed", TRIALS) as process:
        eventually(lambda: swept.kept("killed") or process.poll() is not None, 200, "a trial that ended")
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    before = swept.kept("killed")
    assert before, errors
    result = swept.run("retrieval", "killed", TRIALS)
    after = swept.kept("killed")
    assert len(before) <= TRIALS == len(after)
    assert {name: after[name] for name in before} == before, "what had ended was not run again"

    assert result["queries"]["source"] == "trusted"
    assert result["queries"]["validation"] + result["queries"]["test"] == len(swept.world.trusted)
    assert result["decision"] == "proven", result["reason"]
    assert result["test"]["low"] > 0
    ledger = swept.world.workspace.ledger
    release, candidate = ledger.releases.get(result["release"]), ledger.candidates.get(result["release"])
    assert (release.parent, candidate.rung, candidate.turn) == (swept.world.stable.id, 0, "")
    assert retrieval_of(release).depth == result["winner"]["settings"]["depth"]
    assert release.parts["index"] == swept.world.stable.parts["index"]
    assert swept.world.workspace.store.get_bytes("sweeps/killed/chart.svg").startswith(b"<svg")
    assert result["again"] is False
    assert main(swept.options("retrieval", "killed", TRIALS)) == 0
    assert json.loads(capsys.readouterr().out) == {**result, "again": True}, "what has ended is told again"


def test_a_sweep_of_answers_tries_how_many_chunks_and_when_to_abstain(swept: Swept) -> None:
    result = swept.run("answering", "answers", 4)
    assert (result["metric"], result["queries"]["source"], len(result["table"])) == ("answers", "trusted", 4)
    assert set(result["winner"]["settings"]) == {"chunks", "min_relevance"}, "nothing is generated"
    assert result["decision"] == "proven", result["reason"]
    ledger = swept.world.workspace.ledger
    release, candidate = ledger.releases.get(result["release"]), ledger.candidates.get(result["release"])
    answering = answering_of(release)
    assert {"chunks": answering.chunks, "min_relevance": answering.min_relevance} == result["winner"]["settings"]
    assert (candidate.rung, release.parts["retrieval"]) == (0, swept.world.stable.parts["retrieval"])


def test_a_sweep_of_training_keeps_what_is_there_unless_better_is_proven(swept: Swept) -> None:
    result = swept.run("training", "taught", 2)
    rows = {row["trial"]: row for row in result["table"]}
    assert len(rows) == 2
    assert rows[1]["share"] == 1
    assert result["winner"]["validation"] == max(row["validation"] for row in rows.values() if row["share"] == 1)
    candidates = {candidate.release for candidate in swept.world.workspace.ledger.candidates.list()}
    assert (result["decision"] == "proven") == (result["release"] in candidates)
