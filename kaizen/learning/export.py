"""What learnt, as a release holds it, proven equal: an encoder as safetensors and ONNX, a generator as safetensors."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from kaizen.config import GeneratorSettings
from kaizen.errors import BadModel
from kaizen.models.chat_model import load_chat_model
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.generator_spec import generator_record
from kaizen.models.location import OBJECT, check_safe, fingerprint_of
from kaizen.models.onnx_export import export_onnx
from kaizen.models.onnx_sample import SAMPLE
from kaizen.storage.object_store import ObjectStore, holds

Kind = Literal["embedder", "query-encoder"]
TORCH = "torch"  # where in the artifact the sentence-transformers directory lies
_TEXTUAL = frozenset({".json", ".txt", ".model", ".jinja"})
_APART_NATS = 0.05
_SAMPLE_TOKENS = 256
_ADVICE = "Do not use it: lower the learning rate, or look at the data it learnt from."


def export_embedder(
    encoder: torch.nn.Module, base: EmbedderSpec, base_directory: Path, store: ObjectStore, kind: Kind
) -> dict[str, Any]:
    """Put a trained encoder into the object store and return its part of a release.

    The artifact `models/KIND-FINGERPRINT` holds model.onnx, tokenizer.json and record.json, as the default embedder's
    does, and in `torch/` the sentence-transformers directory that its `model` names. Equal weights give the same
    artifact, which is then not made again.

    Args:
        encoder: transformers' own, float32, on any device; of the layout of `base`.
        base: what it was before it learnt; tokenizer, pooling, prompts and limits stay.
        base_directory: the files of `base`.

    Returns:
        `EmbedderSpec.record()` and `artifact`.

    Raises:
        BadModel: a weight or a vector is NaN or infinite, a vector is zero, ONNX and safetensors disagree (a cosine
            under 0.9999 on real text), or the encoder has another layout than `base`.
    """
    with tempfile.TemporaryDirectory(prefix="kaizen-export-") as scratch:
        made = Path(scratch)
        torch_directory = made / TORCH
        _write(encoder, base, base_directory, torch_directory)
        written = read_spec(str(torch_directory))
        name = f"models/{kind}-{written.fingerprint[:12]}"
        spec = replace(base, model=f"{OBJECT}{name}/{TORCH}", fingerprint=written.fingerprint)
        if replace(spec, model=written.model) != written:
            raise BadModel("The trained encoder is not of its base's layout.", advice="Train the base's own encoder.")
        if not holds(store, name):
            export_onnx(spec, made, lambda _reference: torch_directory)
            store.put_directory(name, made)
    return {**spec.record(), "artifact": name}


def export_generator(
    model: Any,  # noqa: ANN401 (transformers' own)
    tokenizer: Any,  # noqa: ANN401
    base: GeneratorSettings,
    store: ObjectStore,
) -> tuple[dict[str, Any], float]:
    """Put a trained generator into the object store; return its part of a release, and its `divergence` from `model`.

    The artifact `models/generator-FINGERPRINT` holds a transformers directory in `torch/`, bfloat16: what generators
    run in. Equal weights give the same artifact.

    Args:
        model: a causal model, without adapters, float32.
        base: the generator that it was; limits stay.

    Raises:
        BadModel: a weight is NaN or infinite, or what was written cannot be opened or writes something else.
    """
    with tempfile.TemporaryDirectory(prefix="kaizen-export-") as scratch:
        directory = Path(scratch) / TORCH
        directory.mkdir()
        _save(model, _weights(model, torch.bfloat16), directory)
        model.generation_config.save_pretrained(str(directory))
        tokenizer.save_pretrained(str(directory))
        check_safe(directory)
        _, opened = load_chat_model(directory, torch.bfloat16)
        apart = divergence(model, opened, tokenizer)
        if not apart <= _APART_NATS:  # NaN neither
            raise BadModel(f"What was exported is {apart:.3f} nats from what learnt.", advice=_ADVICE)
        name = f"models/generator-{fingerprint_of(directory)[:12]}"
        if not holds(store, name):
            store.put_directory(name, Path(scratch))
        settings = base.model_copy(update={"kind": "transformers", "model": f"{OBJECT}{name}/{TORCH}"})
        return generator_record(settings, lambda _reference: directory), apart


def divergence(model: Any, opened: Any, tokenizer: Any) -> float:  # noqa: ANN401 (transformers' own)
    """Return how far `opened` is from `model`: the Kullback-Leibler divergence of the next token, in nats.

    A mean over the tokens of real text. Rounding the weights to bfloat16 alone brings about .001.
    """
    ids = torch.tensor([tokenizer(SAMPLE[-1])["input_ids"][:_SAMPLE_TOKENS]])
    with torch.inference_mode():
        wanted, found = (torch.log_softmax(one.eval()(input_ids=ids).logits.float(), -1) for one in (model, opened))
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def _write(encoder: Any, base: EmbedderSpec, base_directory: Path, directory: Path) -> None:  # noqa: ANN401 (transformers' own)
    weights = _weights(encoder, torch.float32)
    _copy_texts(base_directory, directory)
    _write_layout(base, directory)
    _save(encoder, weights, directory)


def _weights(model: torch.nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All weights on the CPU, one that has two names (a tied output layer) by its first one. Raises BadModel."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict().items():
        if value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            found[name] = value.detach().to("cpu", dtype).contiguous()
    if bad := sorted(name for name, value in found.items() if not bool(torch.isfinite(value).all())):
        raise BadModel(f"{len(bad)} trained weights are NaN or infinite ({bad[0]}).", advice=_ADVICE)
    return found


def _save(model: Any, weights: dict[str, torch.Tensor], directory: Path) -> None:  # noqa: ANN401 (transformers' own)
    """Write weights and configuration. transformers' own `save_pretrained` would import DeepSpeed, if it is installed,
    and that writes to stdout."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = next(iter(weights.values())).dtype
    config.save_pretrained(str(directory))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _copy_texts(source: Path, directory: Path) -> None:
    """Tokenizer, limits, prompts and module settings; no weights, no cards, nothing of a sharded checkpoint."""
    for file in sorted(source.rglob("*")):
        if file.is_file() and file.suffix.lower() in _TEXTUAL and not file.name.endswith(".index.json"):
            target = directory / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _write_layout(base: EmbedderSpec, directory: Path) -> None:
    """What sentence-transformers needs, where the base was a bare transformers directory."""
    if (directory / "modules.json").is_file():
        return
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(modules, indent=1), encoding="utf-8")
    (directory / "1_Pooling").mkdir(exist_ok=True)
    pooling = {
        "word_embedding_dimension": base.dim,
        f"pooling_mode_{'cls_token' if base.pooling == 'cls' else 'mean_tokens'}": True,
    }
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=1), encoding="utf-8")
