"""The frame of a program that runs as `python -m MODULE`: the options that all have, its settings, errors, result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kaizen.commands.output import told
from kaizen.config_sources import check_environment, load_settings
from kaizen.errors import KaizenError
from kaizen.workspace import Workspace, open_workspace


def job_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with --config and --json, whose help is the module's own description."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, help="else $KAIZEN_CONFIG, else ./kaizen.toml")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, for programs")
    return parser


def configured_workspace(options: argparse.Namespace) -> Workspace:
    """Open the workspace that --config names. Raises ConfigError, also where the environment lets data run code."""
    check_environment()
    return open_workspace(load_settings(options.config).settings)


def run_job(job: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Run, and return the exit status. Errors are told, and statuses are, as by every command."""
    try:
        job(options)
        sys.stdout.flush()
    except (KaizenError, OSError) as error:
        return told(error, as_json=options.json)
    return 0


def print_result(result: Mapping[str, Any]) -> None:
    """Print the one JSON value of --json."""
    sys.stdout.write(json.dumps(result) + "\n")
