"""The API is asked everything that its description allows, and what it does not: it keeps to what it says of itself.

Schemathesis makes the requests. `--fuzz-seconds 600` looks longer, `--fuzz-seed N` looks at the same again.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.product import Product

ROOT = Path(__file__).parents[2]
CONFIG = """hooks = "tests.ray.fuzz_hooks"
[checks]
positive_data_acceptance.enabled = false
not_a_server_error.enabled = false
[checks.negative_data_rejection]
# As by default, and 413: a body may be too large before it is anything else.
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"""  # `what_fits_the_schema_is_accepted` and `nothing_breaks` take their places
GRACE_SECONDS = 240


def test_the_api_keeps_to_its_description(product: Product, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seconds, seed = request.config.getoption("--fuzz-seconds"), request.config.getoption("--fuzz-seed")
    seed = secrets.randbits(32) if seed is None else seed
    key, before = product.new_key("fuzz"), _rollout(product)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{product.state.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--seed", str(seed), "--max-time", str(seconds)]
    command += [
        "--request-timeout",
        "60",
        "--workers",
        "2",
        "--continue-on-failure",
        "--no-color",
        "--generation-database",
        "none",
    ]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds + GRACE_SECONDS,
        check=False,
    )
    print(f"seed {seed}\n{ran.stdout}\n{ran.stderr}")
    assert ran.returncode == 0, f"seed {seed}: see the report above"
    product.wait_until_ready()
    assert _rollout(product) == before  # with one release there is nothing that a stranger to it could change


def _rollout(product: Product) -> tuple[str | None, ...]:
    with product.client() as client:
        state = client.get("/v1/rollout").raise_for_status().json()
    return state["stable"], state["challenger"], state["previous"]
