"""What rungs 1 and 2 cost and bring on exactly so many impressions, each by its command.

    python -m bench.rungs [--dataset DIR] [--impressions N] [--json]

The documentation of this Python (or a folder in BEIR's layout with splits `train` and `test`) is taken in; simulated
people ask the train queries and click by their judgements, 10 % of the sessions anything, 10 % of the people what they
push, until the ledger holds exactly N impressions; `jobs.curate` makes a data set of them. Then `train.ranker` and
`train.query_encoder` are called as the steward calls them, from a new process to the recorded candidate, and all three
releases search the test queries, which nobody clicked on. Prints one line

    {"impressions": .., "queries": .., "examples": .., "before": {"ndcg@10": .., ..},
     "rung1": {"seconds": .., "cpu_s": .., "gain": .., "ndcg@10": .., ..}, "rung2": {..}}

(gain: in nDCG@10 on the test queries) and writes bench/out/rungs.svg. Goals: 10 s for rung 1, 300 s for rung 2.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.offline_service import OfflineService
from cluster.throwaway import environment, write_config
from jobs.build_release import build_release
from jobs.loop import quality
from kaizen.commands.client import Client
from kaizen.commands.simulate import Plan, simulate
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.errors import Unavailable
from kaizen.evaluation.bars import Group
from kaizen.evaluation.collection import Collection
from kaizen.evaluation.stdlib_collection import write_stdlib_collection
from kaizen.records import Release
from kaizen.workspace import Workspace, open_workspace

GOAL_SECONDS = {"rung1": 10.0, "rung2": 300.0}
METRIC = "ndcg@10"
MODULES = {"rung1": "train.ranker", "rung2": "train.query_encoder"}


class Rungs:
    """An installation's state without its service."""

    def __init__(self, folder: Path, collection: Path) -> None:
        self._train, self._test = Collection.open(collection, "train"), Collection.open(collection, "test")
        self._config = write_config(folder, Settings(), {"generator": {"kind": "extractive"}})
        self._workspace: Workspace = open_workspace(load_settings(self._config).settings)

    def measure(self, impressions: int, console: Console) -> dict[str, Any]:
        """Fill it, let people use it, learn; returns the object that is printed."""
        stable = self._filled()
        console.print(f"people ask {len(self._train.queries)} queries until there are {impressions} impressions")
        clicks = self._used(stable, impressions)
        curated, _ = self._run("jobs.curate")
        before = quality(self._workspace, stable.id, self._test)
        result = {
            "collection": self._train.directory.name,
            "impressions": self._workspace.ledger.impressions.count(self._workspace.settings.workspace.tenant),
            "clicks": clicks,
            "queries": curated["queries"],
            "examples": curated["examples"],
            "curate_s": curated["seconds"],
            "before": before,
        }
        for name, module in MODULES.items():
            told, seconds = self._run(module, "--dataset", curated["dataset"])
            after = quality(self._workspace, told["release"], self._test)
            gain = round(after[METRIC] - before[METRIC], 4)
            cost = {"seconds": round(seconds, 2), "cpu_s": told["cost"]["cpu_s"]}
            result[name] = {**cost, "gain": gain, **after, "figures": told["figures"]}
            console.print(f"{module}: {seconds:.1f} s, {gain:+.4f}")
        return result

    def _filled(self) -> Release:
        tenant = self._workspace.settings.workspace.tenant
        self._workspace.ledger.documents.upsert_many(list(self._train.documents(tenant)))
        release = build_release(self._workspace)
        self._run("jobs.build_index")
        return release

    def _used(self, release: Release, impressions: int) -> int:
        """People search and click; returns the clicks."""
        sessions = -(-impressions // len(self._train.queries))
        plan = Plan(sessions=sessions, noise=0.1, hostile=0.1, connections=1)
        with OfflineService(self._workspace, release) as service:
            connect = lambda: cast(Client, service)  # noqa: E731 (the same methods)
            summary = simulate(connect, self._train, plan, until=lambda _: service.impressions >= impressions)
        return summary.clicks

    def _run(self, module: str, *arguments: str) -> tuple[dict[str, Any], float]:
        """What a command prints, and the seconds from its start to its end."""
        command = [sys.executable, "-P", "-m", module, *arguments, "--config", str(self._config), "--json"]
        began = time.perf_counter()
        done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)  # noqa: S603 (our own modules)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise Unavailable(f"{module} failed: {done.stderr[-2000:]}", advice="Read what it says above.")
        return json.loads(done.stdout.strip().splitlines()[-1]), seconds


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.rungs", __doc__)
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="BEIR layout with splits train and test")
    parser.add_argument("--impressions", type=int, default=10_000)
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as scratch:
        collection = options.dataset or Path(scratch) / "python-documentation"
        if options.dataset is None:
            collection.mkdir()
            write_stdlib_collection(collection)
        result = Rungs(Path(scratch), collection).measure(options.impressions, console)
    chart = write_chart(
        "rungs",
        f"{result['impressions']} impressions of {result['collection']}: {result['queries']} queries",
        [
            Group(title="rung 1", unit="s", bars=[("rung 1", result["rung1"]["seconds"])], goal=GOAL_SECONDS["rung1"]),
            Group(title="rung 2", unit="s", bars=[("rung 2", result["rung2"]["seconds"])], goal=GOAL_SECONDS["rung2"]),
            Group(
                title="nDCG@10 on unseen queries",
                unit="",
                bars=[("before", result["before"][METRIC]), *((name, result[name][METRIC]) for name in MODULES)],
            ),
        ],
    )
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
