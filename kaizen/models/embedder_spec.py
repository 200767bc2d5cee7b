"""What an embedder is: read from a sentence-transformers directory, kept in a release, handed to whoever opens it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kaizen.errors import BadModel
from kaizen.models.location import Find, fingerprint_of, locate, read_json

Pooling = Literal["mean", "cls"]
_UNBOUNDED = 1_000_000  # tokenizers write 1e30 for "no limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSpec:
    """One immutable version of an embedder.

    Attributes:
        model: reference that `Workspace.model_path` resolves on every machine that opens it.
        fingerprint: SHA-256 over its files; opening a directory with another one is refused.
        dim: length of a vector. Vectors are float32 and L2-normalised, so a dot product is the cosine.
        max_tokens: longest input, special tokens included; what is over is cut off.
        pooling: how token vectors become one: their mean, or the first token's.
        lowercase: the text is lower-cased before the tokenizer sees it.
        query_prompt, document_prompt: put before every text of that kind.
    """

    model: str
    fingerprint: str
    dim: int
    max_tokens: int
    pooling: Pooling
    lowercase: bool = False
    query_prompt: str = ""
    document_prompt: str = ""

    def record(self) -> dict[str, Any]:
        """Return the JSON object that a release keeps under `embedder`."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> EmbedderSpec:
        """Return the spec that `record` was made from."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


def read_spec(model: str, find: Find = locate) -> EmbedderSpec:
    """Return the spec of the sentence-transformers directory that `model` names, looked up with `find`.

    Raises:
        BadModel: not such a directory, unsafe, or of a kind that is not supported (its message says which).
    """
    directory = find(model)
    if not (directory / "tokenizer.json").is_file():
        raise BadModel(f"{model!r} has no tokenizer.json.",
                       advice="Write one with AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR).")  # fmt: skip
    config = read_json(directory / "config.json")
    sentence = _optional(directory / "sentence_bert_config.json")
    prompts = _prompts(_optional(directory / "config_sentence_transformers.json"))
    return EmbedderSpec(
        model=model,
        fingerprint=fingerprint_of(directory),
        dim=int(_number(config, "hidden_size")),
        max_tokens=_max_tokens(directory, config, sentence),
        pooling=_pooling(directory),
        lowercase=bool(sentence.get("do_lower_case", False)),
        query_prompt=prompts.get("query", ""),
        document_prompt=prompts.get("document", prompts.get("passage", "")),
    )


def _optional(file: Path) -> dict[str, object]:
    return read_json(file) if file.is_file() else {}


def _number(config: Mapping[str, object], name: str) -> float:
    value = config.get(name)
    if not isinstance(value, int | float):
        raise BadModel(f"config.json has no number {name!r}.", advice="Use a BERT-like encoder.")
    return value


def _prompts(config: Mapping[str, object]) -> dict[str, str]:
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise BadModel("prompts in config_sentence_transformers.json is no object.", advice="Mend the file.")
    return {str(k): v for k, v in prompts.items() if isinstance(v, str)}


def _max_tokens(directory: Path, config: Mapping[str, object], sentence: Mapping[str, object]) -> int:
    """sentence-transformers' own limit where it names one, else what tokenizer and positions both allow."""
    stated = sentence.get("max_seq_length")
    if isinstance(stated, int):
        return stated
    limit = _optional(directory / "tokenizer_config.json").get("model_max_length", _UNBOUNDED)
    positions = int(_number(config, "max_position_embeddings"))
    # RoBERTa's family counts positions from pad_token_id + 1.
    offset = 2 if config.get("model_type") in {"roberta", "xlm-roberta", "camembert", "mpnet"} else 0
    return int(min(limit if isinstance(limit, int | float) else _UNBOUNDED, positions - offset))


def _pooling(directory: Path) -> Pooling:
    modules_file = directory / "modules.json"
    if not modules_file.is_file():
        return "mean"  # what sentence-transformers does with a bare transformers directory
    try:
        modules = json.loads(modules_file.read_text(encoding="utf-8"))
        kinds = [str(m["type"]).rsplit(".", 1)[-1] for m in modules]
    except (ValueError, TypeError, KeyError) as error:
        raise BadModel(f"{modules_file} is no list of modules.", advice="Fetch the model again.") from error
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise BadModel(f"The embedder's modules are {', '.join(kinds)}; known: Transformer, Pooling, Normalize.",
                       advice="Use an embedder without other layers.")  # fmt: skip
    config = read_json(_below(directory, str(modules[1].get("path", ""))) / "config.json")
    if config.get("include_prompt") is False:
        raise BadModel("The embedder leaves its prompt out of the pooling.", advice="Use one that does not.")
    chosen = config.get("pooling_mode")
    modes = [chosen] if chosen else [k for k, v in config.items() if k.startswith("pooling_mode_") and v]
    if modes in (["mean"], ["pooling_mode_mean_tokens"]):
        return "mean"
    if modes in (["cls"], ["pooling_mode_cls_token"]):
        return "cls"
    raise BadModel(f"The embedder pools by {modes}; known: mean, cls.", advice="Use an embedder that pools so.")


def _below(directory: Path, name: str) -> Path:
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise BadModel("modules.json names a path outside the model.", advice="Use another model.")
    return path
