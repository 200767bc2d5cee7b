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
    wanted: Collection[str],
    existing: Collection[str],
    *,
    silent_seconds: Mapping[str, float],
    hang_seconds: float,
    unneeded_seconds: Mapping[str, float],
    linger_seconds: float,
) -> Plan:
    """Compare wanted with real.

    Args:
        silent_seconds: for actors that exist, how long ago each last answered.
        hang_seconds: silence after which an actor is taken for hung.
        unneeded_seconds: for actors that exist and are not wanted, for how long already.
        linger_seconds: for how long requests in flight may still need such an actor.
    """
    return Plan(
        start=tuple(name for name in wanted if name not in existing),
        replace=tuple(name for name in wanted if name in existing and silent_seconds.get(name, 0) > hang_seconds),
        end=tuple(name for name in existing if name not in wanted and unneeded_seconds.get(name, 0) >= linger_seconds),
    )


class Patience:
    """When an actor that does not come up may be started once more: at once, then after 1, 2, 4 ... seconds.

    Without it an actor that cannot be built, of a release that is broken, would be built again every second and take
    the machine from those that answer.
    """

    def __init__(self, most_seconds: float = 60.0) -> None:
        self._most = most_seconds
        self._starts: dict[str, tuple[int, float]] = {}

    def may_start(self, name: str, now: float) -> bool:
        """Whether it is time."""
        count, last = self._starts.get(name, (0, 0.0))
        return count == 0 or now - last >= min(self._most, 2.0 ** (count - 1))

    def started(self, name: str, now: float) -> None:
        """It was started at `now`."""
        self._starts[name] = (self._starts.get(name, (0, 0.0))[0] + 1, now)

    def forget(self, name: str) -> None:
        """It came up, or nobody wants it any more."""
        self._starts.pop(name, None)
