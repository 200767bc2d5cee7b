"""The one place that decides which implementation opens a generator."""

from __future__ import annotations

from collections.abc import Mapping

from kaizen.config import GeneratorSettings
from kaizen.errors import ConfigError
from kaizen.models.chat import Generator, Message
from kaizen.models.generator_spec import generator_record
from kaizen.models.location import Find, locate

__all__ = ["Generator", "Message", "open_generator"]


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
