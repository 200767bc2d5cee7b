"""The generator as the rest of Kaizen sees it, and the one place that decides which implementation opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict

from kaizen.config import GeneratorSettings
from kaizen.errors import ConfigError
from kaizen.models.generator_spec import generator_record
from kaizen.models.location import Find, locate


class Message(TypedDict):
    """One turn of a chat: role `system`, `user` or `assistant`."""

    role: str
    content: str


class Generator(Protocol):
    """Writes text after a chat. Greedy: the same prompt gives the same text."""

    record: Mapping[str, Any]

    def stream(self, prompt: Sequence[Message], *, max_tokens: int, deadline: float) -> Iterator[str]:
        """Yield pieces of text as they are made. Closing the iterator stops the work.

        Args:
            max_tokens: most tokens to write.
            deadline: `time.monotonic()` seconds by which it must have ended.

        Raises:
            DeadlineExceeded: the deadline came first; what was yielded before stands.
            Unavailable: the model or its endpoint does not answer.
            PermanentError: it refuses this prompt, or is set up wrongly.
        """
        ...

    def close(self) -> None:
        """Release the model. Idempotent."""
        ...


def open_generator(settings: GeneratorSettings, environment: Mapping[str, str], find: Find = locate) -> Generator:
    """Open the generator that `settings` names.

    Args:
        environment: where the endpoint's key is looked up under the name `settings.api_key_env`.
        find: looks up `settings.model`; what learning made is found by `Workspace.model_path` only.

    Raises:
        BadModel: the model is missing, unsafe or cannot be read.
        ConfigError: kind `extractive` has no generator; or an endpoint or its key is missing.
    """
    record = generator_record(settings, find)
    if settings.kind == "llama_cpp":
        from kaizen.models.llama_cpp_generator import LlamaCppGenerator

        return LlamaCppGenerator(settings, record, find(settings.model))
    if settings.kind == "transformers":
        from kaizen.models.transformers_generator import TransformersGenerator

        return TransformersGenerator(settings, record, find(settings.model))
    if settings.kind == "openai":
        from kaizen.models.openai_generator import OpenAIGenerator

        return OpenAIGenerator(settings, record, environment)
    raise ConfigError(
        "generator.kind is extractive: there is no model to open.", advice="Ask for an extractive answer."
    )
