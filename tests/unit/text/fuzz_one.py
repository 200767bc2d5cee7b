"""Fuzzes one target under libFuzzer's options: what `fuzz` starts in a process of its own."""

from __future__ import annotations

import sys
import warnings

import atheris

_INSTRUMENTED = ["kaizen.text", "docx", "zipfile", "csv", "json"]


def main() -> None:
    """Run `TARGET CORPUS -options...`; ends the process."""
    atheris.enabled_hooks.add("str")  # not "RegEx": its stand-in for a pattern lacks findall(text, from, to)
    # Those below the readers in C (lxml, PDFium, Arrow) give no coverage; their input is mutated all the same.
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.unit.text import fuzz_targets
    warnings.simplefilter("error")
    program, target, *rest = sys.argv
    atheris.Setup([program, *rest], lambda data: fuzz_targets.run(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
