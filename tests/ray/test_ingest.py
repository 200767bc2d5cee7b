"""`jobs.ingest` on a running installation: formats, what cannot be read, reruns, pruning, S3, and `ray job submit`."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from cluster.throwaway import environment
from tests.corpus import HOSTILE, ROWS, WORDS, write_corpus, write_hostile, write_texts
from tests.product import Product, eventually, meanwhile, title_of


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that speaks S3, with three documents under s3://corpus/kb/."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs every request
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    store = boto3.client("s3", endpoint_url=url, **keys)
    store.create_bucket(Bucket="corpus")
    for number in range(3):
        store.put_object(Bucket="corpus", Key=f"kb/{number}.txt", Body=f"The okapi number {number}.".encode())
    yield url
    server.stop()


COUNTS = ("documents", "chunks", "unchanged", "duplicate", "quarantined", "deleted", "kept")


def counts(summary: dict[str, Any]) -> dict[str, int]:
    return {name: summary[name] for name in COUNTS if summary[name]}


def who_has(client: httpx.Client, word: str, seq: int) -> list[str]:
    body = {"query": word, "mode": "lexical", "min_seq": seq, "timeout_seconds": 30, "unit": "document", "k": 100}
    response = client.post("/v1/search", json=body)
    assert response.status_code == 200, response.text
    return sorted(hit["document_id"] for hit in response.json()["hits"])


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of every format and everything that cannot be read, and the tenant that takes it in."""

    product: Product
    path: Path
    tenant: str
    client: httpx.Client

    def ingest(self, *options: str) -> dict[str, Any]:
        return self.product.run("jobs.ingest", str(self.path), "--tenant", self.tenant, *options)

    def has(self, word: str, summary: dict[str, Any]) -> list[str]:
        return who_has(self.client, word, summary["seq"])

    def reasons(self) -> dict[str, str]:
        return {q.document_id: q.reason for q in self.product.parts.ledger.quarantine.list(self.tenant)}


EVERYTHING = len(WORDS) + len(ROWS)


def test_a_folder_from_first_run_to_pruning(product: Product, tmp_path: Path) -> None:
    """One story, since each step builds on the one before."""
    tenant, client = product.new_tenant()
    with client:
        folder = Folder(product, tmp_path / "kb", tenant, client)
        write_corpus(folder.path)
        write_hostile(folder.path / "bad")
        shutil.copy(folder.path / "notes.txt", folder.path / "again.txt")
        the_first_run_takes_what_can_be_read(folder)
        what_changed_is_taken_anew(folder)
        what_is_gone_goes_when_asked(folder)


def the_first_run_takes_what_can_be_read(folder: Folder) -> None:
    first = folder.ingest()
    taken = {"documents": EVERYTHING, "chunks": EVERYTHING}
    assert counts(first) == {**taken, "duplicate": 1, "quarantined": len(HOSTILE)}
    assert first["cpu_seconds"] > 0
    assert first["chunks_per_s"] > 0
    reasons = folder.reasons()
    for name, reason in HOSTILE.items():
        (found,) = [text for document, text in reasons.items() if document.startswith(f"kb/bad/{name}")]
        assert reason in found
        assert len(found) > 10
    notes = {"kb/notes.txt", "kb/again.txt"}  # which of the two is the duplicate is chance
    for name, word in WORDS.items():
        (holder,) = folder.has(word, first)
        assert holder in (notes if name == "notes.txt" else {f"kb/{name}"})
    assert {word: len(folder.has(word, first)) for word in ROWS.values()} == dict.fromkeys(ROWS.values(), 1)
    wanted = {"query": "hyena", "filter": {"field": "legs", "equals": 4}, "min_seq": first["seq"]}
    (answer,) = folder.client.post("/v1/search", json=wanted).json()["hits"]
    assert "hyena" in answer["text"]


def what_changed_is_taken_anew(folder: Folder) -> None:
    (folder.path / "guide.md").write_text("# Animals\n\nThe jaguar hunts.\n")
    (folder.path / "bad" / "latin.txt").write_text("café with a kudu")
    (folder.path / "page.html").unlink()
    changed = folder.ingest()
    taken = {"documents": 2, "chunks": 2, "unchanged": EVERYTHING - 2}
    assert counts(changed) == {**taken, "duplicate": 1, "quarantined": len(HOSTILE) - 1}
    assert folder.has("jaguar", changed) == ["kb/guide.md"]
    assert folder.has("badger", changed) == []
    assert folder.has("kudu", changed) == ["kb/bad/latin.txt"]
    assert len(folder.reasons()) == len(HOSTILE) - 1
    assert folder.has("capybara", changed) == ["kb/page.html"]  # gone, but nobody said --prune


def what_is_gone_goes_when_asked(folder: Folder) -> None:
    (folder.path / "guide.md").rename(folder.path / "manual.md")
    careful = folder.ingest("--prune")
    assert (careful["deleted"], careful["kept"]) == (0, 2), "nobody knows what bad.jsonl held"
    (folder.path / "bad" / "bad.jsonl").unlink()
    pruned = folder.ingest("--prune")
    assert (pruned["documents"], pruned["deleted"], pruned["kept"]) == (1, 2, 0)
    assert folder.has("capybara", pruned) == []
    assert folder.has("jaguar", pruned) == ["kb/manual.md"]
    assert folder.client.get("/v1/documents/kb/page.html").status_code == 404


def test_groups_are_kept_and_of_ray_data_nothing_when_a_job_has_ended(product: Product, tmp_path: Path) -> None:
    tenant, outsider = product.new_tenant()
    (tmp_path / "plan.txt").write_text("The launch of the narwhal is in May.")
    helpers = ("ray::_StatsActor", "ray::ActorLocationTracker", "ray::_AutoscalingCoordinator", "ray::_UsageCollection")
    with seen(product, helpers) as there:
        seq = product.run("jobs.ingest", str(tmp_path), "--tenant", tenant, "--group", "staff")["seq"]
    assert there == set(helpers[:3])  # nor is a report of what was done made for Ray's makers
    with outsider, product.client(product.new_key(tenant, groups=["staff"])) as insider:
        assert who_has(outsider, "narwhal", seq) == []
        assert len(who_has(insider, "narwhal", seq)) == 1
    eventually(lambda: not running(product, helpers), 30, "they have ended")


def running(product: Product, titles: tuple[str, ...]) -> set[str]:
    """Those titles that a process of the installation has."""
    found = [title_of(process) for process in product.tree()]
    return {title for title in titles if any(one.startswith(title) for one in found)}


@contextmanager
def seen(product: Product, titles: tuple[str, ...]) -> Iterator[set[str]]:
    """Those titles that a process of the installation had meanwhile."""
    there: set[str] = set()
    with meanwhile(lambda: there.update(running(product, titles)), 0.2):
        yield there


def test_a_source_that_is_not_there_is_an_error(product: Product, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.ingest", str(tmp_path / "nothing"), "--config", str(product.config)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, "nothing" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_source_that_a_worker_cannot_reach_is_an_error(product: Product, endpoint: str) -> None:
    """The installation was started without credentials for S3; those of this process are not its own."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": endpoint}
    command = [sys.executable, "-m", "jobs.ingest", "s3://corpus/kb", "--config", str(product.config)]
    done = subprocess.run(command, env={**environment(), **keys}, capture_output=True, text=True, check=False)
    assert done.returncode == 75, "the store does not answer; a role's credentials may be there the next time"
    assert "credentials" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_ray_job_submit(product: Product, tmp_path: Path) -> None:
    tenant, client = product.new_tenant()
    write_texts(tmp_path / "texts", 4, "pangolin")
    ray = str(Path(sys.executable).with_name("ray"))
    job = [sys.executable, "-m", "jobs.ingest", str(tmp_path / "texts"), "--tenant", tenant, "--json"]
    command = [ray, "job", "submit", "--address", product.state.jobs_address, "--", *job]
    done = subprocess.run(
        [*command, "--config", str(product.config)],
        env={**environment(), "RAY_AUTH_MODE": "token"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"documents": 4' in done.stdout
    with client:
        assert len(who_has(client, "pangolin", product.parts.ledger.documents.head())) == 4


def test_the_jobs_api_wants_a_token(product: Product) -> None:
    """Whoever may submit a job may run any program."""
    body = {"entrypoint": "true"}
    refused = httpx.post(f"{product.state.jobs_address}/api/jobs/", json=body, trust_env=False)
    assert refused.status_code == 401
