"""Ingest of Kaizen beside that of its peers and beside the bare model: the same texts, until searches find them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.ingest import BareModel, BareRun
from bench.peers.kaizen import Kaizen
from bench.peers.passages import first_texts, say
from bench.peers.peer import Peer
from bench.peers.search import PEERS
from kaizen.config import Settings


def measure(chunks: int) -> dict[str, Any]:
    """Each system in turn, empty and warm; the bare model before and after them all. Returns what is printed.

    chunks_per_s: from the first request (Kaizen: the start of the command) until searches find all.
    own_chunks_per_s: of Kaizen by its job's own count, as `bench.ingest` has it.
    """
    texts = first_texts(chunks, Settings())
    before = _bare(texts)
    systems: dict[str, dict[str, float]] = {}
    kaizen = Kaizen()
    for peer in (kaizen, *(kind() for kind in PEERS)):
        systems[peer.name] = {"chunks_per_s": round(chunks / _seconds(peer, texts), 1)}
    systems[kaizen.name]["own_chunks_per_s"] = round(chunks / kaizen.own_seconds, 1)
    bare = [round(run.chunks / run.seconds, 1) for run in (before, _bare(texts))]
    return {"chunks": chunks, **standing(systems, bare), "bare_chunks_per_s": bare, "systems": systems}


def standing(systems: dict[str, dict[str, float]], bare: Sequence[float]) -> dict[str, float]:
    """How Kaizen stands to the mean of the bare runs, and to the best peer."""
    best = max(found["chunks_per_s"] for name, found in systems.items() if name != Kaizen.name)
    own = systems[Kaizen.name]
    return {
        "ratio": round(own["own_chunks_per_s"] * len(bare) / sum(bare), 3),
        "whole_ratio": round(own["chunks_per_s"] * len(bare) / sum(bare), 3),
        "times_best_peer": round(own["chunks_per_s"] / best, 3),
    }


def _seconds(peer: Peer, texts: Sequence[str]) -> float:
    say(f"ingest of {len(texts)} texts: {peer.name}")
    peer.start()
    try:
        return peer.ingest(texts)
    finally:
        peer.stop()


def _bare(texts: Sequence[str]) -> BareRun:
    say("the bare model")
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as scratch:
        corpus = Path(scratch) / "texts.jsonl"
        rows = ({"id": str(number), "title": "", "text": text} for number, text in enumerate(texts))
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
        model = BareModel(corpus, Settings())
        try:
            return model.run()
        finally:
            model.close()
