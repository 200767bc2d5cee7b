"""The README's `kaizen ...` are commands that there are, with options that they take."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from kaizen.cli import build

README = Path(__file__).parents[2] / "README.md"
SPAN = re.compile(r"`(kaizen [^`]+)`")
OPTION = re.compile(r"--[a-z][a-z-]*")


def written() -> list[str]:
    return sorted(set(SPAN.findall(README.read_text())))


@functools.cache
def whole() -> Any:  # noqa: ANN401 (typer brings a click of its own)
    return typer.main.get_command(build())


def named(words: list[str]) -> Any:  # noqa: ANN401 (as above)
    """The command that the first of `words` lead to."""
    found = whole()
    for word in words:
        if not hasattr(found, "commands"):
            break
        assert word in found.commands, f"there is no command {word!r}"
        found = found.commands[word]
    return found


def test_the_readme_names_many_commands() -> None:
    assert len(written()) > 20


@pytest.mark.parametrize("line", written())
def test_a_command_of_the_readme(line: str) -> None:
    command = named([re.sub(r"\W+$", "", word) for word in line.split()[1:]])
    if command.context_settings.get("ignore_unknown_options"):
        return  # what it does not know goes to a job
    taken = {option for parameter in command.params for option in parameter.opts}
    assert set(OPTION.findall(line)) <= taken
