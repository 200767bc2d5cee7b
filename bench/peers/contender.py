"""One column of the comparison: who answers searches, and what a round of measuring it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.http_load import Load, Target, at_once, at_rate, in_turn
from bench.process_tree import ProcessTree
from bench.search_limit import Limit, Rate
from kaizen.retrieval.fusion import Mode

CONNECTIONS = 16
OPEN_CONNECTIONS = 128  # at a constant rate: more than ever wait at once unless the server has fallen far behind
SHARES = (0.5, 0.8)  # of the rate of the closed loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured. `seconds`: of one run under load; `queries`: of one run of them in turn."""

    chunks: int
    queries: int
    rounds: int
    seconds: float


Round = Mapping[str, float]


class Served:
    """A system that answers over HTTP. `client` is the load generator's process; `pid` leads the system's."""

    def __init__(
        self, name: str, target: Target, bodies: Sequence[Mapping[str, Any]], pid: int, client: ProcessPoolExecutor
    ) -> None:
        self.name = name
        self._target = target
        self._bodies = bodies
        self._client = client
        self._tree = ProcessTree(pid)

    def warm_up(self, plan: Plan) -> None:
        """Make it as busy as it will be."""
        self._closed(plan.seconds / 2)

    def round(self, plan: Plan) -> Round:
        """p50_ms and p95_ms at one connection; rps and cpu_ms (of a request, all processes) at CONNECTIONS; p50 and p99
        at each of SHARES of that rate, from when requests were due."""
        turn = self._client.submit(in_turn, self._target, self._bodies[: plan.queries]).result()
        before = self._cpu_seconds()
        closed = self._closed(plan.seconds)
        found = {
            "p50_ms": turn.quantile_ms(0.5),
            "p95_ms": turn.quantile_ms(0.95),
            "rps": closed.rate,
            "cpu_ms": 1000 * (self._cpu_seconds() - before) / len(closed.seconds_each),
            "client_cpu_share": closed.cpu_seconds / closed.seconds,
        }
        for share in SHARES:
            load = self._client.submit(
                at_rate,
                self._target,
                self._bodies,
                rate=share * closed.rate,
                seconds=plan.seconds,
                connections=OPEN_CONNECTIONS,
            ).result()
            found[f"p50_ms_at_{share}"], found[f"p99_ms_at_{share}"] = load.quantile_ms(0.5), load.quantile_ms(0.99)
        return found

    def memory_mb(self) -> float:
        """Of all processes together, now."""
        self._tree.look()
        return self._tree.peak_bytes / 2**20

    def _closed(self, seconds: float) -> Load:
        work = self._client.submit(at_once, self._target, self._bodies, connections=CONNECTIONS, seconds=seconds)
        return work.result()

    def _cpu_seconds(self) -> float:
        self._tree.look()
        return self._tree.cpu_seconds


class Bound:
    """The limit: the same model and index in one process, asked by a call. At full load, the best way that it found
    beforehand: so many threads, each embedding so many queries together."""

    WAYS = ((1, 1), (2, 1), (2, 8), (1, 16))  # (threads, batch), CONNECTIONS queries in flight at most

    def __init__(
        self, name: str, limit: Limit, mode: Mode, queries: Sequence[str], k: int, *, as_served: bool = False
    ) -> None:
        self.name = name
        self._as_served = as_served
        self._limit = limit
        self._mode: Mode = mode
        self._queries = queries
        self._k = k
        self.way = self.WAYS[0]

    def warm_up(self, plan: Plan) -> None:
        """Try the ways."""
        rates = {way: self._at_once(way, plan.seconds / 2).per_second for way in self.WAYS}
        self.way = max(rates, key=lambda way: rates[way])

    def round(self, plan: Plan) -> Round:
        """p50_ms, rps and cpu_ms, as of Served."""
        timed = self._limit.seconds_each(self._queries[: plan.queries], self._k, self._mode, as_served=self._as_served)
        rate = self._at_once(self.way, plan.seconds)
        return {
            "p50_ms": 1000 * median(each["total"] for each in timed),
            "rps": rate.per_second,
            "cpu_ms": rate.cpu_ms,
        }

    def _at_once(self, way: tuple[int, int], seconds: float) -> Rate:
        threads, batch = way
        return self._limit.at_once(
            self._queries,
            self._k,
            threads=threads,
            seconds=seconds,
            mode=self._mode,
            batch=batch,
            as_served=self._as_served,
        )
