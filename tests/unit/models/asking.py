"""Asking a generator, for its tests."""

from __future__ import annotations

import time

from kaizen.config import GeneratorSettings
from kaizen.models.generator import Generator, Message, open_generator

KEY = "a-secret-key"
HELLO: list[Message] = [{"role": "user", "content": "Say hello."}]


def within(seconds: float) -> float:
    """The deadline so many seconds from now."""
    return time.monotonic() + seconds


def written(generator: Generator, prompt: list[Message], max_tokens: int = 8) -> str:
    """What it answers."""
    return "".join(generator.stream(prompt, max_tokens=max_tokens, deadline=within(60)))


def at(url: str, key: str = KEY) -> Generator:
    """The generator behind an endpoint."""
    settings = GeneratorSettings(kind="openai", model="smollm2", endpoint_url=url, api_key_env="GENERATOR_KEY")
    return open_generator(settings, {"GENERATOR_KEY": key})
