"""The journey in one run: start, take documents in, answer questions over HTTP, take feedback, end.

    python -m jobs.demo [--json]

The documents are the documentation of the Python that runs this: real text that is on every machine. Everything
happens in a throw-away installation with default settings; your own workspace is not touched.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from rich.markup import escape

from cluster.throwaway import Installation, installation, summary_of
from jobs.steps import Steps
from kaizen.config import Settings
from kaizen.errors import Unavailable
from kaizen.job import print_result, run_job
from kaizen.text.stdlib_corpus import write_jsonl

QUESTIONS = (
    "What does functools.lru_cache do?",
    "How can I read a file line by line from several input files?",
    "Which class represents a queue that retrieves the most recently added entries first?",
)


class Demo:
    """Tells what it does on standard error, and remembers figures for the summary."""

    def __init__(self, *, quiet: bool) -> None:
        self._steps = Steps(quiet=quiet)
        self._out = self._steps.out
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """The whole journey; returns what `--json` prints."""
        started = time.perf_counter()
        with ExitStack() as stack:
            with self._step("start", "Starting Ray, the index shards, the models and the HTTP API"):
                running = stack.enter_context(installation(Settings()))
            taken = self._ingest(running)
            api = stack.enter_context(_client(running))
            with self._step("answer", "Asking three questions over HTTP"):
                answers = [self._ask(api, question) for question in QUESTIONS]
            with self._step("feedback", "Telling it what we think of the answers"):
                feedback = [self._judge(api, answer) for answer in answers]
            self._out.print(f"  The API, with examples to try, is at {running.state.url}/docs while it runs.")
            with self._step("end", "Ending what was started"):
                stack.close()
        return {
            "documents": taken["documents"],
            "chunks": taken["chunks"],
            "chunks_per_s": taken["chunks_per_s"],
            "answers": answers,
            "feedback": feedback,
            "seconds": {**self.seconds, "total": round(time.perf_counter() - started, 1)},
        }

    def _ingest(self, running: Installation) -> dict[str, Any]:
        corpus = running.workspace / "python-documentation.jsonl"
        with self._step("collect", "Collecting the documentation of this Python's standard library"):
            self._out.print(f"  {write_jsonl(corpus)} documents")
        with self._step("ingest", "Taking them in: cut, embed, index"):
            return summary_of(running.run("jobs.ingest", str(corpus), "--json", quiet=False))

    def _ask(self, api: httpx.Client, question: str) -> dict[str, Any]:
        self._out.print(f"\n  [bold]{escape(question)}[/bold]")
        answer = _post(api, "/v1/answer", {"question": question})
        self._out.print(f"  {escape(answer['answer'])}")
        for cited in answer["citations"]:
            self._out.print(
                f"    [dim]\\[{cited['number']}] {escape(cited['title'])} ({escape(cited['chunk_id'])})[/dim]"
            )
        kind = "not in the documents" if answer["abstained"] else "extracted" if answer["degraded"] else "generated"
        self._out.print(
            f"    [dim]{kind}, {answer['timings_ms']['total'] / 1000:.1f} s, release {answer['release']}[/dim]"
        )
        return answer

    def _judge(self, api: httpx.Client, answer: dict[str, Any]) -> dict[str, Any]:
        body = {"impression_id": answer["impression_id"], "kind": "thumb", "value": -1 if answer["abstained"] else 1}
        return _post(api, "/v1/feedback", body)

    @contextmanager
    def _step(self, name: str, text: str) -> Iterator[None]:
        started = time.perf_counter()
        with self._steps.step(text):
            yield
        self.seconds[name] = round(time.perf_counter() - started, 1)


def _client(running: Installation) -> httpx.Client:
    return httpx.Client(base_url=running.state.url, headers=running.headers, timeout=60, trust_env=False)


def _post(api: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = api.post(path, json=body)
    if response.status_code != 200:
        raise Unavailable(f"{path} answered {response.status_code}: {response.text}", advice="Tell us.")
    result: dict[str, Any] = response.json()
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description=__doc__)
    parser.add_argument("--json", action="store_true")
    return run_job(_demo, parser.parse_args(arguments))


def _demo(options: argparse.Namespace) -> None:
    result = Demo(quiet=options.json).run()
    if options.json:
        print_result(result)
        return
    seconds = result["seconds"]
    sys.stdout.write(
        f"\n{result['documents']} documents in {result['chunks']} chunks ({result['chunks_per_s']} chunks/s), "
        f"{len(QUESTIONS)} answers, {len(result['feedback'])} judgements kept, in {seconds['total']} s "
        f"(ingest {seconds['ingest']} s).\nYour own documents: kaizen up, then kaizen ingest FOLDER and kaizen ask.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
