"""A Ray cluster that belongs to somebody else, with a program of theirs on it; it ends with standard input.

    python -m tests.ray.others_ray PORT

prints a JSON line with its address when it is there, and for each line of standard input one with what is there then:
named actors by namespace, and Serve's applications. Serve, of which a cluster has one, listens on PORT.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.ingress import ingress_environment
from kaizen.config import Server

CPUS = 8


def main() -> int:
    """Run as a command; returns the exit status."""
    with TemporaryDirectory(prefix="kaizen-theirs-") as runtime:
        os.environ.update(ingress_environment(Server(ingress="proxy"), Path(runtime)))
        _serve(int(sys.argv[1]))
    return 0


def _serve(port: int) -> None:
    import ray
    from ray import serve  # reads the environment when it is imported

    from cluster.private_ray import init_private

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Theirs:
        def __call__(self) -> str:
            return "theirs"

    context = init_private(num_cpus=CPUS, object_store_memory=100 * 2**20, include_dashboard=False, namespace="others")
    ray.remote(num_cpus=0)(object).options(name="fleet", lifetime="detached").remote()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    serve.run(Theirs.bind(), name="theirs", route_prefix="/theirs")
    _say({"address": context.address_info["gcs_address"]})
    for _ in sys.stdin:
        names = sorted((entry["namespace"], entry["name"]) for entry in ray.util.list_named_actors(all_namespaces=True))
        _say({
            "actors": [name for name in names if name[0] != "serve"],
            "applications": sorted(serve.status().applications),
        })  # fmt: skip
    ray.shutdown()


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    sys.exit(main())
