"""Where an HTTP service is, as a URL without a final slash."""

from __future__ import annotations


def base_url(host: str, port: int) -> str:
    """The URL of a host, which may be an IPv6 address: that stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
