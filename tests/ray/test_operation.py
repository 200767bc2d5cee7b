"""What an operator looks at: health, readiness, releases, status, metrics, the API's own description."""

from __future__ import annotations

import subprocess
import sys

import httpx

from cluster.throwaway import environment
from tests.product import Product, eventually
from tests.ray.conftest import Handbook


def test_health_and_readiness_need_no_key(product: Product) -> None:
    with httpx.Client(base_url=product.state.url, trust_env=False) as nobody:
        assert (nobody.get("/healthz").status_code, nobody.get("/healthz").text) == (200, "ok")
        assert nobody.get("/readyz").json() == {"ready": True, "release": True, "waiting_for": []}


def test_every_response_names_the_release_that_is_listed(handbook: Handbook) -> None:
    listed = handbook.client.get("/v1/releases").json()
    release = listed["releases"][-1]
    assert (release["id"], release["number"], release["parent"]) == (listed["stable"], 1, None)
    assert set(release["parts"]) == {"embedder", "index", "retrieval", "prompt", "generator"}
    assert all(len(part["fingerprint"]) == 64 for part in release["parts"].values())
    assert handbook.search("anything")["release"] == listed["stable"]


def test_status_shows_the_shards_at_the_ledgers_head(product: Product, handbook: Handbook) -> None:
    def at_head() -> bool:
        status = product.status()
        shards = status["fleet"]["shards"]
        return len(shards) == 2 and {shard["seq"] for shard in shards.values()} == {status["ledger"]["head"]}

    eventually(at_head, 30, "all shards are at the ledger's head")
    status = product.status()
    assert {shard["state"] for shard in status["fleet"]["shards"].values()} == {"serving"}
    assert [shard["trouble"] for shard in status["fleet"]["shards"].values()] == ["", ""]
    assert set(status["fleet"]["actors"].values()) == {"serving"}


def test_processes_that_serve_do_without_pandas_and_what_nobody_needs_is_not_started(product: Product) -> None:
    serve = ("ray::Serve", "ray::ProxyActor")
    servers = [product.tree()[0], *(process for title in serve for process in product.processes(title))]
    assert len(servers) == 5  # the head, the controller, a proxy, two gateways
    mapped = {file.path for process in servers for file in process.memory_maps()}
    assert any("pydantic_core" in path for path in mapped)
    assert not [path for path in mapped if "/pandas/" in path]
    # Neither the one that would ask a cloud for nodes, nor the one that reads logs for drivers that print them.
    assert not [one for one in product.tree() if any(part.endswith("monitor.py") for part in one.cmdline())]


_TURNS = """
import sys, time
import ray
from cluster.connection import connection

def turns(controller):
    return controller._health_metrics_tracker.num_control_loops

with connection(sys.argv[1], "serve", {}):
    controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    before, started = ray.get(controller.__ray_call__.remote(turns)), time.monotonic()
    time.sleep(3)
    print((ray.get(controller.__ray_call__.remote(turns)) - before) / (time.monotonic() - started))
"""


def test_serves_controller_looks_after_everything_four_times_a_second(product: Product) -> None:
    """And not ten times, which took a fiftieth of a core while nobody asked anything."""
    command = [sys.executable, "-P", "-c", _TURNS, product.state.ray_address]
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    assert 1 < float(done.stdout.splitlines()[-1]) < 5


def test_ray_reports_nothing_to_its_makers(product: Product) -> None:
    dashboards = [one for one in product.tree() if "dashboard/dashboard.py" in " ".join(one.cmdline())]  # it would
    assert [one.environ()["RAY_USAGE_STATS_ENABLED"] for one in dashboards] == ["0"]


BACKLOG = "kaizen_impressions_waiting"


def test_metrics_count_requests(product: Product, handbook: Handbook) -> None:
    handbook.search("pump")

    def counted() -> bool:
        with product.client() as client:
            text = client.get("/metrics").text
        found = any(
            line.startswith("kaizen_requests_total{") and 'route="/v1/search"' in line and 'status="200"' in line
            for line in text.splitlines()
        )
        waiting = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{BACKLOG}{{")]
        return found and len(waiting) == product.parts.settings.server.replicas and set(waiting) == {"0.0"}

    eventually(counted, 60, "searches are counted, and of both replicas is known that nothing waits for the ledger")
    with product.client() as client:
        text = client.get("/metrics").text
    assert 'stage="shards"' in text
    assert handbook.tenant not in text
    assert "holidays" not in text  # labels carry no document ids


def test_the_api_describes_itself(product: Product) -> None:
    with httpx.Client(base_url=product.state.url, trust_env=False) as nobody:
        described = nobody.get("/openapi.json").json()
        assert nobody.get("/docs").status_code == 200
    assert described["openapi"].startswith("3.")
    paths = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert {
        ("POST", "/v1/search"),
        ("POST", "/v1/answer"),
        ("POST", "/v1/feedback"),
        ("PUT", "/v1/documents/{document_id}"),
        ("GET", "/v1/documents/{document_id}"),
        ("DELETE", "/v1/documents/{document_id}"),
        ("POST", "/v1/documents:batch"),
        ("GET", "/v1/releases"),
    } <= paths
    schemas = described["components"]["schemas"]
    for name in ("SearchRequest", "AnswerRequest", "Click", "DocumentBody"):
        assert schemas[name]["examples"], name
    _all_references_lead_somewhere(described, described)


def _all_references_lead_somewhere(node: object, root: dict[str, object]) -> None:
    if isinstance(node, list):
        for item in node:
            _all_references_lead_somewhere(item, root)
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                place: object = root
                for part in str(value).removeprefix("#/").split("/"):
                    assert isinstance(place, dict)
                    place = place[part]
            _all_references_lead_somewhere(value, root)


def test_examples_are_accepted(product: Product, handbook: Handbook) -> None:
    described = handbook.client.get("/openapi.json").json()["components"]["schemas"]
    found = handbook.client.post("/v1/search", json={"query": "pump"}).json()
    seen = {"impression_id": found["impression_id"], "chunk_id": found["hits"][0]["chunk_id"]}
    _, client = product.new_tenant()
    with client:  # of nobody's documents: a filter on a field that they do not have is refused, rightly
        for example in described["DocumentBody"]["examples"]:
            assert client.put("/v1/documents/example", json=example).status_code == 200
        for example in described["DocumentWithId"]["examples"]:
            assert client.post("/v1/documents:batch", json={"documents": [example]}).status_code == 200
        for example in described["DocumentBatch"]["examples"]:
            assert client.post("/v1/documents:batch", json=example).status_code == 200
    for example in described["SearchRequest"]["examples"][:2]:
        assert handbook.client.post("/v1/search", json=example).status_code == 200
    for example in described["AnswerRequest"]["examples"]:
        assert handbook.client.post("/v1/answer", json=example).status_code == 200
    for kind in ("Click", "Thumb", "Rating", "Comment", "Correction"):
        for example in described[kind]["examples"]:
            judged = handbook.client.post("/v1/feedback", json={**example, **seen})
            assert judged.status_code == 200, judged.text
