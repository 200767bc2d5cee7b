"""The processes of an installation: which there are, how they are killed, when others do their work."""

from __future__ import annotations

import os
import signal
import time

import grpc
import psutil

from tests.product import Product, eventually, title_of

GATEWAY = "ray::ServeReplica:kaizen:Gateway"
GENERATOR = "ray::GeneratorActor"
EMBEDDER = "ray::Embedder"
FLEET = "ray::Fleet"
CONTROLLER = "ray::ServeController"
HAPROXY_MANAGER = "ray::HAProxyManager"
BACK_SECONDS = 120.0
_SERVING = b"\x08\x01"  # field 1 of a HealthCheckResponse: SERVING


def kill(process: psutil.Process) -> float:
    """kill -9; returns when (time.monotonic)."""
    process.kill()
    return time.monotonic()


def kill_shards(product: Product, *names: str) -> float:
    """kill -9 of these shards, all at once; returns when."""
    shards = product.shards()
    for name in names:
        os.kill(shards[name]["pid"], signal.SIGKILL)
    return time.monotonic()


def shard_names(product: Product) -> list[str]:
    """All copies of all shards that say who they are."""
    return sorted(name for name, shard in product.shards().items() if "pid" in shard)


def until_shards_are_new(product: Product, old: dict[str, int], seconds: float = 60) -> None:
    """Wait until each of these shards has another process than it had (`pids_of`), and all is ready."""

    def new() -> bool:
        now = product.shards()
        return all(now.get(name, {}).get("pid", pid) != pid for name, pid in old.items())

    eventually(new, seconds, f"other processes for {sorted(old)}")
    product.wait_until_ready()


def pids_of(product: Product, *names: str) -> dict[str, int]:
    """Shard -> process, now."""
    shards = product.shards()
    return {name: shards[name]["pid"] for name in names}


def the_only(product: Product, title: str) -> psutil.Process:
    """The one process with this title."""
    (process,) = product.processes(title)
    return process


def until_replaced(product: Product, title: str, gone: psutil.Process, wanted: int = 1) -> None:
    """Wait until another process does the work of `gone`, so that `wanted` do it."""
    eventually(lambda: gone.pid not in {p.pid for p in product.processes(title)}, 30, f"{title} is gone")
    eventually(lambda: len(product.processes(title)) == wanted, BACK_SECONDS, f"{title} is back")
    product.wait_until_ready()


def has_ended(process: psutil.Process) -> bool:
    """Whether nothing but its entry in the table is left of it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def memory_bytes(product: Product) -> int:
    """Unshared memory of all processes of the installation."""
    total = 0
    for process in product.tree():
        try:
            total += process.memory_info().rss - process.memory_info().shared
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue  # it ended while we looked
    return total


def proxies(product: Product) -> list[psutil.Process]:
    """Whatever accepts HTTP from outside: HAProxy itself, or Serve's own proxy."""
    found = [process for process in product.tree() if title_of(process).split(" ")[0].endswith("haproxy")]
    return found or product.processes("ray::ProxyActor")


def gcs_answers(product: Product) -> bool:
    """Whether Ray's GCS is there and says that it serves, by gRPC's own protocol for that question."""
    with grpc.insecure_channel(product.state.ray_address) as channel:
        try:
            return channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=1) == _SERVING
        except grpc.RpcError:
            return False


def gcs_servers(product: Product) -> list[psutil.Process]:
    """Ray's GCS; none while there is none."""
    return [process for process in product.tree() if title_of(process).split(" ")[0].endswith("gcs_server")]
