"""Rollouts on the running product: who is answered by which release, and what nobody must ever notice of it."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from kaizen import rollout
from kaizen.ids import fingerprint
from kaizen.records import Impression
from kaizen.release import with_parts
from kaizen.retrieval.features import FEATURES
from tests.product import Product, eventually
from tests.ray.conftest import HANDBOOK, Handbook

ENOUGH = 16  # responses in a row that both replicas have had a part in


@dataclass(frozen=True, slots=True)
class Stage:
    """The product with a stable release, variants of it, and the rollout over HTTP."""

    product: Product
    handbook: Handbook
    admin: httpx.Client
    stable: str

    def variant(self, **changed: dict[str, Any]) -> str:
        """A release like the stable one, but for these parts."""
        ledger = self.product.parts.ledger
        base = ledger.releases.get(self.stable)
        parts = with_parts(base, **{name: {**base.parts.get(name, {}), **new} for name, new in changed.items()})
        return ledger.releases.record(parts, self.stable).id

    def part(self, name: str) -> dict[str, Any]:
        return dict(self.product.parts.ledger.releases.get(self.stable).parts[name])

    def other_encoder(self, folder: Path) -> dict[str, Any]:
        """A query encoder with files of its own: the embedder, but that it reads every query with words before it."""
        part, store, name = self.part("embedder"), self.product.parts.store, "f" * 64
        copy = folder / "encoder"
        shutil.copytree(store.fetch_directory(part["artifact"]), copy, ignore=shutil.ignore_patterns("sha256.json"))
        record = json.loads((copy / "record.json").read_text())
        (copy / "record.json").write_text(json.dumps({**record, "source": name}))
        store.put_directory("models/other-encoder", copy)
        return {**part, "fingerprint": name, "artifact": "models/other-encoder", "query_prompt": "about trains: "}

    def show(self) -> dict[str, Any]:
        return dict(self.admin.get("/v1/rollout").raise_for_status().json())

    def post(self, path: str, **body: object) -> httpx.Response:
        return self.admin.post(path, json=body)

    def begin(self, challenger: str, mode: str, weight: float) -> int:
        """Put it on trial and return the version of the row, when both replicas take part."""
        version = self.show()["version"]
        body = {"action": "begin", "version": version, "challenger": challenger, "mode": mode, "weight": weight}
        state = self.post("/v1/rollout", **body).raise_for_status().json()
        self.under(state["version"])
        return int(state["version"])

    def under(self, version: int) -> None:
        """Wait until both replicas work under this version of the row."""

        def all_do() -> bool:
            names = [self.handbook.search("goggles", k=1)["impression_id"] for _ in range(ENOUGH)]
            return {self.impression(name).rollout for name in names} == {version}

        eventually(all_do, 60, "both replicas follow")

    def promote(self, release: str) -> dict[str, Any]:
        return dict(self.post(f"/v1/releases/{release}:promote").raise_for_status().json())

    def impression(self, name: str) -> Impression:
        return self.handbook.impression(name)

    def answering(self) -> set[str]:
        """Releases that answer now."""
        return {self.handbook.search("goggles", k=1)["release"] for _ in range(ENOUGH)}

    def reset(self) -> None:
        state = self.show()
        if state["challenger"]:
            self.post("/v1/rollout", action="stop", version=state["version"]).raise_for_status()
        state = self.promote(self.stable) if state["stable"] != self.stable else self.show()
        if state["previous"]:  # its actors would be counted in other tests
            self.post("/v1/rollout", action="retire", version=state["version"]).raise_for_status()
        eventually(lambda: self.answering() == {self.stable}, 30, "the stable release answers again")


@pytest.fixture
def stage(product: Product, handbook: Handbook) -> Iterator[Stage]:
    with product.client() as admin:
        stable = admin.get("/v1/rollout").json()["stable"]
        one = Stage(product, handbook, admin, stable)
        yield one
        one.reset()


def test_a_promoted_release_answers_and_a_rollback_takes_moments(stage: Stage) -> None:
    wordy = stage.variant(retrieval={"dense_weight": 0.0})
    before = stage.handbook.search("gear that rotates", explain=True)
    state = stage.promote(wordy)
    assert (state["stable"], state["previous"], state["challenger"]) == (wordy, stage.stable, None)
    eventually(lambda: stage.answering() == {wordy}, 30, "the promoted release answers")
    after = stage.handbook.search("gear that rotates", explain=True)
    assert [hit["score"] for hit in before["hits"]] != [hit["score"] for hit in after["hits"]]
    assert set(after["fingerprints"]) == {wordy}
    changed = {s for s, f in after["fingerprints"][wordy].items() if before["fingerprints"][stage.stable][s] != f}
    assert changed == {"retrieval"}

    started = time.monotonic()
    assert stage.post("/v1/rollback", reason="a test").raise_for_status().json()["stable"] == stage.stable
    eventually(lambda: stage.answering() == {stage.stable}, 5, "back")
    assert time.monotonic() - started < 5
    done = stage.admin.get("/v1/rollout/history?limit=2").json()["decisions"]
    assert [(d["kind"], d["release"], d["reason"]) for d in done] == [
        ("rollback", stage.stable, "a test"), ("promote", wordy, ""),
    ]  # fmt: skip
    assert stage.product.key.split("_")[1] == done[0]["by"]


def test_every_part_is_swapped_in_place(stage: Stage, tmp_path: Path) -> None:
    """A ranker that turns the order round, another encoder of queries, another generator: all at once, same index."""
    weights = [-1.0 if name == "cosine" else 0.0 for name in FEATURES]
    generator = {n: v for n, v in stage.part("generator").items() if n != "fingerprint"} | {"max_tokens": 16}
    other = stage.variant(
        ranker={"kind": "linear", "features": list(FEATURES), "weights": weights, "depth": 100},
        query_encoder=stage.other_encoder(tmp_path),
        generator={**generator, "fingerprint": fingerprint(generator)},
    )
    query = "How many days of paid leave are there?"
    before = stage.handbook.search(query, explain=True)
    stage.promote(other)
    eventually(lambda: stage.answering() == {other}, 60, "the promoted release answers")
    after = stage.handbook.search(query, explain=True)
    cosines = [hit["explain"]["cosine"] for hit in after["hits"]]
    assert cosines == sorted(cosines)
    first = before["hits"][0]
    again = next(hit for hit in after["hits"] if hit["chunk_id"] == first["chunk_id"])
    assert again["explain"]["cosine"] != first["explain"]["cosine"]
    answer = stage.handbook.client.post("/v1/answer", json={"question": query, "explain": True, "timeout_seconds": 60})
    told, parts = answer.json()["fingerprints"][other], stage.product.parts.ledger.releases.get(other).parts
    assert told == {name: parts[name]["fingerprint"][:12] for name in told}
    assert set(told) == {"query_encoder", "index", "retrieval", "ranker", "prompt", "generator"}


def test_of_those_who_decide_on_the_same_state_one_wins(stage: Stage) -> None:
    challenger, version = stage.variant(retrieval={"bm25_b": 0.5}), stage.show()["version"]
    body = {"action": "begin", "version": version, "challenger": challenger, "mode": "shadow", "weight": 0.5}
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: stage.post("/v1/rollout", **body), range(6)))
    assert Counter(reply.status_code for reply in replies) == {200: 1, 409: 5}
    assert all(reply.json()["advice"] for reply in replies if reply.status_code == 409)
    assert stage.post("/v1/rollback", version=version).status_code == 409
    assert stage.show()["version"] == version + 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/rollout", {"action": "begin", "version": 0}, 422),
        ("/v1/rollout", {"action": "dance", "version": 0}, 422),
        ("/v1/rollout", {"action": "stop"}, 422),
        ("/v1/rollout", {"action": "stop", "version": 0, "force": True}, 422),
        ("/v1/rollback", {"force": True}, 422),
        ("/v1/releases/r99-00000000:promote", {}, 404),
        ("/v1/releases/{stable}:promote", {}, 409),
    ],
)
def test_what_makes_no_sense_is_refused(stage: Stage, path: str, body: dict[str, object], status: int) -> None:
    version = stage.show()["version"]
    reply = stage.post(path.replace("{stable}", stage.stable), **body)
    assert (reply.status_code, bool(reply.json()["advice"])) == (status, True)
    assert stage.show()["version"] == version


def test_only_an_admin_decides(stage: Stage) -> None:
    key = stage.product.new_key(stage.handbook.tenant, scopes=["search", "feedback", "write", "delegate"])
    with stage.product.client(key) as reader:
        assert reader.get("/v1/rollout").status_code == 403
        assert reader.post("/v1/rollback", json={}).status_code == 403


def test_under_ab_a_user_stays_on_one_side(stage: Stage) -> None:
    challenger = stage.variant(retrieval={"dense_weight": 2.0})
    version = stage.begin(challenger, "ab", 0.5)
    sides: dict[str, set[str]] = {}
    for _ in range(3):
        for number in range(24):
            answer = stage.handbook.search("leave", k=1, user=f"user-{number}")
            sides.setdefault(f"user-{number}", set()).add(answer["release"])
            assert answer["degraded"] == []
    assert {len(side) for side in sides.values()} == {1}
    assert set.union(*sides.values()) == {stage.stable, challenger}
    logged = stage.impression(answer["impression_id"])
    arm = "challenger" if answer["release"] == challenger else "stable"
    assert (logged.user, logged.arm, logged.rollout, logged.release) == ("user-23", arm, version, answer["release"])
    assert logged.identity == f"{logged.key_id}/user-23"
    assert len(logged.shown[0].features) == len(FEATURES)


def test_a_user_is_named_only_with_the_scope_for_it(stage: Stage) -> None:
    key = stage.product.new_key(stage.handbook.tenant, scopes=["search", "feedback"])
    with stage.product.client(key) as plain:
        shown = plain.post("/v1/search", json={"query": "leave"}).json()
        for path, body in (
            ("/v1/search", {"query": "leave"}),
            ("/v1/answer", {"question": "leave?"}),
            ("/v1/feedback", {"impression_id": shown["impression_id"], "kind": "thumb", "value": 1}),
        ):
            reply = plain.post(path, json={**body, "user": "u"})
            assert (reply.status_code, "delegate" in reply.json()["advice"]) == (403, True)
    body = {"impression_id": shown["impression_id"], "kind": "thumb", "value": 1, "user": "u"}
    assert stage.handbook.client.post("/v1/feedback", json=body).status_code == 200
    assert stage.handbook.client.post("/v1/feedback", json={**body, "user": "a\nb"}).status_code == 422
    ledger = stage.product.parts.ledger
    (judgement,) = ledger.feedback.of_impression(stage.handbook.tenant, shown["impression_id"])
    assert judgement.identity.endswith("/u")


def test_a_shadow_is_logged_and_never_shown(stage: Stage) -> None:
    challenger = stage.variant(retrieval={"dense_weight": 0.0, "depth": 100})
    version = stage.begin(challenger, "shadow", 1.0)
    shown = stage.handbook.search("rotating spindle", user="u")
    assert shown["release"] == stage.stable
    unseen = eventually(lambda: find(stage, f"{shown['impression_id']}-shadow"), 20, "the challenger answered as well")
    assert (unseen.release, unseen.arm, unseen.rollout, unseen.user) == (challenger, "shadow", version, "u")
    assert (unseen.query, len(unseen.shown)) == ("rotating spindle", len(shown["hits"]))
    body = {"impression_id": unseen.id, "kind": "thumb", "value": 1}
    assert stage.handbook.client.post("/v1/feedback", json=body).status_code == 404
    asked = stage.handbook.client.post("/v1/answer", json={"question": "What is worn at the lathe?"}).json()
    unseen = eventually(lambda: find(stage, f"{asked['impression_id']}-shadow"), 30, "and to the question")
    assert (unseen.kind, unseen.answer) == ("answer", None)  # it shares the generator, which is left to the users


def find(stage: Stage, name: str) -> Impression | None:
    return next((i for _, i in stage.product.parts.ledger.impressions.after(0, 100_000) if i.id == name), None)


def test_interleaved_hits_name_their_release_and_team(stage: Stage) -> None:
    challenger = stage.variant(retrieval={"dense_weight": 1.0, "lexical_weight": 0.0})
    version = stage.begin(challenger, "interleave", 1.0)
    for unit in ("chunk", "document"):
        shown = stage.handbook.search("paid rotating leave of the head", unit=unit, explain=True)
        assert (shown["release"], shown["challenger"], shown["degraded"]) == (stage.stable, challenger, [])
        assert {hit["release"] for hit in shown["hits"]} <= {stage.stable, challenger}
        assert set(shown["fingerprints"]) == {stage.stable, challenger}
        logged = stage.impression(shown["impression_id"])
        assert (logged.arm, logged.challenger, logged.rollout) == ("interleaved", challenger, version)
        assert [chunk.chunk_id for chunk in logged.shown] == [hit["chunk_id"] for hit in shown["hits"]]
        assert len({hit["chunk_id"] for hit in shown["hits"]}) == len(shown["hits"])
        theirs = {"stable": stage.stable, "challenger": challenger}
        for chunk, hit in zip(logged.shown, shown["hits"], strict=True):
            assert chunk.team == "" or theirs[chunk.team] == hit["release"]
    answer = stage.handbook.client.post("/v1/answer", json={"question": "Who pays for train tickets?"}).json()
    assert (answer["release"], answer["challenger"]) == (stage.stable, None)  # answers are of one release


@pytest.mark.parametrize(
    "part",
    [
        {"embedder": {"artifact": "models/none", "fingerprint": "0" * 64}},
        {"ranker": {"kind": "linear", "features": ["another"], "weights": [1.0], "depth": 10}},
    ],
    ids=["a missing model", "a ranker of other features"],
)
def test_a_challenger_that_cannot_be_opened_takes_no_part_and_harms_nobody(
    stage: Stage, part: dict[str, dict[str, Any]]
) -> None:
    broken = stage.variant(**part)
    ledger = stage.product.parts.ledger  # over HTTP, a release without its models is refused
    begun = rollout.begin(ledger.rollout.state(), broken, "ab", 1.0)
    ledger.rollout.change(begun, by="test", kind="begin", reason="The model was lost a moment later.")
    eventually(lambda: "cannot be opened" in stage.show()["standing"][broken], 30, "it says what is wrong")
    shown = eventually(lambda: _under(stage, 0), 10, "both replicas have seen the challenger")
    assert (shown["release"], shown["degraded"]) == (stage.stable, [])
    assert stage.admin.get("/readyz").status_code == 200
    assert stage.stable in stage.show()["standing"]


def test_a_challenger_without_its_models_is_refused_and_nothing_changes(stage: Stage) -> None:
    lacking = stage.variant(embedder={"artifact": "models/none", "fingerprint": "0" * 64})
    before = stage.show()
    body = {"action": "begin", "version": before["version"], "challenger": lacking, "mode": "ab", "weight": 1.0}
    for refused in (stage.post("/v1/rollout", **body), stage.post(f"/v1/releases/{lacking}:promote")):
        assert (refused.status_code, "models/none" in refused.json()["detail"]) == (409, True)
    assert stage.show()["version"] == before["version"]


def _under(stage: Stage, version: int) -> dict[str, Any] | None:
    """A search whose impression says that it was made under this version of the rollout."""
    shown: dict[str, Any] = stage.handbook.search("leave")
    return shown if stage.impression(shown["impression_id"]).rollout == version else None


@pytest.mark.slow
def test_a_new_index_is_built_beside_the_old_one_and_lacks_nothing(stage: Stage) -> None:
    """Another chunking: every write of the swap must be in both indices; then the challenger hangs, and is not felt."""
    other = stage.variant(index={"chunking": {"max_tokens": 64, "overlap_tokens": 8}})
    own = stage.product.parts.ledger.releases.get(other).parts["index"]["fingerprint"][:12]
    version = stage.show()["version"]
    body = {"action": "begin", "version": version, "challenger": other, "mode": "ab", "weight": 1.0}
    stage.post("/v1/rollout", **body).raise_for_status()
    client, written = stage.handbook.client, {document["id"] for document in HANDBOOK if "groups" not in document}
    releases = set()
    number = 0
    while other not in releases or number < 12:
        name = f"swap-{number}"
        reply = client.put(f"/v1/documents/{name}?wait_for=searchable", json={"text": f"The heron number {number}."})
        assert (reply.status_code, reply.json()["searchable"]) == (200, True)
        written.add(name)
        if number % 3 == 2:
            client.delete(f"/v1/documents/swap-{number - 1}?wait_for=searchable").raise_for_status()
            written.remove(f"swap-{number - 1}")
        shown = client.post("/v1/search", json={"query": f"heron number {number}", "mode": "lexical", "k": 50}).json()
        assert name in {hit["document_id"] for hit in shown["hits"]}, "what is searchable is found at once"
        releases.add(shown["release"])
        number += 1
        assert stage.admin.get("/readyz").status_code == 200  # a challenger that loads makes nobody unready
    stage.under(version + 1)
    everything = {"query": "the heron office pump lathe train", "mode": "lexical", "k": 200, "unit": "document"}
    shown = stage.handbook.search(**everything)
    assert (shown["release"], {hit["document_id"] for hit in shown["hits"]}) == (other, written)

    pids = [s["pid"] for name, s in stage.product.shards().items() if own in name]
    assert len(pids) == 2
    psutil.Process(pids[0]).send_signal(signal.SIGSTOP)
    shown = stage.handbook.search("leave", timeout_seconds=4)
    assert (shown["release"], shown["coverage"]) == (stage.stable, 1)
    assert shown["degraded"] == ["challenger-unavailable"]
    logged = stage.impression(shown["impression_id"])
    assert (logged.arm, logged.release, logged.challenger) == ("stable", stage.stable, other)
    assert stage.admin.get("/readyz").status_code == 200
    for name in written - {document["id"] for document in HANDBOOK}:
        client.delete(f"/v1/documents/{name}").raise_for_status()
    psutil.Process(pids[0]).send_signal(signal.SIGCONT)


@pytest.mark.parametrize("ask", ["search", "answer"])
def test_every_stage_says_who_it_was(stage: Stage, ask: str) -> None:
    requests: dict[str, Callable[[], httpx.Response]] = {
        "search": lambda: stage.handbook.client.post("/v1/search", json={"query": "leave", "explain": True}),
        "answer": lambda: stage.handbook.client.post(
            "/v1/answer", json={"question": "How many days of paid leave are there?", "explain": True}
        ),
    }
    answer = requests[ask]().raise_for_status().json()
    parts = stage.product.parts.ledger.releases.get(stage.stable).parts
    told = answer["fingerprints"][stage.stable]
    assert told["query_encoder"] == parts["embedder"]["fingerprint"][:12]
    for stage_name in ("index", "retrieval", *(("prompt", "generator") if ask == "answer" else ())):
        assert told[stage_name] == parts[stage_name]["fingerprint"][:12]
