"""Bulk embedding: the fused path against transformers, and vectors that are none."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from kaizen.config import EmbedderSettings
from kaizen.errors import BadModel, ConfigError
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import read_spec
from kaizen.models.encoder import load_encoder, pool
from kaizen.models.fused_bert import FusedBert, can_fuse
from kaizen.models.onnx_sample import SAMPLE
from kaizen.models.tokens import EmbedderTokenizer
from kaizen.models.torch_embedder import TorchEmbedder
from kaizen.models.vectors import Vectors
from tests.unit.models.conftest import BertMaker

CPU = EmbedderSettings(device="cpu", bulk_threads=1, batch_tokens=512)


def plain_vectors(directory: Path, texts: tuple[str, ...]) -> Vectors:
    """What transformers gives in float32, one text at a time."""
    spec = read_spec(str(directory))
    encoder = load_encoder(directory)
    tokens = EmbedderTokenizer(directory, max_tokens=spec.max_tokens).encode(texts)
    with torch.inference_mode():
        rows = [torch.tensor([t]) for t in tokens]
        pooled = [pool(encoder(input_ids=r).last_hidden_state, torch.ones_like(r), spec.pooling) for r in rows]
    return torch.cat(pooled).numpy()


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_close_to_plain_transformers(make_bert: BertMaker, pooling: str) -> None:
    directory = make_bert(pooling=pooling)
    got = open_embedder(read_spec(str(directory)), CPU, "bulk").embed(SAMPLE)
    assert got.dtype == np.float32
    assert (got * plain_vectors(directory, SAMPLE)).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_the_fused_path_is_exact_in_float32(bert: Path) -> None:
    encoder = load_encoder(bert)
    assert can_fuse(encoder)
    ids = torch.randint(1000, 2000, (3, 24))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    with torch.inference_mode():
        wanted = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        got = FusedBert(encoder, torch.float32)(ids, mask)
    torch.testing.assert_close(got[mask == 1], wanted[mask == 1], atol=2e-5, rtol=1e-4)


def test_an_unknown_activation_takes_the_plain_path(make_bert: BertMaker) -> None:
    directory = make_bert(pooling="mean_tokens", hidden_act="relu")
    assert not can_fuse(load_encoder(directory))
    got = open_embedder(read_spec(str(directory)), CPU, "bulk").embed(SAMPLE[:12])
    assert (got * plain_vectors(directory, SAMPLE[:12])).sum(axis=1).min() > 0.999


def test_calls_side_by_side_give_what_one_gives(bert: Path) -> None:
    embedder = open_embedder(read_spec(str(bert)), CPU.model_copy(update={"bulk_threads": 3}), "bulk")
    texts = [text[: 5 + 7 * number] for number, text in enumerate(SAMPLE * 3)]
    alone = embedder.embed(texts)
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(embedder.embed, [texts] * 4))
    for vectors in together:
        np.testing.assert_array_equal(vectors, alone)


def test_no_texts_give_no_vectors(bert: Path) -> None:
    assert open_embedder(read_spec(str(bert)), CPU, "bulk").embed([]).shape == (0, 64)


def test_the_role_decides_the_prompt(bert: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(bert, tmp_path / "bert"))
    (directory / "config_sentence_transformers.json").write_text('{"prompts": {"document": "passage: "}}')
    prompted = open_embedder(read_spec(str(directory)), CPU, "bulk").embed(["bread and butter"])
    bare = open_embedder(read_spec(str(bert)), CPU, "bulk").embed(["passage: bread and butter"])
    np.testing.assert_array_equal(prompted, bare)


def test_nan_is_refused_and_reported(make_bert: BertMaker) -> None:
    embedder = open_embedder(read_spec(str(make_bert(pooling="mean_tokens", spoil=True))), CPU, "bulk")
    vectors, bad = embedder.embed_checked(["one", "two"])
    assert (vectors.shape, bad) == ((2, 64), (0, 1))
    with pytest.raises(BadModel, match="2 of 2"):
        embedder.embed(["one", "two"])


def test_a_lone_surrogate_is_text_like_any_other(bert: Path) -> None:
    assert open_embedder(read_spec(str(bert)), CPU, "bulk").embed(["half a \ud83d pair"]).shape == (1, 64)


def test_control_tokens_in_a_text_are_text(bert: Path) -> None:
    tokenizer = EmbedderTokenizer(bert, max_tokens=60)
    separator = tokenizer.encode([""])[0][-1]
    assert tokenizer.encode(["a [SEP] b"])[0].count(separator) == 1


def test_files_changed_since_the_release_are_refused(bert: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(bert, tmp_path / "bert"))
    spec = read_spec(str(directory))
    with (directory / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(BadModel, match="not those of this release"):
        open_embedder(spec, CPU, "bulk")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_a_clear_error(bert: Path) -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        TorchEmbedder(read_spec(str(bert)), bert, EmbedderSettings(device="cuda"))
