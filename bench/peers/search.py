"""Searches of Kaizen beside those of its peers and beside the limit, all filled with the same passages and vectors."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing import get_context
from statistics import mean, median
from typing import Any, TypeVar

import httpx
import numpy as np
import psutil

from bench.corpus import query_of
from bench.peers.chroma import Chroma
from bench.peers.contender import Bound, Plan, Round, Served
from bench.peers.kaizen import Kaizen
from bench.peers.one_process import OneProcess
from bench.peers.passages import Passages, passages, say
from bench.peers.peer import Peer
from bench.peers.ray_serve import RayServe
from bench.peers.txtai import Txtai
from bench.ratio import median_ratio
from bench.search_limit import Limit
from kaizen.config import Settings
from kaizen.retrieval.fusion import Mode

K = 10
QUERIES = 200
PEERS = (OneProcess, Txtai, Chroma, RayServe)
IDLE_SECONDS = 3.0
AS_SERVED = " as served"
P = TypeVar("P", bound=Peer)
MODES: tuple[Mode, ...] = ("dense", "hybrid")


def measure(plan: Plan) -> dict[str, Any]:
    """Start and fill everything, then measure in turns, round by round; returns the object that is printed."""
    texts = passages(plan.chunks, Settings())
    asked = questions(texts.texts, QUERIES)
    with ExitStack() as stack:
        kaizen = stack.enter_context(_filled(Kaizen(), texts))
        corpus = kaizen.corpus()
        limit = Limit(corpus.settings, corpus.release, corpus.rows())
        stack.callback(limit.close)
        peers = [stack.enter_context(_filled(kind(), texts)) for kind in PEERS]
        client = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        exact = _exact(texts, limit.vectors(list(asked.values())))
        quality = _quality(kaizen, peers, limit, asked, exact)
        bounds = _bounds(limit, list(asked.values()))
        contenders = [*bounds, *_served(kaizen, peers, asked, client)]
        idle = _idle_share()
        rounds = _rounds(contenders, plan)
        memory = {each.name: each.memory_mb() for each in contenders if isinstance(each, Served)}
    columns = {name: _column(found) for name, found in rounds.items()}
    for name, found in quality.items():
        columns[name] |= found
    for name, megabytes in memory.items():
        columns[name]["memory_mb"] = round(megabytes)
    return {
        "chunks": plan.chunks,
        **standing(rounds),
        "systems": columns,
        "limit_ways": {bound.name: bound.way for bound in bounds},
        "shards": kaizen.sizes,
        "idle_cpu_share": idle,
        "load_average": round(os.getloadavg()[0], 1),
    }


def questions(texts: Sequence[str], count: int) -> dict[int, str]:
    """Passage number -> the first words of its first sentence, of passages all over the corpus; no two are equal."""
    step = max(1, len(texts) // (3 * count))
    found = {query_of(texts[number]): number for number in range(0, len(texts), step)}
    return dict(islice(((number, text) for text, number in found.items() if text), count))


def standing(rounds: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """How Kaizen stands to the limit and to the best peer, each taken within a round, medians over the rounds."""
    peers = [name for name in rounds if not name.startswith(("Kaizen", "limit"))]
    result: dict[str, Any] = {}
    for mode in MODES:
        own, limit, same = (rounds[f"{name}, {mode}"] for name in ("Kaizen", "limit", f"limit{AS_SERVED}"))
        best = [max(rounds[name][number]["rps"] for name in peers) for number in range(len(own))]
        quickest = [min(rounds[name][number]["p50_ms"] for name in peers) for number in range(len(own))]
        result[mode] = {
            "p50_ratio": median_ratio([a["p50_ms"] for a in own], [b["p50_ms"] for b in limit]),
            "rps_ratio": median_ratio([a["rps"] for a in own], [b["rps"] for b in limit]),
            "cpu_ratio": median_ratio([b["cpu_ms"] for b in limit], [a["cpu_ms"] for a in own]),
            "p50_ratio_as_served": median_ratio([a["p50_ms"] for a in own], [b["p50_ms"] for b in same]),
            "rps_ratio_as_served": median_ratio([a["rps"] for a in own], [b["rps"] for b in same]),
            "rps_times_best_peer": median_ratio([a["rps"] for a in own], best),
            "p50_of_best_peer": median_ratio([a["p50_ms"] for a in own], quickest),
        }
    return result


def _column(rounds: Sequence[Round]) -> dict[str, float]:
    return {name: round(median(each[name] for each in rounds), 2) for name in rounds[0]}


@contextmanager
def _filled(peer: P, texts: Passages) -> Iterator[P]:
    say(f"starting {peer.name} and filling it")
    peer.start()
    try:
        peer.load(texts)
        yield peer
    finally:
        peer.stop()


def _bounds(limit: Limit, queries: Sequence[str]) -> list[Bound]:
    """The limit with the model as it was exported, which is what its peers have, and with the weights of Kaizen."""
    return [
        Bound(f"limit{AS_SERVED if as_served else ''}, {mode}", limit, mode, queries, K, as_served=as_served)
        for mode in MODES
        for as_served in (False, True)
    ]


def _served(
    kaizen: Kaizen, peers: Sequence[Peer], asked: Mapping[int, str], client: ProcessPoolExecutor
) -> list[Served]:
    columns = []
    for mode in MODES:
        kaizen.mode = mode
        bodies = [kaizen.body(text, K) for text in asked.values()]
        columns.append(Served(f"Kaizen, {mode}", kaizen.target, bodies, kaizen.pid, client))
    for peer in peers:
        bodies = [peer.body(text, K) for text in asked.values()]
        columns.append(Served(peer.name, peer.target, bodies, peer.pid, client))
    return columns


def _rounds(contenders: Sequence[Served | Bound], plan: Plan) -> dict[str, list[Round]]:
    for contender in contenders:
        contender.warm_up(plan)
    rounds: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    for number in range(plan.rounds):
        for contender in contenders:
            say(f"round {number + 1} of {plan.rounds}: {contender.name}")
            rounds[contender.name].append(contender.round(plan))
    return rounds


def _quality(
    kaizen: Kaizen, peers: Sequence[Peer], limit: Limit, asked: Mapping[int, str], exact: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """By column: `recall`, the share of the exact ten nearest that it found; `source`, the share of queries for which
    the passage that they were taken from is among its ten."""
    texts = list(asked.values())
    found = {}
    for mode in MODES:
        kaizen.mode = mode
        found[f"limit, {mode}"] = limit.found(texts, K, mode)
        found[f"Kaizen, {mode}"] = _ask(kaizen, texts)
    found |= {peer.name: _ask(peer, texts) for peer in peers}
    sources = [str(number) for number in asked]
    return {
        name: {
            "recall": round(mean(len({*got} & {*want}) / len(want) for got, want in zip(own, exact, strict=True)), 4),
            "source": round(mean(source in got for source, got in zip(sources, own, strict=True)), 3),
        }
        for name, own in found.items()
    }


def _exact(texts: Passages, vectors: np.ndarray) -> list[list[str]]:
    """Ids of the K passages nearest to each of `vectors` (n, dim), by a look at all."""
    nearest = np.argsort(-(vectors @ texts.vectors.T), axis=1, kind="stable")[:, :K]
    return [[str(number) for number in row] for row in nearest]


def _ask(peer: Peer, texts: Sequence[str]) -> list[list[str]]:
    with httpx.Client(base_url=peer.target.url, headers=peer.target.headers, timeout=60, trust_env=False) as client:
        answers = [client.post(peer.target.path, json=peer.body(text, K)).raise_for_status() for text in texts]
    return [peer.ids(answer.json()) for answer in answers]


def _idle_share() -> float:
    """Share of one core that everything on the machine takes together while nobody asks anything."""
    psutil.cpu_percent()
    time.sleep(IDLE_SECONDS)
    return round(psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1), 2)
