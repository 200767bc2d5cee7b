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
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import ray
from ray import serve
from ray._private.worker import BaseContext
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError
from ray.serve.exceptions import RayServeException

from actors.fleet import start_fleet
from cluster.belongings import clear_leftovers, take_away
from cluster.controller_pace import look_less_often
from cluster.ending import Ending
from cluster.ingress import free_ports, ingress_environment, serve_host
from cluster.kept_gcs import keep_gcs
from cluster.kept_haproxy import keep_haproxy
from cluster.private_ray import start_private_ray
from cluster.ray_token import keep_private, use_token
from cluster.short_paths import short_temporary_folder
from kaizen.base_url import base_url
from kaizen.config import Settings
from kaizen.config_sources import check_environment, load_settings
from kaizen.errors import Conflict, DeadlineExceeded, KaizenError, Unavailable
from kaizen.listening import check_host
from kaizen.printed import in_words
from kaizen.run_state import STEPS_FILE, RunState, birth, remove_run_state, write_run_state
from kaizen.security.keys import local_key
from kaizen.storage.ledger import Ledger
from kaizen.storage.scratch import Scratch
from kaizen.workspace import open_workspace
from serve_apps.gateway import gateway_app

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
        self._write(step=text, done=False)
        yield
        self._write(step=text, done=True)

    def note(self, text: str) -> None:
        """Tell something that is no step."""
        self._write(step=text, done=True, note=True)

    def _write(self, **line: str | bool) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def run(config: Path | None, holder: int | None) -> None:
    """Start everything, wait for SIGTERM, SIGINT or the end of `holder`, end everything: also what was half started."""
    check_environment()
    settings = load_settings(config).settings
    if settings.cluster.address == "local":  # else Serve listens on another machine
        check_host(settings.server.host)
    folder = Scratch("up", short_temporary_folder())
    with suppress(KeyboardInterrupt), folder as runtime, ExitStack() as last, Ending() as ending:
        if holder is not None:
            ending.come_with(holder)
        _start(settings, config, runtime, ending, last)
        ending.wait()


def _start(settings: Settings, config: Path | None, runtime: Path, ending: Ending, last: ExitStack) -> None:
    """Start everything; `last` gets what ends it."""
    directory = settings.workspace.directory
    with open_workspace(settings).ledger as ledger:
        steps = Steps(directory)
        with steps.step("Preparing the release and starting Ray"), _release_built(config) as release:
            local_key(directory, ledger.keys, tenant=settings.workspace.tenant)
            os.environ.update(ingress_environment(settings.server, runtime))
            context = _start_ray(settings, runtime, ending, last)
            withheld = _finish(release)
        if withheld:
            steps.note(withheld)
        with steps.step("Opening the HTTP API"):
            fleet = start_fleet(settings)  # it loads the index meanwhile
            port = _open_api(settings)
        with steps.step("Loading the index"):
            _wait_until_loaded(fleet, ledger)
    if settings.cluster.address == "local":  # another cluster's controller may have more to look after
        look_less_often()
        if settings.server.ingress == "haproxy":
            keep_haproxy()
    _publish(settings, context, port, last)


def _publish(settings: Settings, context: BaseContext, port: int, last: ExitStack) -> None:
    dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else ""
    state = RunState(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        ray_address=context.address_info["gcs_address"],
        namespace=settings.cluster.namespace,
        url=base_url(settings.server.host, port),
        dashboard_url=dashboard,
        jobs_address=dashboard,
        born=birth(os.getpid()),
    )
    last.callback(remove_run_state, settings.workspace.directory, state)
    write_run_state(settings.workspace.directory, state)


@contextmanager
def _release_built(config: Path | None) -> Iterator[subprocess.Popen[str]]:
    """In a process of its own: the export needs torch, whose memory the head should not keep."""
    command = [sys.executable, "-P", "-m", "jobs.build_release", "--json"]
    command += ["--config", str(config)] if config else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as building:  # noqa: S603 (our own module)
        try:
            yield building
        finally:
            building.kill()  # nothing, unless the start was broken off


def _finish(release: subprocess.Popen[str]) -> str:
    """Return why the configured release is not in service, "" when it is."""
    said, trouble = release.communicate()
    if release.returncode:
        raise Unavailable(f"The release could not be made. {in_words(trouble)}", advice="Run `kaizen doctor`.")
    withheld: str = json.loads(said.splitlines()[-1])["withheld"]
    return withheld


def _start_ray(settings: Settings, runtime: Path, ending: Ending, last: ExitStack) -> BaseContext:
    """A private Ray ends with all that is in it. No `serve.shutdown` before: it took half a minute to give up."""
    last.callback(ray.shutdown)
    cluster = settings.cluster
    if cluster.address == "local":
        context = start_private_ray(cluster, runtime)
        last.callback(keep_gcs())
    else:
        use_token()
        context = ray.init(address=cluster.address, namespace=cluster.namespace, log_to_driver=False)
    ending.heed()  # Ray has its own way with SIGTERM: it aborts the process
    keep_private()
    if cluster.address != "local":
        clear_leftovers(settings)
        last.callback(take_away, cluster.namespace)
    return context


def _wait_until_loaded(fleet: ActorHandle, ledger: Ledger) -> None:
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


def _open_api(settings: Settings) -> int:
    """Start the HTTP front end and the gateways; return the port."""
    port = settings.server.port or free_ports(1)[0]
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": serve_host(settings), "port": port, "request_timeout_s": None},
    )
    try:
        serve.run(gateway_app(settings), name=settings.cluster.namespace, route_prefix="/")
    except RayServeException as error:  # of two applications, one may be at a path
        raise Conflict(
            f"Serve does not take our application: {error}.",
            advice="If nobody needs the other one, `serve.delete` it (earlier versions had a `kaizen`), else use "
            "a cluster of its own.",
        ) from error
    return port


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
