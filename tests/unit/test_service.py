"""What a gateway tells of itself holds no secrets."""

from __future__ import annotations

import pytest

from kaizen.config import GeneratorSettings
from kaizen.models.generator_spec import generator_record
from kaizen.records import Release
from serve_apps.service import release_reply


@pytest.mark.parametrize("url", ["https://svc:hunter2@llm.internal/v1", "https://llm.internal/v1?api_key=hunter2"])
def test_a_release_shows_where_its_generator_is_and_no_password(url: str) -> None:
    part = generator_record(GeneratorSettings(kind="openai", model="m", endpoint_url=url))
    made = Release(id="r1", number=1, at=0, fingerprint="f", parts={"generator": part}, parent=None)
    told = release_reply(made).model_dump_json()
    assert "hunter2" not in told
    assert "llm.internal/v1" in told
