"""Where sockets may lie: their paths must be short, and Ray and HAProxy spend most of it on names of their own."""

from __future__ import annotations

import tempfile
from pathlib import Path

# Linux takes 107 bytes; HAProxy 97, for a suffix while it starts. Ray puts a node's id of 56 digits into the path.
MOST_BYTES = 97
_NODE_ID = 56
HAPROXY_SOCKET = "s"
_OWN = f"/kaizen-up-{'x' * 8}/{'x' * _NODE_ID}/{HAPROXY_SOCKET}"
_SHORT = Path("/tmp")  # noqa: S108 (what is made in it has a random name and is its owner's alone)


def short_temporary_folder() -> Path:
    """The system's temporary folder (TMPDIR), or /tmp where that one's name leaves no room for a socket."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual).encode()) + len(_OWN) <= MOST_BYTES else _SHORT
