"""What a gateway tells of itself: no secrets, and whether it had better be replaced."""

from __future__ import annotations

import pytest

from kaizen.config import GeneratorSettings
from kaizen.errors import Corrupt, KaizenError, WriterStopped
from kaizen.models.generator_spec import generator_record
from kaizen.records import Release
from serve_apps.replacement import APART_SECONDS, Replacement
from serve_apps.service import readiness_of, release_reply


@pytest.mark.parametrize("url", ["https://svc:hunter2@llm.internal/v1", "https://llm.internal/v1?api_key=hunter2"])
def test_a_release_shows_where_its_generator_is_and_no_password(url: str) -> None:
    part = generator_record(GeneratorSettings(kind="openai", model="m", endpoint_url=url))
    made = Release(id="r1", number=1, at=0, fingerprint="f", parts={"generator": part}, parent=None)
    told = release_reply(made).model_dump_json()
    assert "hunter2" not in told
    assert "llm.internal/v1" in told


STOPPED = WriterStopped("A sync failed.", advice="Check the disk.")


def due(replica: Replacement) -> bool:
    try:
        replica.check()
    except WriterStopped:
        return True
    return False


def test_replicas_whose_writers_have_stopped_are_replaced_one_after_the_other() -> None:
    now = 0.0
    stopped: KaizenError | None = None
    replicas = [Replacement(lambda: stopped, lambda rank=rank: rank, clock=lambda: now) for rank in range(3)]
    now = 1000.0
    assert not any(due(replica) for replica in replicas)
    stopped = Corrupt("The database is damaged.", advice="Restore it.")
    assert not any(due(replica) for replica in replicas)
    stopped = STOPPED
    for number in range(1, 4):
        for _ in range(3):
            assert [due(replica) for replica in replicas] == [True] * number + [False] * (3 - number)
        now += APART_SECONDS


def test_a_replica_that_has_just_replaced_another_searches_for_a_while_when_every_sync_fails() -> None:
    now = 0.0
    replica = Replacement(lambda: STOPPED, lambda: 0, clock=lambda: now)
    assert not due(replica)
    now = APART_SECONDS
    assert due(replica)


def test_readiness_tells_what_does_not_serve() -> None:
    states = {"shard-0": "serving", "embedder": "serving"}
    assert readiness_of(True, states, None) == {"ready": True, "release": True, "waiting_for": []}
    assert not readiness_of(False, states, None)["ready"]
    assert not readiness_of(True, {}, None)["ready"]
    assert readiness_of(True, states | {"shard-0": "loading"}, None)["waiting_for"] == ["shard-0"]
    stopped = readiness_of(True, states, WriterStopped("A sync failed.", advice="Check the disk."))
    assert stopped == {"ready": False, "release": True, "waiting_for": ["the ledger (writer-stopped)"]}
