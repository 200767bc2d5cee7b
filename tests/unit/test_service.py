"""What a gateway tells of itself: no secrets, and whether it had better be replaced."""

from __future__ import annotations

import pytest

from kaizen.config import GeneratorSettings
from kaizen.errors import Corrupt, KaizenError, WriterStopped
from kaizen.models.generator_spec import generator_record
from kaizen.records import Release
from serve_apps import replacement
from serve_apps.replacement import Replacement
from serve_apps.service import readiness_of, release_reply


@pytest.mark.parametrize("url", ["https://svc:hunter2@llm.internal/v1", "https://llm.internal/v1?api_key=hunter2"])
def test_a_release_shows_where_its_generator_is_and_no_password(url: str) -> None:
    part = generator_record(GeneratorSettings(kind="openai", model="m", endpoint_url=url))
    made = Release(id="r1", number=1, at=0, fingerprint="f", parts={"generator": part}, parent=None)
    told = release_reply(made).model_dump_json()
    assert "hunter2" not in told
    assert "llm.internal/v1" in told


def test_a_replica_whose_writer_has_stopped_is_replaced_but_not_all_in_one_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    stopped: KaizenError | None = None
    monkeypatch.setattr(replacement.random, "uniform", lambda _, most: most)
    one = Replacement(lambda: stopped, clock=lambda: now)
    one.check()
    stopped = Corrupt("The database is damaged.", advice="Restore it.")
    one.check()
    stopped = WriterStopped("A sync failed.", advice="Check the disk.")
    one.check()
    now += replacement.APART_SECONDS - 1
    one.check()
    now += 1
    for _ in range(3):
        with pytest.raises(WriterStopped):
            one.check()


def test_readiness_tells_what_does_not_serve() -> None:
    states = {"shard-0": "serving", "embedder": "serving"}
    assert readiness_of(True, states, None) == {"ready": True, "release": True, "waiting_for": []}
    assert not readiness_of(False, states, None)["ready"]
    assert not readiness_of(True, {}, None)["ready"]
    assert readiness_of(True, states | {"shard-0": "loading"}, None)["waiting_for"] == ["shard-0"]
    stopped = readiness_of(True, states, WriterStopped("A sync failed.", advice="Check the disk."))
    assert stopped == {"ready": False, "release": True, "waiting_for": ["the ledger (writer-stopped)"]}
