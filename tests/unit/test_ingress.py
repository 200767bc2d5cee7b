"""Ports for what an installation starts by itself."""

from __future__ import annotations

import socket

import pytest

from cluster import ingress
from cluster.ingress import free_ports
from kaizen.errors import Unavailable


def test_free_ports_are_none_that_outgoing_connections_get_and_none_that_somebody_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32_768
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[0]))
        monkeypatch.setattr(ingress, "_PORTS", range(ports[0], ports[0] + 1))
        with pytest.raises(Unavailable, match="no free port"):
            free_ports(1)
    with pytest.raises(Unavailable, match="no free port"):
        free_ports(1)  # nobody has it any more, but who was given it may still come
    monkeypatch.setattr(ingress, "_GIVEN", set())
    assert free_ports(1) == [ports[0]]
