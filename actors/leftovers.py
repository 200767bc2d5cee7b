"""What Ray Data leaves in a cluster when a job that used it ends: three actors of 100 MB. The next job would find them.

They are detached, since any number of jobs may use them at a time; so they stay when none does.
"""

from __future__ import annotations

import ray
from ray._private.state import jobs

# Name -> namespace, as Ray Data 2.60 calls them.
_LEFT = {
    "datasets_stats_actor": "_dataset_stats_actor",
    "ActorLocationTracker": "ActorLocationTracker",
    "AutoscalingCoordinator": "AutoscalingCoordinator",
}
_RAYS_OWN = "ray::"  # its agent connects, too, once a job was submitted, and stays
# A job that follows another one at once finds them there, and starts a second sooner.
_LINGER_SECONDS = 10.0


class Leftovers:
    """Ends them on an installation's own Ray, where no program but the head and its jobs is ever connected."""

    def __init__(self) -> None:
        self._alone_since: float | None = None
        self._looked_for = False  # since a job was there, or since this process took the place of another one

    def look(self, now: float) -> None:
        """End them when no job has run since a while; `now` of time.monotonic."""
        programs = [job for job in jobs() if not job["IsDead"] and not job["Entrypoint"].startswith(_RAYS_OWN)]
        if len(programs) > 1:  # the head is one
            self._alone_since, self._looked_for = None, False
            return
        self._alone_since = self._alone_since or now
        if not self._looked_for and now - self._alone_since >= _LINGER_SECONDS:
            _end()
            self._looked_for = True


def _end() -> None:
    there = {(actor["name"], actor["namespace"]) for actor in ray.util.list_named_actors(all_namespaces=True)}
    for name, namespace in there & _LEFT.items():
        ray.kill(ray.get_actor(name, namespace=namespace))
