"""Twenty swaps and rollbacks under load, with writes going on: nobody notices, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.corpus import queries
from bench.swap import Plan, Swapping
from tests.product import configure, started


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_swaps_under_load(tmp_path: Path) -> None:
    with started(configure(tmp_path, {"generator": {"kind": "extractive"}})) as product:
        seen = Swapping(product.installation, Plan(swaps=20, steady_seconds=3, dwell_seconds=0.1), queries(50)).run()
    print(seen)
    assert {name: seen[name] for name in ("swaps", "failed", "mixed", "unseen", "missing")} == {
        "swaps": 20, "failed": 0, "mixed": 0, "unseen": 0, "missing": 0,
    }, seen["examples"]  # fmt: skip
    assert seen["requests"] > 200
    assert seen["writes"] > 50
    assert seen["rollback_s"] < 5
