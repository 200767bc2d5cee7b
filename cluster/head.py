"""The head process of an installation: it starts what the configuration asks for and stays until it is told to end.

    python -m cluster.head [--config FILE] [--with PID]

`kaizen up` starts it in the background and waits for `run.json`; `kaizen down` sends it SIGTERM. A private Ray lives
and dies with this process. On an existing cluster (`cluster.address`) it starts our actors and our Serve application
there, and takes away exactly those at the end. `--with` is for installations that somebody holds for a while: they end
with that process, however it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray
from ray import serve
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, RayError

from actors.fleet import PREFIXES, named_actors, start_fleet
from actors.names import FLEET, STEWARD
from cluster.controller_pace import look_less_often
from cluster.ingress import free_ports, ingress_environment
from cluster.private_ray import start_private_ray
from cluster.ray_token import keep_private, use_token
from cluster.short_paths import short_temporary_folder
from kaizen.config import Settings
from kaizen.config_sources import check_environment, load_settings
from kaizen.errors import DeadlineExceeded, KaizenError, Unavailable
from kaizen.fate import when_ended
from kaizen.run_state import STEPS_FILE, RunState, remove_run_state, write_run_state
from kaizen.security.keys import local_key
from kaizen.storage.ledger import Ledger
from kaizen.workspace import open_workspace
from serve_apps.gateway import APP_NAME, gateway_app

START_SECONDS = 240.0
PATIENCE_SECONDS = 30.0


class Steps:
    """Tells whoever waits (`kaizen up`) what is being done, a JSON line a step."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / STEPS_FILE
        self._path.write_text("")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce a step, and its end when it ends well."""
        self._write(text, done=False)
        yield
        self._write(text, done=True)

    def _write(self, text: str, *, done: bool) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": text, "done": done}) + "\n")


def run(config: Path | None, holder: int | None) -> None:
    """Start everything, wait for SIGTERM, SIGINT or the end of `holder`, end everything."""
    check_environment()
    settings = load_settings(config).settings
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if holder is not None:
        when_ended(holder, ended.set)
    with tempfile.TemporaryDirectory(prefix="kaizen-", dir=short_temporary_folder()) as runtime:
        state = _start(settings, config, Path(runtime))
        ended.wait()
        _stop(settings, state)


def _start(settings: Settings, config: Path | None, runtime: Path) -> RunState:
    directory = settings.workspace.directory
    workspace = open_workspace(settings)
    steps = Steps(directory)
    # What does not wait for one another runs side by side; each step is announced when its turn to be waited for comes.
    with ThreadPoolExecutor(2) as beside:
        with steps.step("Preparing the release and starting Ray"):
            release = beside.submit(_build_release, config)
            local_key(directory, workspace.ledger.keys, tenant=settings.workspace.tenant)
            os.environ.update(ingress_environment(settings.server, runtime))
            context = _start_ray(settings)
            keep_private()
            release.result()
        with steps.step("Loading the index"):
            port = settings.server.port or free_ports(1)[0]
            front = beside.submit(_open_api, settings, port)
            _start_fleet(settings, workspace.ledger)
        with steps.step("Opening the HTTP API"):
            front.result()
            if settings.cluster.address == "local":  # another cluster's controller may have more to look after
                look_less_often()
    dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else ""
    state = RunState(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        ray_address=context.address_info["gcs_address"],
        namespace=settings.cluster.namespace,
        url=f"http://{settings.server.host}:{port}",
        dashboard_url=dashboard,
        jobs_address=dashboard,
    )
    write_run_state(directory, state)
    return state


def _build_release(config: Path | None) -> None:
    """In a process of its own: the export needs torch, whose memory the head should not keep."""
    command = [sys.executable, "-P", "-m", "jobs.build_release", *(["--config", str(config)] if config else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 (our own module)
    if done.returncode:
        raise Unavailable(f"The release could not be made. {done.stderr.strip()}", advice="Run `kaizen doctor`.")


def _start_ray(settings: Settings) -> ray._private.worker.BaseContext:
    cluster = settings.cluster
    if cluster.address != "local":
        use_token()
        return ray.init(address=cluster.address, namespace=cluster.namespace, log_to_driver=False)
    return start_private_ray(cluster)


def _start_fleet(settings: Settings, ledger: Ledger) -> None:
    fleet = start_fleet(settings)
    deadline, patience = time.monotonic() + START_SECONDS, time.monotonic() + PATIENCE_SECONDS
    states: dict[str, str] = {}
    trouble = ""
    pause = threading.Event()
    while time.monotonic() < deadline:
        try:
            states, trouble = ray.get(fleet.states.remote(), timeout=START_SECONDS), ""
        except ActorUnavailableError:
            trouble = "The fleet's process ends again and again."
        if _all_serve(states) or (time.monotonic() > patience and _previous_serves(ledger, fleet)):
            return
        pause.wait(0.2)
    waiting = sorted(name for name, state in states.items() if state != "serving")
    trouble = trouble or ray.get(fleet.status.remote(), timeout=START_SECONDS)["trouble"]
    raise DeadlineExceeded(f"These actors did not come up: {', '.join(waiting)}. {trouble}", advice="See Ray's logs.")


def _all_serve(states: dict[str, str]) -> bool:
    return bool(states) and all(state == "serving" for state in states.values())


def _previous_serves(ledger: Ledger, fleet: ActorHandle) -> bool:
    """A release that was made stable before its index was built can take hours: the one before answers meanwhile."""
    previous = ledger.rollout.state().previous
    return previous is not None and _all_serve(ray.get(fleet.states.remote([previous]), timeout=START_SECONDS))


def _open_api(settings: Settings, port: int) -> None:
    """The HTTP front end and the gateways, which read their models while the shards load."""
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": settings.server.host, "port": port, "request_timeout_s": None},
    )
    serve.run(gateway_app(settings), name=APP_NAME, route_prefix="/")


def _stop(settings: Settings, state: RunState) -> None:
    remove_run_state(settings.workspace.directory, state)
    if settings.cluster.address != "local":
        serve.delete(APP_NAME)
        _end_actors(settings.cluster.namespace)
    else:
        serve.shutdown()
    ray.shutdown()


def _end_actors(namespace: str) -> None:
    """On a cluster that is not ours: exactly our detached actors, first the supervisor, who would start them anew."""
    ours = [name for name in named_actors(namespace) if name in (FLEET, STEWARD) or name.startswith(PREFIXES)]
    for name in sorted(ours, key=lambda name: name != FLEET):
        try:
            ray.kill(ray.get_actor(name, namespace=namespace))
        except (RayError, ValueError) as error:
            sys.stderr.write(f"{name} was gone already: {error}\n")


def main() -> int:
    """Run as a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cluster.head", description=__doc__)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--with", type=int, dest="holder", metavar="PID", help="end when this process has ended")
    options = parser.parse_args()
    try:
        run(options.config, options.holder)
    except KaizenError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
