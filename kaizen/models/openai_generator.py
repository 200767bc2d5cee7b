"""A model behind an endpoint that speaks OpenAI's chat completions protocol (vLLM, llama.cpp's server, and others)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from kaizen.config import GeneratorSettings
from kaizen.errors import BadModel, ConfigError, InvalidInput, KaizenError, Overloaded, Unavailable
from kaizen.models.chat import Message, Wanted, always
from kaizen.models.pump import Emit, pump

_CONNECT_SECONDS = 5.0
_DATA = "data:"
_DONE = "[DONE]"


class OpenAIGenerator:
    """Greedy text from an endpoint, streamed. Safe to call from many threads.

    The key is read from the environment once, is sent as a bearer token, and appears in no record, error or log.
    """

    def __init__(self, settings: GeneratorSettings, record: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.record = record
        self._model = settings.model
        self._url = f"{settings.endpoint_url.rstrip('/')}/chat/completions"
        self._client = httpx.Client(headers=_authorisation(settings.api_key_env, environment), follow_redirects=False)

    def stream(
        self, prompt: Sequence[Message], *, max_tokens: int, deadline: float, wanted: Wanted = always
    ) -> Iterator[str]:
        """Yield pieces of text as they are made; see `chat.Generator.stream`."""
        if self._client.is_closed:
            raise Unavailable("The generator has been closed.", advice="Open it again.")
        request = {
            "model": self._model, "messages": list(prompt), "max_tokens": max_tokens, "temperature": 0, "seed": 0,
            "stream": True,
        }  # fmt: skip
        return pump(lambda emit: self._produce(request, deadline, emit), deadline=deadline, wanted=wanted)

    def _produce(self, request: Mapping[str, Any], deadline: float, emit: Emit) -> None:
        seconds = max(0.001, deadline - time.monotonic())
        timeout = httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))
        try:
            with self._client.stream("POST", self._url, json=request, timeout=timeout) as response:
                if response.status_code != httpx.codes.OK:
                    raise _refusal(response.status_code)
                _read(response.iter_lines(), emit)
        except httpx.HTTPError as error:
            kind = type(error).__name__
            raise Unavailable(f"The generator's endpoint does not answer ({kind}).",
                              advice="Check generator.endpoint_url and that it runs.") from error  # fmt: skip

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._client.close()


def _authorisation(variable: str, environment: Mapping[str, str]) -> dict[str, str]:
    if not variable:
        return {}
    key = environment.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        # Otherwise the HTTP client raises an error that shows the key.
        raise ConfigError(f"The variable {variable} (generator.api_key_env) holds no key that a header can carry.",
                          advice="Set it to printable ASCII without blanks.")  # fmt: skip
    if not key:
        raise ConfigError(f"The variable {variable} (generator.api_key_env) is not set.", advice="Set it to the key.")
    return {"Authorization": f"Bearer {key}"}


def _read(lines: Iterator[str], emit: Emit) -> None:
    """Hand over the text of a stream of server-sent events; one that breaks off before its end is an error."""
    for line in lines:
        if not line.startswith(_DATA):
            if not emit(""):  # comments that keep the connection alive must not keep the producer
                return
            continue
        data = line.removeprefix(_DATA).strip()
        if data == _DONE:
            return
        if not emit(_piece(data)):
            return
    raise Unavailable("The generator's endpoint broke off.", advice="Try again; look at the endpoint's log.")


def _piece(data: str) -> str:
    try:
        event = json.loads(data)
        failed = "error" in event
        choices = event.get("choices") or [{}]
        piece = choices[0].get("delta", {}).get("content") or ""
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise Unavailable("The generator's endpoint sent what is no chat completion.",
                          advice="Check that generator.endpoint_url ends in /v1.") from error  # fmt: skip
    if failed:
        raise Unavailable("The generator's endpoint reported an error.", advice="Look at the endpoint's log.")
    return str(piece)


def _refusal(status: int) -> KaizenError:
    """The error that a status means. The body is not quoted: it may hold the prompt."""
    said = f"The generator's endpoint answered {status}."
    if status in (401, 403):
        return ConfigError(said, advice="Check the key in the variable that generator.api_key_env names.")
    if status == 404:
        return BadModel(said, advice="Check generator.endpoint_url and generator.model.")
    if status == 429:
        return Overloaded(said, advice="Try again later, or raise the endpoint's limit.")
    if status in (400, 413, 422):
        return InvalidInput(said, advice="Lower answering.chunks or generator.max_tokens.")
    return Unavailable(said, advice="Look at the endpoint's log.")
