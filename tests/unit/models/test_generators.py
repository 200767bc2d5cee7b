"""Generators against what they stand for: transformers' own `generate`, and endpoints that answer badly."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import torch

from kaizen.config import GeneratorSettings
from kaizen.errors import BadModel, ConfigError, DeadlineExceeded, InvalidInput, KaizenError, Unavailable
from kaizen.models.generator import open_generator
from kaizen.models.generator_spec import generator_record
from kaizen.models.transformers_generator import TransformersGenerator
from tests.unit.models.asking import HELLO, at, within, written
from tests.unit.models.tiny_llama import write_tiny_llama


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


def test_transformers_writes_what_generate_would(tiny: Path) -> None:
    from transformers import LlamaForCausalLM

    generator = open_generator(GeneratorSettings(kind="transformers", model=str(tiny), threads=1), {})
    ids = torch.tensor([[ord(letter) - 97 for letter in "hello"]])
    dtype = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    model = LlamaForCausalLM.from_pretrained(tiny, dtype=dtype)
    wanted = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=26
    )
    letters = [chr(97 + int(i)) for i in wanted[0, 5:] if i < 26]
    assert written(generator, [{"role": "user", "content": "hello"}], 6).split() == letters


def test_transformers_refuses_a_prompt_that_does_not_fit(tiny: Path) -> None:
    generator = open_generator(GeneratorSettings(kind="transformers", model=str(tiny), context_tokens=256), {})
    with pytest.raises(InvalidInput, match="300 tokens"):
        written(generator, [{"role": "user", "content": "a" * 300}])


def test_transformers_ends_at_the_deadline(tiny: Path) -> None:
    generator = open_generator(GeneratorSettings(kind="transformers", model=str(tiny)), {})
    with pytest.raises(DeadlineExceeded):
        list(generator.stream(HELLO, max_tokens=8, deadline=within(-1)))


def test_transformers_reads_no_prompt_that_nobody_waits_for(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = open_generator(GeneratorSettings(kind="transformers", model=str(tiny), threads=1), {})
    assert isinstance(generator, TransformersGenerator)
    read: list[object] = []
    monkeypatch.setattr(generator, "_model", lambda **asked: read.append(asked))

    def asked(*wanted: bool) -> list[str]:
        answers = iter(wanted)
        return list(generator.stream(HELLO, max_tokens=8, deadline=within(60), wanted=lambda: next(answers)))

    with generator._turn:  # another's
        assert asked(True, False) == []
    assert asked(True, False) == []
    assert read == []


def test_transformers_refuses_a_model_without_chat(tiny: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny, tmp_path / "llama"))
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(BadModel, match="chat template"):
        open_generator(GeneratorSettings(kind="transformers", model=str(directory)), {})


class _Broken(BaseHTTPRequestHandler):
    """Answers as the first part of its path says, and badly."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.split("/")[1]
        status = int(kind) if len(kind) == 3 and kind.isdigit() else 200
        self.send_response(status)
        self.end_headers()
        if status != 200:
            return
        self.wfile.write(b'data: {"choices": [{"delta": {"content": "half "}}]}\n\n')
        self.wfile.write(f"data: {unquote(kind)}\n\n".encode() if kind not in ("off", "hangs") else b"")
        self.wfile.flush()
        if kind == "hangs":
            self.server.released.wait(30)  # type: ignore[attr-defined]

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def broken() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Broken)
    server.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("kind", "code"),
    [("401", "bad-config"), ("404", "bad-model"), ("429", "overloaded"), ("422", "invalid-input"),
     ("500", "unavailable"), ("307", "unavailable"), ("off", "unavailable"), ("<html>", "unavailable"),
     ("5", "unavailable"), ("null", "unavailable"), ("[]", "unavailable"), ('{"choices": 3}', "unavailable"),
     ('{"choices": [7]}', "unavailable"), ('{"error": {"message": "out of memory"}}', "unavailable")],
)  # fmt: skip
def test_a_broken_endpoint_is_a_clear_error(broken: str, kind: str, code: str) -> None:
    with pytest.raises(KaizenError) as raised:
        written(at(f"{broken}/{quote(kind)}"), HELLO)
    assert raised.value.code == code


def test_an_endpoint_that_hangs_gives_what_it_gave(broken: str) -> None:
    begun = time.monotonic()
    pieces = at(f"{broken}/hangs").stream(HELLO, max_tokens=8, deadline=within(2))
    assert next(pieces) == "half "
    with pytest.raises(DeadlineExceeded):
        next(pieces)
    assert time.monotonic() - begun < 10


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="ConnectError"):
        written(at("http://127.0.0.1:9/v1"), HELLO)


def test_a_missing_key_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="GENERATOR_KEY"):
        at("http://127.0.0.1:9/v1", key="")


def test_the_record_names_what_decides_the_text() -> None:
    one = generator_record(GeneratorSettings())
    assert one == generator_record(GeneratorSettings(threads=1))
    assert one["fingerprint"] != generator_record(GeneratorSettings(max_tokens=7))["fingerprint"]


def test_an_extractive_record_has_no_model() -> None:
    assert set(generator_record(GeneratorSettings(kind="extractive"))) == {"kind", "fingerprint"}
    with pytest.raises(ConfigError, match="no model to open"):
        open_generator(GeneratorSettings(kind="extractive"), {})


def test_an_endpoint_must_be_a_url() -> None:
    with pytest.raises(ConfigError, match="URL"):
        generator_record(GeneratorSettings(kind="openai", endpoint_url="file:///etc/passwd"))


@pytest.mark.parametrize("key", ["schl\u00fcssel", "two words", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    settings = GeneratorSettings(kind="openai", model="m", endpoint_url="http://127.0.0.1:9/v1", api_key_env="THE_KEY")
    with pytest.raises(ConfigError, match="THE_KEY") as refused:
        open_generator(settings, {"THE_KEY": key})
    assert key not in str(refused.value)
