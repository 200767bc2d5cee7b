"""`kaizen doctor`: check the machine and say what to mend."""

from __future__ import annotations

from dataclasses import asdict

import typer

from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import EXIT_PERMANENT, Terminal, print_json
from kaizen.doctor import Finding, examine
from kaizen.errors import KaizenError

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check this machine and say what to mend. Exit code 1 when something must be mended."""
    try:
        findings = examine(configuration(config).settings)
    except KaizenError as error:  # nothing else can be checked before the configuration is mended
        findings = {"configuration": Finding("fail", error.message, error.advice)}
    failed = any(finding.level == "fail" for finding in findings.values())
    if as_json:
        print_json({"ok": not failed, "checks": {name: asdict(finding) for name, finding in findings.items()}})
    else:
        _show(Terminal(), findings)
    if failed:
        raise typer.Exit(EXIT_PERMANENT)


def _show(terminal: Terminal, findings: dict[str, Finding]) -> None:
    for name, finding in findings.items():
        mark, style = MARKS[finding.level]
        terminal.line(f"{mark} {name}: {finding.found}", style=style)
        if finding.mend:
            terminal.line(f"    {finding.mend}")
