"""What a generator is, as a release records it."""

from __future__ import annotations

from typing import Any

from kaizen.config import GeneratorSettings
from kaizen.errors import ConfigError
from kaizen.ids import fingerprint
from kaizen.models.location import Find, fingerprint_of, locate


def generator_record(settings: GeneratorSettings, find: Find = locate) -> dict[str, Any]:
    """Return the JSON object that a release keeps under `generator`: what decides the answers, and its fingerprint.

    The files of a local model, looked up with `find`, are hashed. What is behind an endpoint cannot be: its URL and
    model name stand for it.

    Raises:
        BadModel: the model is missing or unsafe.
        ConfigError: an endpoint is needed and none is named.
    """
    record: dict[str, Any] = {"kind": settings.kind}
    if settings.kind == "openai":
        if not settings.endpoint_url.startswith(("http://", "https://")):
            raise ConfigError("generator.endpoint_url is no http(s) URL.", advice="Name it up to and with /v1.")
        record |= {"model": settings.model, "endpoint_url": settings.endpoint_url.rstrip("/")}
    elif settings.kind != "extractive":
        record |= {"model": settings.model, "files": fingerprint_of(find(settings.model))}
    if settings.kind != "extractive":
        record |= {"max_tokens": settings.max_tokens, "context_tokens": settings.context_tokens}
    return {**record, "fingerprint": fingerprint(record)}
