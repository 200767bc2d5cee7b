"""llama.cpp: its generator, and its own server as an endpoint. `test_models` runs this in a process of its own.

llama.cpp's server has hung at its end, and then whatever was in the same process hung with it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import xllamacpp

from kaizen.config import GeneratorSettings
from kaizen.errors import BadModel, ConfigError, DeadlineExceeded, Unavailable
from kaizen.models.generator import Message, open_generator
from kaizen.models.llama_cpp_generator import LlamaCppGenerator
from kaizen.models.location import locate
from tests.unit.models.asking import HELLO, KEY, at, within, written

KEPT: list[xllamacpp.Server] = []  # to the end of the process, since their own end can hang
STORY: list[Message] = [{"role": "user", "content": "Tell a long story about the sea."}]


@pytest.fixture(scope="module")
def llama() -> Iterator[LlamaCppGenerator]:
    generator = open_generator(GeneratorSettings(threads=1, context_tokens=512), {})
    assert isinstance(generator, LlamaCppGenerator)
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A real server that speaks the protocol and asks for a key."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(locate(GeneratorSettings().model))
    parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.verbosity = 512, 1, False, -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.port, parameters.api_keys = 0, [KEY]
    server = xllamacpp.Server(parameters)
    KEPT.append(server)
    yield f"{server.listening_address}/v1"


def test_llama_stops_when_nobody_reads_on(llama: LlamaCppGenerator) -> None:
    pieces = llama.stream(STORY, max_tokens=400, deadline=within(60))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    begun = time.monotonic()
    written(llama, HELLO, max_tokens=1)
    assert time.monotonic() - begun < 5


def test_llama_lets_nobody_in_through_its_port(llama: LlamaCppGenerator) -> None:
    with pytest.raises(ConfigError, match="401"):
        written(at(f"{llama.address}/v1", key="guess"), HELLO)


def test_an_endpoint_writes_what_the_same_model_writes_here(endpoint: str, llama: LlamaCppGenerator) -> None:
    assert written(at(endpoint), HELLO) == written(llama, HELLO) != ""


def test_an_endpoint_refuses_a_wrong_key_and_the_error_does_not_tell_it(endpoint: str) -> None:
    wrong = KEY[::-1]
    with pytest.raises(ConfigError, match="401") as raised:
        written(at(endpoint, key=wrong), HELLO)
    assert wrong not in "".join(traceback.format_exception(raised.value))


def test_an_endpoint_is_left_at_the_deadline(endpoint: str) -> None:
    with pytest.raises(DeadlineExceeded):
        list(at(endpoint).stream(STORY, max_tokens=400, deadline=within(0.3)))


def test_an_endpoint_without_such_a_path(endpoint: str) -> None:
    with pytest.raises(BadModel, match="404"):
        written(at(f"{endpoint}/nowhere"), HELLO)


def test_llama_repeats_itself(llama: LlamaCppGenerator) -> None:
    pieces = list(llama.stream(HELLO, max_tokens=8, deadline=within(60)))
    assert 1 < len(pieces) <= 8
    assert written(llama, HELLO) == "".join(pieces)


def test_llama_ends_at_the_deadline_and_works_on(llama: LlamaCppGenerator) -> None:
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        list(llama.stream(STORY, max_tokens=400, deadline=within(0.3)))
    assert time.monotonic() - begun < 5
    assert written(llama, HELLO) != ""


def test_llama_refuses_a_prompt_that_does_not_fit(llama: LlamaCppGenerator) -> None:
    with pytest.raises(Unavailable, match="refused the prompt"):
        written(llama, [{"role": "user", "content": "word " * 2000}])


def test_llama_closed_is_unavailable() -> None:
    generator = open_generator(GeneratorSettings(threads=1, context_tokens=256), {})
    generator.close()
    generator.close()
    with pytest.raises(Unavailable, match="closed"):
        written(generator, HELLO)


def test_llama_refuses_what_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF and then nothing")
    with pytest.raises(BadModel, match="cannot open"):
        open_generator(GeneratorSettings(model=str(tmp_path / "model.gguf")), {})
