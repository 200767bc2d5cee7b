"""What the processor of this machine can do, as far as it decides on how a model is computed."""

from __future__ import annotations

import platform
from pathlib import Path

_BYTE_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni"})


def processor() -> str:
    """Name and instructions: what decides on a runtime's routines."""
    return "\n".join([platform.machine(), *sorted(set(_told()))])


def multiplies_bytes() -> bool:
    """Whether it has instructions for sums of products of bytes."""
    return any(not _BYTE_PRODUCTS.isdisjoint(line.split()) for line in _told())


def _told() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith(("flags", "Features", "model name"))]
