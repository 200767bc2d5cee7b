"""How long `kaizen up` takes on a workspace that is there, until a search is answered, and how soon an answer begins.

    python -m bench.startup [--quick] [--json]

prints one line, {"first_answer_s": .., "up_s": .., "steps": {step: s, ..}, "first_token_s": .., "answer_s": .., ..},
and writes bench/out/startup.svg. About four minutes; --quick starts once instead of three times.

The workspace holds 20,000 synthetic chunks in sealed segments, and documentation of the standard library in which the
questions have their answers. Seconds are by the clock, medians, counted from the start of the command:

    first_answer_s  until a search was answered, whole. Goal: 20
    up_s            until the command `kaizen up` returned
    steps           the head's own steps, each from its beginning to its end
    cpu_s           CPU time of all processes until the first answer: what it takes at least on one core
    first_token_s   from a question to the first piece of its streamed answer, over those that were answered
    answer_s        to its end
    answered        how many of the questions were: the others have no first piece
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.filled import fill
from bench.process_tree import ProcessTree
from bench.search_index import wait_until_settled
from cluster.throwaway import Installation, environment, started, write_config
from kaizen.config import Settings
from kaizen.errors import Unavailable
from kaizen.evaluation.bars import Group
from kaizen.run_state import KEY_FILE, STEPS_FILE, RunState, read_run_state
from kaizen.security.keys import Secret
from kaizen.text.stdlib_corpus import stdlib_documents

CHUNKS = 20_000
GOAL_SECONDS = 20.0
QUESTIONS = (
    "What does functools.lru_cache do?",
    "What does shutil.copytree do?",
    "What does heapq.heappushpop do?",
    "What does textwrap.dedent do?",
    "What does bisect.insort do?",
)
MODULES = ("functools", "shutil", "heapq", "textwrap", "bisect")
LOOK_SECONDS = 0.02


class Clock:
    """Looks at the steps of a starting head; `seconds` of each as it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look until the block ends."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_SECONDS):
                self._look()

        watcher = threading.Thread(target=look, name="steps", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            self._look()

    def _look(self) -> None:
        text = self._path.read_text() if self._path.exists() else ""
        for line in text.rpartition("\n")[0].splitlines():
            entry, now = json.loads(line), time.monotonic()
            if not entry["done"]:
                self._began.setdefault(entry["step"], now)
            elif entry["step"] in self._began:
                self.seconds.setdefault(entry["step"], now - self._began[entry["step"]])


def start_once(config: Path) -> dict[str, Any]:
    """`kaizen up`, a search, five questions, `kaizen down`."""
    workspace = config.parent / "workspace"
    (workspace / STEPS_FILE).unlink(missing_ok=True)
    clock, began = Clock(workspace / STEPS_FILE), time.monotonic()
    try:
        with clock.running():
            _kaizen("up", "--config", str(config), "--json")
            up = time.monotonic() - began
            state = _running(workspace)
            headers = {"Authorization": f"Bearer {Secret((workspace / KEY_FILE).read_text().strip()).reveal()}"}
            with httpx.Client(base_url=state.url, headers=headers, timeout=60, trust_env=False) as client:
                body = {"query": QUESTIONS[0], "timeout_seconds": 60}
                answered = client.post("/v1/search", json=body).raise_for_status().json()
                first = time.monotonic() - began
                if answered["coverage"] < 1:
                    raise Unavailable("The first answer was partial.", advice="Give the machine more room.")
                cpu = _cpu_seconds(state)
                told = [found for question in QUESTIONS if (found := _streamed(client, question)) is not None]
    finally:
        _kaizen("down", "--config", str(config))
    return {
        "first_answer_s": first,
        "up_s": up,
        "cpu_s": cpu,
        "steps": clock.seconds,
        "first_token_s": median(first for first, _ in told),
        "answer_s": median(last for _, last in told),
        "answered": len(told),
    }


def _documented(running: Installation) -> None:
    """Write the documentation in which the questions have their answers, and wait until it is sealed."""
    rows = [row for row in stdlib_documents() if row["metadata"]["module"] in MODULES]
    documents = [{"id": row["id"], "title": row["title"], "text": row["text"]} for row in rows]
    with httpx.Client(base_url=running.state.url, headers=running.headers, timeout=120, trust_env=False) as client:
        written = client.post("/v1/documents:batch", json={"documents": documents}).raise_for_status().json()
    wait_until_settled(running, written["seq"])


def _running(workspace: Path) -> RunState:
    state = read_run_state(workspace)
    if state is None:
        raise Unavailable("`kaizen up` returned and nothing runs.", advice="Read head.log.")
    return state


def _cpu_seconds(state: RunState) -> float:
    tree = ProcessTree(state.pid)
    tree.look()
    return tree.cpu_seconds


def _streamed(client: httpx.Client, question: str) -> tuple[float, float] | None:
    """Seconds to the first piece of the answer, and to its end; None when there was nothing to tell."""
    began, first = time.monotonic(), None
    body = {"question": question, "stream": True, "timeout_seconds": 60}
    with client.stream("POST", "/v1/answer", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if first is None and line.startswith("event:") and line.split()[-1] == "delta":
                first = time.monotonic() - began
    return None if first is None else (first, time.monotonic() - began)


def _kaizen(*arguments: str) -> None:
    subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-P", "-m", "kaizen.cli", *arguments], env=environment(), check=True, stdout=subprocess.DEVNULL
    )


def measure(starts: int) -> dict[str, Any]:
    """Make the workspace, start it so often; returns the object that is printed."""
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder:
        config = write_config(Path(folder), Settings(), {})
        with started(config) as running:
            fill(running, CHUNKS)
            _documented(running)
        found = [start_once(config) for _ in range(starts)]
    for one in found:
        Console(stderr=True).print(json.dumps(one))
    names = ("first_answer_s", "up_s", "cpu_s", "first_token_s", "answer_s", "answered")
    return {
        **{name: round(median(one[name] for one in found), 2) for name in names},
        "steps": {step: round(median(one["steps"][step] for one in found), 2) for step in found[0]["steps"]},
        "starts": starts,
    }


def _draw(result: dict[str, Any]) -> Path:
    whole = [("first answer", result["first_answer_s"]), ("kaizen up", result["up_s"]), ("CPU", result["cpu_s"])]
    return write_chart(
        "startup",
        f"Starting on a workspace with {CHUNKS:,} chunks: first answer after {result['first_answer_s']} s",
        [
            Group(title="from the command", unit="s", bars=whole, goal=GOAL_SECONDS),
            Group(title="steps", unit="s", bars=[(step.split()[-1], s) for step, s in result["steps"].items()]),
            Group(
                title="an answer",
                unit="s",
                bars=[("first piece", result["first_token_s"]), ("whole", result["answer_s"])],
            ),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.startup", __doc__)
    parser.add_argument("--quick", action="store_true", help="one start")
    options = parser.parse_args(arguments)
    result = measure(1 if options.quick else 3)
    chart = _draw(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
