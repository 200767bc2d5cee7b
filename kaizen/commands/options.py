"""The options that every command has, and the configuration that they lead to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kaizen.config_sources import Loaded, check_environment, load_settings
from kaizen.errors import InvalidInput

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file; else $KAIZEN_CONFIG, else ./kaizen.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value for programs.")]


def configuration(path: Path | None) -> Loaded:
    """Load the configuration that a command runs under, refusing an environment that is not safe."""
    check_environment()
    return load_settings(path)


def parse_json(text: str, option: str) -> dict[str, Any]:
    """Return the JSON object given to an option, or raise InvalidInput."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InvalidInput(f"{option} is not JSON: {error}.", advice="Quote it for the shell: '{\"a\": 1}'.") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{option} must be a JSON object.", advice="Write it as '{\"field\": ...}'.")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
