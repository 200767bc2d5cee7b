"""Whether this machine can listen at a host and a port."""

from __future__ import annotations

import errno
import socket

from kaizen.errors import InvalidInput

_NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of a name with several addresses, some may be


def check_host(host: str) -> None:
    """Raise InvalidInput where nobody can listen at `host`, whatever the port: Serve gives up on it after a minute, and
    does not say why."""
    try:
        found = _troubles(host, 0)
    except OSError as error:  # nobody knows the name
        found = [error]
    troubles = [trouble for trouble in found if trouble is not None]
    if len(troubles) == len(found):
        raise InvalidInput(
            f"Nobody can listen at server.host = {host!r}: {troubles[0].strerror}.",
            advice="Set it to an address or a name of this machine: 127.0.0.1 for itself only, 0.0.0.0 for all.",
        )


def is_free(host: str, port: int) -> bool:
    """Whether nobody of this machine listens there; it may be another machine's name, that nobody knows here."""
    try:
        troubles = _troubles(host, port)
    except socket.gaierror:
        return True
    return all(trouble is None or trouble.errno in _NOT_OURS for trouble in troubles)


def _troubles(host: str, port: int) -> list[OSError | None]:
    """What came of listening at each of its addresses for a moment."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_trouble(family, address) for family, _, _, _, address in found]


def _trouble(family: socket.AddressFamily, address: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
            listener.bind(address)
    except OSError as error:
        return error
    return None
