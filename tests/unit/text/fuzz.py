"""Coverage-guided fuzzing of what reads documents, by Atheris: `python -m tests.unit.text.fuzz [TARGET ...]`.

What it learns is kept in .fuzz/corpus/TARGET, so a later run goes on where this one was. An input that breaks a
promise is written to .fuzz/found/TARGET; mend the reader, then put the input in tests/unit/text/found/TARGET.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tests.unit.text import fuzz_targets
from tests.unit.text.fuzz_seeds import found, seeds

_FOLDER = Path(".fuzz")
_MEMORY_MB = 2048
_HANG_SECONDS = 30  # of the clock; `fuzz_targets.SECONDS` of CPU is what one input may take
_GRACE_SECONDS = 120


def main(arguments: list[str]) -> int:
    """Fuzz each target named, or all; 1 when one of them found something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(fuzz_targets.TARGETS)}; all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    asked = parser.parse_args(arguments)
    unknown = set(asked.targets) - set(fuzz_targets.TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    broken = [name for name in asked.targets or fuzz_targets.TARGETS if not _fuzz(name, asked.seconds, asked.seed)]
    if broken:
        print(f"found something in: {', '.join(broken)}; see {_FOLDER / 'found'}", file=sys.stderr)
    return 1 if broken else 0


def _fuzz(target: str, seconds: int, seed: int) -> bool:
    """Whether a target's run, in a process of its own, found nothing."""
    corpus, finds = _FOLDER / "corpus" / target, _FOLDER / "found" / target
    for folder in (corpus, finds):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*seeds()[target], *found(target).values()]):
        (corpus / f"seed-{number}").write_bytes(data)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={fuzz_targets.MAX_BYTES}",
        f"-timeout={_HANG_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-artifact_prefix={finds}/",
        f"-seed={seed}",
        "-print_final_stats=1",
    ]
    command = [sys.executable, "-m", "tests.unit.text.fuzz_one", target, str(corpus), *options]
    log = _FOLDER / f"{target}.log"
    with log.open("wb") as output:
        ended = subprocess.run(command, stderr=output, stdout=output, timeout=seconds + _GRACE_SECONDS, check=False)
    text = log.read_text(errors="replace")
    done = re.search(r"number_of_executed_units: (\d+)", text)
    covered = re.findall(r"\bcov: (\d+) ft: (\d+) corp: (\d+)", text)[-1:] or [("?", "?", "?")]
    verdict = "nothing found" if ended.returncode == 0 else f"FOUND something: {log}"
    print(
        f"{target}: {done[1] if done else '?'} executions, coverage {covered[0][0]}, corpus {covered[0][2]}, {verdict}",
        flush=True,
    )
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
