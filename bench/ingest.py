"""How much of the bare model's speed bulk ingest keeps, and whether its memory stays flat.

    python -m bench.ingest [--quick] [--json]

prints one line, {"chunks_per_s": .., "bare_chunks_per_s": .., "ratio": .., "peak_mb": {"5": .., "20": ..}, ...}, and
writes bench/out/ingest.svg. About six minutes on two quiet cores.

What is compared. The job: `python -m jobs.ingest` over a JSONL file in a fresh workspace, with default settings, with a
Ray of its own and no service beside it. The bare model: `TorchEmbedder.embed` in one process, on all cores, over the
very chunk texts that the job embeds, cut beforehand, loaded and warm, with nothing else. Both run in turns, bare first
and last, and each job is compared with the mean of the bare runs around it.

    chunks_per_s            the job's own figure: chunks over the time from its first read to its last durable record,
                            the start of its actors and the loading of the model included; of the larger corpus
    whole_job_chunks_per_s  chunks over the time from starting the command to its exit: Python, Ray, and their end too
    bare_chunks_per_s       mean of the bare runs before and after that job
    ratio                   chunks_per_s / bare_chunks_per_s. Goal: 0.8
    cpu_ratio               the same of chunks per CPU-second, which other load on the machine disturbs less
    peak_mb                 most memory of the job with all its processes (proportional set size, Ray included) by MB of
                            text. Goal: the larger at most 1.2 times the smaller
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.corpus import write_pages
from bench.process_tree import watched
from cluster.throwaway import environment, write_config
from kaizen.config import Settings
from kaizen.errors import Unavailable
from kaizen.evaluation.bars import Group

MEGABYTE = 2**20
SIZES_MB = (5, 20)
QUICK_SIZES_MB = (1, 4)
BARE_CHUNKS = 6000
FLAT = 1.2
GOAL = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class BareRun:
    """The model alone over `chunks` texts."""

    chunks: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """One `jobs.ingest`. `seconds` is the job's own count, `whole_seconds` that of whoever waits for it."""

    chunks: int
    seconds: float
    whole_seconds: float
    cpu_seconds: float
    peak_mb: float


class BareModel:
    """The model in a process of its own, which stays loaded between runs."""

    def __init__(self, corpus: Path, settings: Settings) -> None:
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_load, initargs=(corpus, settings)
        )

    def run(self) -> BareRun:
        """Embed the texts once."""
        return self._pool.submit(_embed).result()

    def close(self) -> None:
        """Give the memory back."""
        self._pool.shutdown()


_bare: dict[str, Any] = {}  # of the process of BareModel, which has no other purpose


def _load(corpus: Path, settings: Settings) -> None:
    from kaizen.models.embedder import open_embedder
    from kaizen.models.embedder_spec import read_spec

    spec = read_spec(settings.embedder.model)
    _bare["model"] = open_embedder(spec, settings.embedder, "bulk")
    _bare["texts"] = _chunk_texts(corpus, settings)
    _bare["model"].embed(_bare["texts"][:64])


def _chunk_texts(corpus: Path, settings: Settings) -> list[str]:
    """The first BARE_CHUNKS texts that the job embeds."""
    from kaizen.models.embedder_spec import read_spec
    from kaizen.models.location import locate
    from kaizen.records import Document
    from kaizen.text.chunk import Chunker
    from kaizen.text.tokens import TokenCounter

    spec = read_spec(settings.embedder.model)
    counter = TokenCounter.from_directory(locate(spec.model), prompt=spec.document_prompt, lowercase=spec.lowercase)
    chunker = Chunker(counter, settings.chunking)
    texts: list[str] = []
    with corpus.open(encoding="utf-8") as lines:
        for line in lines:
            document = Document(tenant="bench", **json.loads(line))
            texts += chunker.embedded_texts(document, chunker.chunks(document))
            if len(texts) >= BARE_CHUNKS:
                break
    return texts[:BARE_CHUNKS]


def _embed() -> BareRun:
    started, cpu_started = time.perf_counter(), time.process_time()
    _bare["model"].embed(_bare["texts"])
    return BareRun(
        chunks=len(_bare["texts"]),
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
    )


def run_job(folder: Path, corpus: Path, settings: Settings) -> JobRun:
    """Ingest `corpus` into a workspace of its own below `folder`. Raises Unavailable when the job fails."""
    folder.mkdir()
    config = write_config(folder, settings, {})
    _run(["jobs.build_release", "--config", str(config)])  # the ONNX export belongs to the first start, not to ingest
    command = [sys.executable, "-P", "-m", "jobs.ingest", str(corpus), "--json", "--config", str(config)]
    started = time.perf_counter()
    job = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 (our own module)
    with watched(job.pid) as tree:
        output, trouble = job.communicate()
    whole = time.perf_counter() - started
    if job.returncode:
        raise Unavailable(f"jobs.ingest failed: {trouble}", advice="Read what it says above.")
    summary = json.loads(output.strip().splitlines()[-1])
    return JobRun(
        chunks=summary["chunks"],
        seconds=summary["seconds"],
        whole_seconds=whole,
        cpu_seconds=tree.cpu_seconds,
        peak_mb=tree.peak_bytes / MEGABYTE,
    )


def _run(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-P", "-m", *arguments], env=environment(), check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (our own modules)


def measure(sizes_mb: Sequence[int]) -> dict[str, Any]:
    """Run all in turns: bare, job, bare, job, ..., bare; returns the object that is printed."""
    settings = Settings()
    jobs: list[JobRun] = []
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as scratch:
        folder = Path(scratch)
        corpora = [folder / f"pages-{size}.jsonl" for size in sizes_mb]
        for corpus, size in zip(corpora, sizes_mb, strict=True):
            write_pages(corpus, size * MEGABYTE)
        model = BareModel(corpora[0], settings)
        bare = [model.run()]
        for number, corpus in enumerate(corpora):
            jobs.append(run_job(folder / f"job-{number}", corpus, settings))
            bare.append(model.run())
        model.close()
    return _result(sizes_mb, jobs, bare)


def _result(sizes_mb: Sequence[int], jobs: Sequence[JobRun], bare: Sequence[BareRun]) -> dict[str, Any]:
    """`bare[i]` ran before `jobs[i]` and `bare[i + 1]` after it."""
    rates = [run.chunks / run.seconds for run in bare]
    around = [mean(rates[i : i + 2]) for i in range(len(jobs))]
    per_cpu = mean(run.chunks / run.cpu_seconds for run in bare)
    last = jobs[-1]
    return {
        "chunks_per_s": round(last.chunks / last.seconds, 1),
        "bare_chunks_per_s": round(around[-1], 1),
        "ratio": round(last.chunks / last.seconds / around[-1], 3),
        "peak_mb": {str(size): round(job.peak_mb) for size, job in zip(sizes_mb, jobs, strict=True)},
        "peak_ratio": round(last.peak_mb / jobs[0].peak_mb, 3),
        "whole_job_chunks_per_s": round(last.chunks / last.whole_seconds, 1),
        "whole_job_ratio": round(last.chunks / last.whole_seconds / around[-1], 3),
        "cpu_ratio": round(last.chunks / last.cpu_seconds / per_cpu, 3),
        "ratios": [round(job.chunks / job.seconds / limit, 3) for job, limit in zip(jobs, around, strict=True)],
        "bare_runs": [round(rate, 1) for rate in rates],
        "chunks": [job.chunks for job in jobs],
        "start_and_end_seconds": round(mean(job.whole_seconds - job.seconds for job in jobs), 1),
    }


def _draw(result: dict[str, Any]) -> Path:
    smallest = min(result["peak_mb"].values())
    bars = [(f"{size} MB of text", float(peak)) for size, peak in result["peak_mb"].items()]
    rate, limit = result["chunks_per_s"], result["bare_chunks_per_s"]
    return write_chart(
        "ingest",
        "Bulk ingest beside the bare model",
        [
            Group(title="speed", unit="chunks/s", bars=[("ingest", rate), ("bare model", limit)], goal=GOAL * limit),
            Group(title="peak memory, all processes", unit="MB", bars=bars, goal=FLAT * smallest),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.ingest", __doc__)
    parser.add_argument("--quick", action="store_true", help="1 and 4 MB of text: start-up weighs more in the ratio")
    options = parser.parse_args(arguments)
    result = measure(QUICK_SIZES_MB if options.quick else SIZES_MB)
    chart = _draw(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
