"""Generators against what they stand for: transformers' own `generate`, and llama.cpp's own server over HTTP."""

from __future__ import annotations

import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import torch
import xllamacpp
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from kaizen.config import GeneratorSettings
from kaizen.errors import BadModel, ConfigError, DeadlineExceeded, InvalidInput, KaizenError, Unavailable
from kaizen.models.generator import Generator, Message, open_generator
from kaizen.models.generator_spec import generator_record
from kaizen.models.llama_cpp_generator import LlamaCppGenerator
from kaizen.models.location import locate

KEY = "a-secret-key"
HELLO: list[Message] = [{"role": "user", "content": "Say hello."}]
STORY: list[Message] = [{"role": "user", "content": "Tell a long story about the sea."}]


def within(seconds: float) -> float:
    return time.monotonic() + seconds


def written(generator: Generator, prompt: list[Message], max_tokens: int = 8) -> str:
    return "".join(generator.stream(prompt, max_tokens=max_tokens, deadline=within(60)))


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
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer Llama with random weights and a tokenizer of letters."""
    directory = tmp_path_factory.mktemp("llama")
    letters = {chr(97 + i): i for i in range(26)} | {"?": 26, "</s>": 27}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="?"))  # noqa: S106 (a token of text)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="?")  # noqa: S106
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=28, eos_token_id=27, bos_token_id=None, **shape)).save_pretrained(directory)
    return directory


def at(url: str, key: str = KEY) -> Generator:
    settings = GeneratorSettings(kind="openai", model="smollm2", endpoint_url=url, api_key_env="GENERATOR_KEY")
    return open_generator(settings, {"GENERATOR_KEY": key})


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


def test_transformers_writes_what_generate_would(tiny: Path) -> None:
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
