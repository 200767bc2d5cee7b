"""`kaizen evaluate` on a small collection, through an installation of its own; here with the embedder as an actor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.throwaway import environment

# One of them is longer than a chunk: it must count once.
TEXTS = {
    "kettle": "A kettle boils water for tea. " * 60,
    "lamp": "A lamp gives light when it is dark.",
    "bicycle": "A bicycle has two wheels and is moved by pedals.",
    "anchor": "An anchor holds a ship in its place.",
    "violin": "A violin is played with a bow over four strings.",
}
QUERIES = {
    "q1": ("boil water", "kettle"),
    "q2": ("two wheels and pedals", "bicycle"),
    "q3": ("bow and strings", "violin"),
}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for temporary files whose name is too long for Ray's and HAProxy's sockets."""
    with tempfile.TemporaryDirectory(prefix=f"kaizen-{'long-' * 6}") as folder:
        yield Path(folder)


def collection(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": name, "title": name, "text": text}) for name, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    asked = [json.dumps({"_id": name, "text": text}) for name, (text, _) in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(asked))
    judged = [f"{name}\t{wanted}\t1" for name, (_, wanted) in QUERIES.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))
    return folder


@pytest.mark.timeout(300)
def test_a_collection_is_measured_through_the_whole_product_and_nothing_is_left(scratch: Path, tmp_path: Path) -> None:
    config = tmp_path / "kaizen.toml"
    config.write_text('[embedder]\nplacement = "actor"\ndevice = "cpu"\n[generator]\nkind = "extractive"\n')
    command = ["evaluate", "--dataset", str(collection(tmp_path / "beir")), "--config", str(config), "--json"]
    ours = {**environment(), "TMPDIR": str(scratch)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kaizen.cli", *command], env=ours, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert set(found) == {
        "dense", "lexical", "hybrid", "chunks_per_s", "documents", "chunks", "quarantined", "queries",
    }  # fmt: skip
    assert (found["documents"], found["queries"], found["quarantined"]) == (5, 3, 0)
    assert found["chunks"] > found["documents"]
    for mode in ("dense", "lexical", "hybrid"):
        assert set(found[mode]) == {"ndcg@10", "recall@100", "mrr@10", "p50_ms", "p99_ms"}
        assert (found[mode]["ndcg@10"], found[mode]["recall@100"], found[mode]["mrr@10"]) == (1, 1, 1)
        assert 0 < found[mode]["p50_ms"] <= found[mode]["p99_ms"]
    assert not list(scratch.glob("kaizen-*")), "a folder is left"  # Python and Ray leave some of theirs
    assert not [one for one in psutil.process_iter() if _is_of(one, scratch)], "a process is left"


def _is_of(process: psutil.Process, scratch: Path) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get("TMPDIR") == str(scratch)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
