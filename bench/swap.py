"""Swap releases under load, and count what nobody may notice.

    python -m bench.swap [--swaps N] [--seconds S] [--json]

prints one line, {"swaps": .., "requests": .., "failed": .., "mixed": .., "missing": .., "p99_ratio": .., ...}, and
writes bench/out/swap.svg. About seven minutes, most of them for the other index.

A throw-away installation with default settings (HAProxy, two gateway replicas, one shard in two copies) and the
documentation of the standard library. Three releases: the configured one, one with other retrieval settings and another
prompt over the same index, and one with another chunking, which brings an index of its own: all is embedded anew. At a
constant rate, searches and questions come, each with `explain`, and documents are stored and deleted (SEARCHER_EVERY
and so on); meanwhile releases are promoted and rolled back. Times count from when a request was due.

    failed         requests that were not answered with 200, or in part, or degraded
    mixed          responses of which a stage says that it is of another release than the response names
    unseen         writes acknowledged as searchable that the next search did not see, whichever release answered it
    missing        acknowledged writes that a release's index lacks at the end (or deletions that it did not make)
    p99_ratio      99th percentile of a search's time while releases are swapped, the building of the other index
                   included, over the same while none is. Goal: 1.5
    build_p99_ratio  the same, only while the other index is built; `build_s`: how long that took
    rollback_s     longest time from the response to a rollback to the last response of the release that went
    switch_s       the same for promotions: where the index had to be built, that is in it
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
from rich.console import Console

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.corpus import queries
from cluster.throwaway import Installation, installation, summary_of
from kaizen.answering.prompt import prompt_record
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.errors import DeadlineExceeded, Unavailable
from kaizen.evaluation.bars import Group
from kaizen.records import Release
from kaizen.release import answering_of, with_parts
from kaizen.text.stdlib_corpus import write_jsonl
from kaizen.workspace import open_workspace

RATIO_GOAL = 1.5
WORD = "heron"
T = TypeVar("T")
STAGES = ("retrieval", "prompt", "generator", "ranker")
SHORT = 12
FOLLOWED = 12  # responses in a row by one release: both replicas have had a part in them
# Seconds from one to the next of each searcher, of the asker and of the writer. With default settings on two cores they
# leave room: where load takes all there is, only the length of the queue would be measured.
SEARCHER_EVERY, ASKER_EVERY, WRITER_EVERY = 0.25, 5.0, 0.25
PATIENCE_SECONDS = 600.0  # the first time, an index of thousands of chunks is embedded anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done. `steady_seconds` without a swap beforehand, `dwell_seconds` after each."""

    swaps: int
    steady_seconds: float
    dwell_seconds: float
    searchers: int = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """How one search or answer went. `at`: when it was due (time.monotonic)."""

    at: float
    seconds: float
    path: str
    release: str
    fault: str
    mixed: str
    late: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Log:
    """What was seen, in the order in which it came. Appended to by many threads."""

    replies: list[Reply] = field(default_factory=list)
    living: set[str] = field(default_factory=set)
    written: int = 0
    write_faults: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    switches: list[tuple[str, str, float]] = field(default_factory=list)  # kind, release, when it was acknowledged

    def p99_ms(self, first: float, last: float) -> float:
        """Of searches sent between two moments."""
        spent = [r.seconds for r in self.replies if r.path == "/v1/search" and first <= r.at < last]
        return float(np.percentile(spent, 99)) * 1000

    def slowest(self, first: float, last: float) -> str:
        """The slowest search sent between two moments, by stage."""
        searches = [r for r in self.replies if r.path == "/v1/search" and first <= r.at < last]
        worst = max(searches, key=lambda reply: reply.seconds)
        stages = sorted(worst.stages.items(), key=lambda stage: -stage[1])
        parts = ", ".join(f"{name} {spent:.0f}" for name, spent in stages)
        return f"slowest {worst.seconds * 1000:.0f} ms, {worst.late * 1000:.0f} of it before it was sent: {parts}"

    def switch_seconds(self, kind: str) -> float:
        """Longest time from a change of this kind to the last request that the release before it answered."""
        ends = [when for _, _, when in self.switches[1:]] + [float("inf")]
        longest = 0.0
        for (what, release, when), end in zip(self.switches, ends, strict=True):
            late = [r.at - when for r in self.replies if when <= r.at < end and r.release not in ("", release)]
            longest = max(longest, *late, 0.0) if what == kind else longest
        return longest


class Swapping:
    """A running installation with three releases, its load and what came of it."""

    def __init__(self, running: Installation, plan: Plan, texts: Sequence[str], tell: Callable[[str], None]) -> None:
        self._running = running
        self._plan = plan
        self._texts = texts
        self._tell = tell
        self._ended = threading.Event()
        self._built = 0.0, 0.0  # the longest change: that which waited for another index
        self.log = Log()
        workspace = open_workspace(load_settings(running.config).settings)
        try:
            ledger = workspace.ledger
            base = ledger.releases.get(ledger.rollout.current() or "")
            self.releases = [base, *(ledger.releases.record(parts, base.id) for parts in _variants(base))]
        finally:
            workspace.ledger.close()
        self._recorded = {release.id: _recorded(release) for release in self.releases}

    def run(self) -> dict[str, Any]:
        """The whole measurement; returns what is printed."""
        with self._load():
            steady = time.monotonic()
            self._pause(self._plan.steady_seconds)
            swapping = time.monotonic()
            self._tell(f"steady: p99 {self.log.p99_ms(steady, swapping):.0f} ms; {self.log.slowest(steady, swapping)}")
            self._swap()
            end = time.monotonic()
        missing = self._missing()
        log = self.log
        quiet, busy = log.p99_ms(steady, swapping), log.p99_ms(swapping, end)
        faults = [reply.fault for reply in log.replies if reply.fault] + log.write_faults
        mixed = [reply.mixed for reply in log.replies if reply.mixed]
        return {
            "swaps": len(log.switches),
            "requests": len(log.replies),
            "writes": log.written,
            "failed": len(faults),
            "mixed": len(mixed),
            "unseen": len(log.unseen),
            "missing": len(missing),
            "steady_p99_ms": round(quiet, 1),
            "swap_p99_ms": round(busy, 1),
            "p99_ratio": round(busy / quiet, 2),
            "build_p99_ratio": round(log.p99_ms(*self._built) / quiet, 2),
            "build_s": round(self._built[1] - self._built[0], 1),
            "rollback_s": round(log.switch_seconds("rollback"), 2),
            "switch_s": round(log.switch_seconds("promote"), 2),
            "seconds": round(end - steady, 1),
            "examples": [*faults[:3], *mixed[:3], *log.unseen[:3], *missing[:3]],
        }

    def _client(self) -> httpx.Client:
        headers = self._running.headers
        return httpx.Client(base_url=self._running.state.url, headers=headers, timeout=60, trust_env=False)

    def _pause(self, seconds: float) -> None:
        self._ended.wait(seconds)

    # ------------------------------------------------------------------------------------------ load

    @contextmanager
    def _load(self) -> Iterator[None]:
        """Searchers, an asker and a writer, until the block ends."""
        with ThreadPoolExecutor(self._plan.searchers + 2) as pool:
            running = [pool.submit(self._search, number) for number in range(self._plan.searchers)]
            running += [pool.submit(self._ask), pool.submit(self._write)]
            try:
                self._wait_for(lambda: len(self.log.replies) > FOLLOWED and self.log.written > 0, "the load began")
                yield
            finally:
                self._ended.set()
            for one in running:
                one.result()
        self._ended.clear()

    def _search(self, number: int) -> None:
        with self._client() as client:
            first = SEARCHER_EVERY * number / self._plan.searchers
            for due, text in self._times(SEARCHER_EVERY, first, [*self._texts[number:], *self._texts[:number]]):
                body = {"query": text, "k": 10, "explain": True, "timeout_seconds": 10}
                self._send(client, "/v1/search", body, due)

    def _ask(self) -> None:
        with self._client() as client:
            for due, text in self._times(ASKER_EVERY, 0.0, self._texts):
                self._send(client, "/v1/answer", {"question": text, "explain": True, "timeout_seconds": 30}, due)

    def _times(self, every: float, first: float, items: Iterable[T]) -> Iterator[tuple[float, T]]:
        """The items over and over, each with the moment when it is due, at that moment, until the load ends.

        Who is late goes on at once with what is due, and does not leave it out.
        """
        start = time.monotonic() + first
        for number, item in enumerate(itertools.cycle(items)):
            due = start + number * every
            if self._ended.wait(max(due - time.monotonic(), 0.0)):
                return
            yield due, item

    def _send(self, client: httpx.Client, path: str, body: Mapping[str, Any], due: float) -> None:
        late = time.monotonic() - due
        try:
            response = client.post(path, json=body)
        except httpx.TransportError as error:
            self.log.replies.append(Reply(due, time.monotonic() - due, path, "", repr(error), ""))
            return
        spent = time.monotonic() - due
        answer = response.json() if response.status_code == 200 else {}
        fault = _fault(response, answer)
        mixed = "" if not answer else self._mixed(answer)
        self.log.replies.append(
            Reply(due, spent, path, answer.get("release", ""), fault, mixed, late, answer.get("timings_ms", {}))
        )

    def _mixed(self, answer: Mapping[str, Any]) -> str:
        """What in a response is not of the one release that it names."""
        told, release = answer["fingerprints"], answer["release"]
        if set(told) != {release}:
            return f"{release} answered with {sorted(told)}"
        known = self._recorded[release]
        strange = {stage: found for stage, found in told[release].items() if known.get(stage) != found}
        return f"{release}: {strange}" if strange else ""

    # ------------------------------------------------------------------------------------------ writes

    def _write(self) -> None:
        """Store and delete; after every write that was acknowledged as searchable, look."""
        with self._client() as client:
            for number, _ in enumerate(self._times(WRITER_EVERY, 0.0, (None,))):
                name = f"{WORD}-{number}"
                if self._change(client, "PUT", name, searchable=number % 3 == 0):
                    self.log.living.add(name)
                old = f"{WORD}-{number - 5}"
                if number % 8 and old in self.log.living and self._change(client, "DELETE", old, number % 3 == 1):
                    self.log.living.discard(old)

    def _change(self, client: httpx.Client, method: str, name: str, searchable: bool) -> bool:
        body = {"text": f"The {WORD} called {_spelt(name)} catches fish."} if method == "PUT" else None
        wait = "searchable" if searchable else "durable"
        response = client.request(method, f"/v1/documents/{name}?wait_for={wait}", json=body)
        if response.status_code != 200 or (searchable and not response.json()["searchable"]):
            self.log.write_faults.append(f"{method} {name}: {response.status_code} {response.text[:200]}")
        elif searchable:
            there = name in _found(client, _spelt(name), 0)
            if there != (method == "PUT"):
                self.log.unseen.append(f"{method} {name}")
        self.log.written += 1
        return response.status_code == 200

    def _missing(self) -> list[str]:
        """Documents that are not in each release's index as they were acknowledged."""
        wrong: list[str] = []
        with self._client() as client:
            head = client.get("/v1/status").raise_for_status().json()["ledger"]["head"]
            for name in self._recorded:
                if client.get("/v1/rollout").raise_for_status().json()["stable"] != name:
                    client.post(f"/v1/releases/{name}:promote", json={}).raise_for_status()
                self._wait_for(partial(self._answers_everywhere, client, name), f"{name} answers")
                differ = _found(client, WORD, head) ^ self.log.living
                wrong += [f"{name}: {document}" for document in sorted(differ)]
        return wrong

    # ------------------------------------------------------------------------------------------ swaps

    def _swap(self) -> None:
        """Promote each release in turn; every fourth change is a rollback."""
        turn = itertools.cycle([self.releases[1], self.releases[2], self.releases[0]])
        with self._client() as client:
            for number in range(self._plan.swaps):
                stable = client.get("/v1/rollout").raise_for_status().json()["stable"]
                if number % 4 == 3:
                    kind, state = "rollback", client.post("/v1/rollback", json={}).raise_for_status().json()
                else:
                    wanted = next(release.id for release in turn if release.id != stable)
                    path = f"/v1/releases/{wanted}:promote"
                    kind, state = "promote", client.post(path, json={}).raise_for_status().json()
                self.log.switches.append((kind, state["stable"], time.monotonic()))
                asked = time.monotonic()
                self._wait_for(lambda: self._followed(self.log.switches[-1][1]), "the replicas follow")
                took = time.monotonic() - asked
                self._pause(self._plan.dwell_seconds)
                p99 = self.log.p99_ms(asked, time.monotonic())
                slowest = self.log.slowest(asked, time.monotonic())
                self._tell(f"{number + 1}: {kind} {state['stable']} in {took:.1f} s, p99 {p99:.0f} ms; {slowest}")
                if took > self._built[1] - self._built[0]:
                    self._built = asked, asked + took

    def _followed(self, release: str) -> bool:
        """Whether the newest searches were all answered by one release; answers take longer, and began before."""
        newest = [reply for reply in self.log.replies[-4 * FOLLOWED :] if reply.path == "/v1/search"][-FOLLOWED:]
        return {reply.release for reply in newest} == {release}

    def _answers_everywhere(self, client: httpx.Client, release: str) -> bool:
        body = {"query": WORD, "k": 1}
        replies = (client.post("/v1/search", json=body).raise_for_status().json() for _ in range(FOLLOWED))
        return {reply["release"] for reply in replies} == {release}

    def _wait_for(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not true():
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"Not in {PATIENCE_SECONDS:.0f} s: {what}.", advice="See Ray's logs.")
            self._ended.wait(0.05)


def _variants(base: Release) -> list[dict[str, dict[str, Any]]]:
    """Other settings over the same index; and another chunking, which needs an index of its own."""
    retrieval = {**base.parts["retrieval"], "dense_weight": 0.7}
    prompt = prompt_record(answering_of(base), "Answer in one short sentence, from the sources alone.")
    index = {**base.parts["index"], "chunking": {"max_tokens": 160, "overlap_tokens": 16}}
    return [with_parts(base, retrieval=retrieval, prompt=prompt), with_parts(base, index=index)]


def _recorded(release: Release) -> dict[str, str]:
    """Stage -> fingerprint, from the release's record."""
    parts = release.parts
    found = {stage: parts[stage]["fingerprint"] for stage in STAGES if stage in parts}
    found["query_encoder"] = parts.get("query_encoder", parts["embedder"])["fingerprint"]
    found["index"] = parts["index"]["fingerprint"]
    return {stage: str(digits)[:SHORT] for stage, digits in found.items()}


def _fault(response: httpx.Response, answer: Mapping[str, Any]) -> str:
    if response.status_code != 200:
        return f"{response.status_code}: {response.text[:300]}"
    # An answer's text may fall back to an extract; that is the generator's affair, not the swap's.
    degraded = [reason for reason in answer["degraded"] if reason not in ("ungrounded", "generator-timeout")]
    return f"coverage {answer['coverage']}, {degraded}" if answer["coverage"] < 1 or degraded else ""


def _found(client: httpx.Client, query: str, min_seq: int) -> set[str]:
    """Ids of all documents that hold every word of a query that only our own documents hold."""
    body = {"query": query, "mode": "lexical", "k": 1000, "unit": "document", "min_seq": min_seq, "timeout_seconds": 30}
    response = client.post("/v1/search", json=body)
    if response.status_code != 200:
        raise Unavailable(f"A search failed: {response.status_code} {response.text[:200]}", advice="See above.")
    return {hit["document_id"] for hit in response.json()["hits"] if hit["document_id"].startswith(f"{WORD}-")}


def _spelt(name: str) -> str:
    """One word that no other document holds: digits would be cut apart."""
    return WORD + "".join(chr(ord("a") + int(digit)) for digit in name.rpartition("-")[2])


def measure(plan: Plan) -> dict[str, Any]:
    """Start an installation, fill it, swap; returns the object that is printed."""
    console = Console(stderr=True)
    # The steward stays away: it watches what is promoted, and would take back what this swaps.
    own = {"learning": {"steward": False}}
    with installation(Settings(), own) as running, tempfile.TemporaryDirectory(prefix="kaizen-bench-") as scratch:
        source = Path(scratch) / "docstrings.jsonl"
        write_jsonl(source)
        console.print("ingesting")
        taken = summary_of(running.run("jobs.ingest", str(source), "--json"))
        console.print(f"{taken['chunks']} chunks; {plan.swaps} swaps")
        return {**Swapping(running, plan, queries(200), console.print).run(), "chunks": taken["chunks"]}


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.swap", __doc__)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long is measured without a swap")
    options = parser.parse_args(arguments)
    result = measure(Plan(swaps=options.swaps, steady_seconds=options.seconds, dwell_seconds=1.5))
    bars = [("steady", result["steady_p99_ms"]), ("swapping", result["swap_p99_ms"])]
    chart = write_chart(
        "swap",
        f"{result['swaps']} swaps under load: {result['failed']} failed, {result['mixed']} mixed, "
        f"{result['missing']} writes missing of {result['requests']} requests, {result['writes']} writes",
        [Group(title="p99 of a search", unit="ms", bars=bars, goal=RATIO_GOAL * result["steady_p99_ms"])],
    )
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
