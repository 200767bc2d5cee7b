"""A GGUF model run in this process by llama.cpp."""

from __future__ import annotations

import ctypes
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xllamacpp

from kaizen.config import GeneratorSettings
from kaizen.errors import BadModel, Unavailable
from kaizen.models.chat import Message, Wanted, always
from kaizen.models.pump import Emit, pump

_BATCH_TOKENS = 256  # the prompt is read in such pieces, and between two of them a request can be given up
_QUIET = -1


class LlamaCppGenerator:
    """Greedy text from one GGUF file. Safe to call from many threads; requests run one after the other.

    The beginning of a prompt that equals the previous prompt's is not read again, so fixed instructions go first.
    """

    def __init__(self, settings: GeneratorSettings, record: Mapping[str, Any], file: Path) -> None:
        self.record = record
        self._turn = threading.Lock()
        self._closed = False
        try:
            self._server = xllamacpp.Server(_parameters(settings, file))
        except RuntimeError as error:
            raise BadModel(f"llama.cpp cannot open {settings.model!r}.", advice="Use a GGUF chat model.") from error
        # One more reference, which nobody gives back: the server's own end hangs now and then (about every other time
        # on a busy machine), and whoever lets go of the last reference hangs with it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))

    def stream(
        self, prompt: Sequence[Message], *, max_tokens: int, deadline: float, wanted: Wanted = always
    ) -> Iterator[str]:
        """Yield pieces of text as they are made; see `chat.Generator.stream`."""
        server = self._server
        if self._closed:
            raise Unavailable("The generator has been closed.", advice="Open it again.")
        request = {
            "messages": list(prompt), "max_tokens": max_tokens, "temperature": 0, "seed": 0, "stream": True,
            "cache_prompt": True, "return_progress": True,
        }  # fmt: skip
        return pump(lambda emit: self._produce(server, request, emit), deadline=deadline, wanted=wanted)

    def _produce(self, server: xllamacpp.Server, request: dict[str, Any], emit: Emit) -> None:
        failures: list[str] = []

        def receive(chunk: dict[str, Any]) -> bool:
            if "error" in chunk or "code" in chunk:
                failures.append(str(chunk.get("code", "")))
            choices = chunk.get("choices") or [{}]
            piece = choices[0].get("delta", {}).get("content") or ""
            return not emit(piece)  # True ends the request

        with self._turn:
            if emit(""):
                server.handle_chat_completions(request, receive)
        if failures:
            raise Unavailable("The generator refused the prompt.", advice="Lower answering.chunks, or raise "
                              "generator.context_tokens.")  # fmt: skip

    @property
    def address(self) -> str:
        """Where llama.cpp's own HTTP server listens; only this process knows its key."""
        return str(self._server.listening_address)

    def close(self) -> None:
        """Take no more requests. Idempotent. The memory goes with the process."""
        with self._turn:
            self._closed = True


def _parameters(settings: GeneratorSettings, file: Path) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = settings.context_tokens + settings.max_tokens
    parameters.n_batch = parameters.n_ubatch = _BATCH_TOKENS
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = settings.threads
    parameters.verbosity = _QUIET
    parameters.warmup = False
    parameters.cache_ram_mib = 0  # by default up to 8 GB of what former prompts came to: no question asks for it again
    # llama.cpp opens a loopback port of its own, which nobody needs: a random key keeps everybody out.
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.endpoint_slots = parameters.endpoint_props = parameters.ui = False
    return parameters
