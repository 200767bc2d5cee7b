"""What the fleet decides: which actors to start, replace and end, from what is wanted and what answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Names of actors. `replace`: they exist but have been silent for too long."""

    start: tuple[str, ...]
    replace: tuple[str, ...]
    end: tuple[str, ...]


def plan(
    wanted: Collection[str], existing: Collection[str], silent_seconds: Mapping[str, float], hang_seconds: float
) -> Plan:
    """Compare wanted with real.

    Args:
        silent_seconds: for actors that exist, how long ago each last answered.
        hang_seconds: silence after which an actor is taken for hung.
    """
    return Plan(
        start=tuple(name for name in wanted if name not in existing),
        replace=tuple(name for name in wanted if name in existing and silent_seconds.get(name, 0) > hang_seconds),
        end=tuple(name for name in existing if name not in wanted),
    )
