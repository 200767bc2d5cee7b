"""What every bench is as a command: a line of JSON on standard output, and the chart that it drew."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaizen.models.processor import multiplies_bytes


def bench_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of `python -m MODULE`, with `--json`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print only the line of JSON")
    return parser


def print_result(result: Mapping[str, Any], *charts: Path, as_json: bool) -> None:
    """Print the line, with what decides on the routines of the models, and for people where the charts are."""
    machine = {"cores": os.cpu_count(), "multiplies_bytes": multiplies_bytes()}
    sys.stdout.write(json.dumps({**result, "machine": machine}) + "\n")
    if not as_json:
        sys.stdout.writelines(f"chart: {chart}\n" for chart in charts)
