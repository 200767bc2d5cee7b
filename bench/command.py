"""What every bench is as a command: a line of JSON on standard output, and the chart that it drew."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def bench_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of `python -m MODULE`, with `--json`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print only the line of JSON")
    return parser


def print_result(result: Mapping[str, Any], chart: Path, *, as_json: bool) -> None:
    """Print the line, and for people where the chart is."""
    sys.stdout.write(json.dumps(result) + "\n")
    if not as_json:
        sys.stdout.write(f"chart: {chart}\n")
