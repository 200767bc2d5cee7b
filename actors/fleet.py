"""The supervisor: compares the actors that the rollout wants with those that answer, and mends the difference.

Ray restarts an actor whose process died. The fleet adds what Ray does not see: an actor that was never started, one
that hangs, one that no release needs any more. It is detached, holds no state that it could not find again, and so
may die at any time itself.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray._private.state import actors as actor_table  # the public one asks the dashboard, which may be what is broken
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError

from actors.background import run_in_background
from actors.embedder import DOCUMENTS, Embedder
from actors.generator import GeneratorActor
from actors.index_shard import IndexShard
from actors.leftovers import Leftovers
from actors.names import FLEET, STEWARD, embedder_name, generator_name, shard_name
from actors.steward import start_steward
from kaizen.collect import collect
from kaizen.config import Settings
from kaizen.errors import KaizenError, WriterStopped
from kaizen.fleet import Patience, plan
from kaizen.records import Release
from kaizen.release import index_of
from kaizen.workspace import open_workspace

log = logging.getLogger("kaizen.fleet")

# Loading a large shard or a model takes its time; silence counts from here on.
START_SECONDS = 300.0
SEARCH_THREADS = 8
MAX_RESTARTS = -1  # Ray starts an actor that died again, however often
# Gateways look at the rollout every half second, and what they had begun on a release that is gone may still run.
LINGER_SECONDS = 30.0
PREFIXES = ("shard-", "embedder-", "generator-")
_HOUR = 3600.0

Start = Callable[[], ActorHandle]


class Fleet:
    """Keeps the actors of every release that the rollout names (stable, challenger and previous) and the steward, and
    takes away what lies in the store and nobody needs any more."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._namespace = settings.cluster.namespace
        self._workspace = open_workspace(settings)
        self._ledger = self._workspace.ledger
        self._here = ray.get_runtime_context().get_node_id()
        self._pings: dict[str, ray.ObjectRef] = {}
        self._heard: dict[str, float] = {}
        self._states: dict[str, str] = {}
        self._known: dict[str, Release] = {}
        self._patience = Patience()
        self._leftovers = Leftovers() if settings.cluster.address == "local" else None
        self._unneeded: dict[str, float] = {}  # actor -> since when no release in the rollout needs it
        self._faults: dict[str, str] = {}  # actor or release -> why it does not come up
        self._trouble = ""
        self._due = threading.Event()
        run_in_background(self._keep)
        run_in_background(self._collect)

    def wake(self) -> None:
        """Compare now: the rollout has changed."""
        self._due.set()

    def states(self, releases: Sequence[str] | None = None) -> dict[str, str]:
        """What each actor of these releases last said of itself; `unknown` when it has not answered yet.

        Default: of the stable release, without which nobody can be answered.
        """
        if releases is None:
            stable = self._ledger.rollout.current()
            releases = () if stable is None else (stable,)
        return {name: self._states.get(name, "unknown") for name in self._actors(releases)}

    def status(self) -> dict[str, Any]:
        """States of all wanted actors, and details of the shards that answer within a second."""
        names = list(self._actors(self._ledger.rollout.state().releases))
        names += [STEWARD] if self._settings.learning.steward else []
        shards = [name for name in names if name.startswith("shard-")]
        with ThreadPoolExecutor(len(shards) or 1) as pool:
            details = dict(zip(shards, pool.map(self._shard_status, shards), strict=True))
        return {
            "actors": {name: self._states.get(name, "unknown") for name in names},
            "shards": details,
            "trouble": "; ".join(filter(None, [self._trouble, *dict(self._faults).values()])),
        }

    def _shard_status(self, name: str) -> dict[str, Any]:
        try:
            status: dict[str, Any] = ray.get(self._handle(name).status.remote(), timeout=1)
        except (RayError, GetTimeoutError, ValueError) as error:
            return {"state": "not answering", "trouble": type(error).__name__}
        return status

    def _keep(self) -> None:
        while True:
            self._due.clear()
            try:
                self._reconcile()
                if self._leftovers is not None:
                    self._leftovers.look(time.monotonic())
                self._trouble = ""
            except (KaizenError, RayError, ValueError) as error:
                log.warning("reconcile: %s", error)
                self._trouble = str(error)
            self._due.wait(self._settings.fleet.heartbeat_seconds)

    def _collect(self) -> None:
        pause, hours = threading.Event(), self._settings.collect.every_hours
        while hours and not pause.wait(hours * _HOUR):
            try:
                done = collect(self._workspace, time.time())
                log.info("collected %d objects, %d bytes", len(done.gone), done.freed_bytes)
            except WriterStopped:
                raise  # only another process writes again
            except KaizenError as error:
                log.warning("collecting: %s", error)

    def _reconcile(self) -> None:
        releases = self._ledger.rollout.state().releases
        existing = [name for name in named_actors(self._namespace) if name.startswith((*PREFIXES, STEWARD))]
        wanted = self._actors(releases)
        if self._settings.learning.steward and (STEWARD in existing or self._all_serve()):
            wanted[STEWARD] = partial(start_steward, self._settings)
        self._faults = {name: why for name, why in dict(self._faults).items() if name in wanted or name in releases}
        self._listen([name for name in existing if name in wanted])
        now = time.monotonic()
        self._unneeded = {name: self._unneeded.get(name, now) for name in existing if name not in wanted}
        todo = plan(
            wanted,
            existing,
            silent_seconds={name: now - self._heard[name] for name in existing if name in self._heard},
            hang_seconds=self._settings.fleet.hang_seconds,
            unneeded_seconds={name: now - since for name, since in self._unneeded.items()},
            linger_seconds=LINGER_SECONDS,
        )
        for name in todo.start:
            if self._patience.may_start(name, now):
                self._begin(name, wanted[name], now)
        for name in todo.replace:
            self._replace(name, now - self._heard[name])
        for name in todo.end:
            log.info("ending %s: no release needs it", name)
            self._end(name)

    def _all_serve(self) -> bool:
        """Whether whoever has a question is answered; the steward comes after that, and only takes from the rest."""
        return set(self.states().values()) == {"serving"}

    def _begin(self, name: str, start: Start, now: float) -> None:
        log.info("starting %s", name)
        self._patience.started(name, now)
        self._pings[name] = start().ping.remote()  # its answer tells why, when it cannot be built
        self._heard[name] = now + START_SECONDS

    def _actors(self, releases: Sequence[str]) -> dict[str, Start]:
        """Actors of these releases by name, with what starts each. Releases may share some."""
        wanted: dict[str, Start] = {}
        for name in releases:
            try:
                wanted.update(self._actors_of(self._release(name)))
                self._faults.pop(name, None)
            except Exception as error:  # noqa: BLE001 (one whose record makes no sense must not take the others along)
                self._faults[name] = f"{name}: {type(error).__name__}: {error}"
        return wanted

    def _release(self, name: str) -> Release:
        if name not in self._known:
            self._known[name] = self._ledger.releases.get(name)
        return self._known[name]

    def _actors_of(self, release: Release) -> Iterator[tuple[str, Start]]:
        spec = index_of(release)
        yield embedder_name(spec.made_by), partial(self._start, embedder_name(spec.made_by), Embedder, release)
        if release.parts["generator"]["kind"] != "extractive":
            name = generator_name(release.parts["generator"]["fingerprint"])
            yield name, partial(self._start, name, GeneratorActor, release)
        for shard in range(spec.shards):
            for replica in range(self._settings.fleet.replicas):
                name = shard_name(spec.id, shard, replica)
                yield name, partial(self._start, name, IndexShard, spec, shard, replica)

    def _start(self, name: str, kind: type, *arguments: object) -> ActorHandle:
        options = {
            "name": name,
            "namespace": self._namespace,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": MAX_RESTARTS,
            "num_cpus": self._settings.fleet.shard_cpus,
            "num_gpus": self._gpus(kind),
            "max_concurrency": SEARCH_THREADS,
            "scheduling_strategy": "SPREAD",  # one node lost must not be all copies lost
            "enable_task_events": False,  # thousands of searches a minute would fill the list of tasks, and cost CPU
        }
        # Pings have threads of their own, so that an actor whose searches all wait is not taken for hung.
        threads = {"control": 2, DOCUMENTS: 1} if kind is Embedder else {"control": 2}
        actor = ray.remote(concurrency_groups=threads)(kind)
        return actor.options(**options).remote(self._settings, *arguments)

    def _gpus(self, kind: type) -> float:
        return {IndexShard: self._settings.fleet.shard_gpus, Embedder: self._settings.embedder.gpus}.get(kind, 0)

    def _listen(self, names: list[str]) -> None:
        """Ping everybody who owes no answer, and take the answers that have come."""
        for name in names:
            self._heard.setdefault(name, time.monotonic())
            if name not in self._pings:
                self._pings[name] = self._handle(name).ping.remote()
        pending = list(self._pings.values())
        ready = set(ray.wait(pending, num_returns=len(pending), timeout=0.2)[0]) if pending else set()
        for name, ping in list(self._pings.items()):
            if ping in ready:
                del self._pings[name]
                self._hear(name, ping)

    def _hear(self, name: str, ping: ray.ObjectRef) -> None:
        try:
            self._states[name] = ray.get(ping)[0]
            self._patience.forget(name)
            self._faults.pop(name, None)
        except ActorUnavailableError:
            self._states[name] = "restarting"  # Ray knows and is at it
        except RayError as error:
            self._states[name] = type(error).__name__
            self._faults[name] = f"{name}: {str(error).strip().splitlines()[-1]}"
        self._heard[name] = max(time.monotonic(), self._heard.get(name, 0) if self._states[name] == "restarting" else 0)

    def _replace(self, name: str, silent_seconds: float) -> None:
        """Kill a hung actor; Ray then restarts it. A stopped process does not hear Ray's request, hence the signal."""
        log.warning("%s has been silent for %.0f s: replacing it", name, silent_seconds)
        node, pid = self._process(name)
        if node == self._here:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)
        else:
            ray.kill(self._handle(name), no_restart=False)
        self._pings.pop(name, None)
        self._states[name] = "restarting"  # until the new process says otherwise
        self._heard[name] = time.monotonic() + START_SECONDS
        if name == STEWARD:  # `kaizen steward status` reads the ledger
            reason = f"The steward did not answer for {silent_seconds:.0f} s and was started anew."
            self._ledger.decisions.record(by=FLEET, kind="replace_steward", release="", reason=reason, evidence={})

    def _process(self, name: str) -> tuple[str, int]:
        """Node and process that an actor runs in, as Ray has it now; no node while it runs in none.

        Not what it last said of itself: Ray may have restarted it since, and the number be another program's.
        """
        row = actor_table(self._handle(name)._actor_id.hex())
        return (row["Address"]["NodeID"], int(row["Pid"])) if row.get("State") == "ALIVE" else ("", 0)

    def _end(self, name: str) -> None:
        handle = self._handle(name)
        if name.startswith("shard-"):
            handle.retire.remote()  # so that it does not begin to seal while it is being killed
        ray.kill(handle)
        self._forget(name)

    def _forget(self, name: str) -> None:
        for known in (self._pings, self._heard, self._states, self._faults, self._unneeded):
            known.pop(name, None)
        self._patience.forget(name)

    def _handle(self, name: str) -> ActorHandle:
        return ray.get_actor(name, namespace=self._namespace)


def start_fleet(settings: Settings) -> ActorHandle:
    """Return the installation's fleet, started if it is not there."""
    options = {"lifetime": "detached", "get_if_exists": True, "max_restarts": -1, "num_cpus": 0, "max_concurrency": 4}
    return ray.remote(Fleet).options(name=FLEET, namespace=settings.cluster.namespace, **options).remote(settings)


def named_actors(namespace: str) -> list[str]:
    """Names of the named actors in a namespace."""
    listed = ray.util.list_named_actors(all_namespaces=True)
    return [entry["name"] for entry in listed if entry["namespace"] == namespace]
