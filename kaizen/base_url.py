"""Where an HTTP service is, as a URL without a final slash."""

from __future__ import annotations


def base_url(host: str, port: int) -> str:
    """The URL of a host."""
    return f"http://{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """The host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
