"""Measure retrieval on a collection in BEIR's layout, through the whole product: ingest, index, gateway, HTTP.

    python -m jobs.evaluate --dataset DIR [--split test] [--mode hybrid|dense|lexical|all] [--max-queries N] [--json]

The collection goes into a throw-away installation with your settings; its queries are sent one after the other over
one HTTP connection, as a user would. A document counts once, by its best chunk. Tells on standard error what it does
(with --json on a terminal only). Prints a table, or with --json one line: {"dense": {"ndcg@10": .., "recall@100": ..,
"mrr@10": .., "p50_ms": .., "p99_ms": ..}, ..., "chunks_per_s": ..}.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cluster.throwaway import Installation, installation, summary_of
from jobs.steps import Steps
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.errors import Unavailable
from kaizen.evaluation.collection import Collection
from kaizen.evaluation.ranking import means, measure
from kaizen.job import job_parser, print_result, run_job
from kaizen.retrieval.fusion import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
DEPTH = 100  # of recall@100
WARM_UP = 5


def evaluate(
    settings: Settings, collection: Collection, modes: Sequence[Mode], *, quiet: bool = True
) -> dict[str, Any]:
    """Measure `modes` on `collection`; returns the object that `--json` prints.

    Raises:
        InvalidInput: a query cannot be asked. Unavailable: the installation did not start, or not answer as it should.
    """
    collection.check_asked()
    steps, result = Steps(quiet=quiet), dict[str, Any]()
    with ExitStack() as stack:
        with steps.step("Starting an installation of its own: Ray, the index shards, the models and the HTTP API"):
            # Two documents of a collection may have one text, and both may be judged.
            running = stack.enter_context(installation(settings, {"ingest": {"deduplicate": False}}))
        with steps.step("Taking the documents in: cut, embed, index"):
            corpus = str(collection.directory / "corpus.jsonl")
            taken = summary_of(running.run("jobs.ingest", corpus, "--json", quiet=quiet))
        with steps.step(f"Asking {len(collection.queries)} queries, {', '.join(modes)}"):
            for mode in modes:
                result[mode] = _measure(running, collection, mode, taken["seq"], quiet=quiet)
    return {
        **result,
        "chunks_per_s": taken["chunks_per_s"],
        "documents": taken["documents"],
        "chunks": taken["chunks"],
        "quarantined": taken["quarantined"],
        "queries": len(collection.queries),
    }


def _measure(running: Installation, collection: Collection, mode: Mode, seq: int, *, quiet: bool) -> dict[str, float]:
    rankings: dict[str, list[str]] = {}
    spent: list[float] = []
    with httpx.Client(base_url=running.state.url, headers=running.headers, timeout=120, trust_env=False) as client:
        for text in list(collection.queries.values())[:WARM_UP]:
            _ask(client, text, mode, seq)
        queries = track(collection.queries.items(), description=mode, console=Console(stderr=True), disable=quiet)
        for name, text in queries:
            started = time.perf_counter()
            rankings[name] = _ask(client, text, mode, seq)
            spent.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(spent, [50, 99])
    found = means(measure(rankings, collection.judgements))
    return {
        **{name: round(value, 4) for name, value in found.items()},
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def _ask(client: httpx.Client, text: str, mode: Mode, seq: int) -> list[str]:
    """Documents, best first. A partial or degraded answer would be measured as if it were the product's best."""
    body = {"query": text, "mode": mode, "k": DEPTH, "unit": "document", "min_seq": seq, "timeout_seconds": 60}
    response = client.post("/v1/search", json=body)
    if response.status_code != 200:
        raise Unavailable(f"A query was answered with {response.status_code}: {response.text}", advice="See above.")
    answer = response.json()
    if answer["coverage"] < 1 or answer["degraded"]:
        raise Unavailable(f"A query was answered in part: {answer['degraded']}.", advice="Give the machine more room.")
    return [hit["document_id"] for hit in answer["hits"]]


def _print(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['queries']} queries over {result['documents']} documents")
    columns = ("ndcg@10", "recall@100", "mrr@10", "p50_ms", "p99_ms")
    for name in ("mode", *columns):
        table.add_column(name)
    for mode in MODES:
        if mode in result:
            table.add_row(mode, *(f"{result[mode][name]:.4g}" for name in columns))
    Console().print(table)


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = job_parser("jobs.evaluate", __doc__)
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", help="which judgements; default: test where there are splits")
    parser.add_argument("--mode", choices=[*MODES, "all"], default="all")
    parser.add_argument("--max-queries", type=_from_one, metavar="N", help="at most so many, spread over all")
    return run_job(_evaluate, parser.parse_args(arguments))


def _from_one(text: str) -> int:
    """An option that counts something."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("it is a whole number from 1")
    return int(text)


def _evaluate(options: argparse.Namespace) -> None:
    modes = MODES if options.mode == "all" else (options.mode,)
    collection = Collection.open(options.dataset, options.split)
    if options.max_queries is not None:
        collection = collection.limited(options.max_queries)
    quiet = options.json and not sys.stderr.isatty()
    result = evaluate(load_settings(options.config).settings, collection, modes, quiet=quiet)
    if options.json:
        print_result(result)
    else:
        _print(result)


if __name__ == "__main__":
    sys.exit(main())
