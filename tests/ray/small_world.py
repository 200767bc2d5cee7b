"""A whole installation in small: a language of its own, documents in it, an encoder that can learn it, people's clicks.

Every word has a synonym that stands in no document. Queries use synonyms, words cannot find them, and an encoder that
was taught what people clicked can. Nothing of it needs Ray.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import torch
from rich.progress import Progress
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from jobs.build_index import build_shard
from jobs.build_release import build_release
from kaizen.config import Settings
from kaizen.learning.dataset import DatasetContent, table, write_dataset
from kaizen.learning.query_encoder import QueryEncoderPlan
from kaizen.records import Candidate, Dataset, Document, Judgement, Release
from kaizen.release import index_of
from kaizen.workspace import Workspace, open_workspace
from train.query_encoder import learn
from train.recording import Lesson

TENANT = "default"
DIM = 96
COMMON, RARE = 100, 24  # words of the two languages
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SPAM = "spam"


def chance(seed: int) -> Random:
    """A source of chance of its own."""
    return Random(seed)  # noqa: S311 (no secret)


def words() -> list[str]:
    """The words of both languages; the synonym of each is the word with `u` for its last letter."""
    made = [a + b + c + d + "ok" for a in "bdfgk" for b in "aei" for c in "lmnpr" for d in "tzv"]
    return chance(1).sample(made, COMMON + RARE)


WORDS = words()
SYNONYMS = {word: word[:-2] + "uk" for word in WORDS}


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query, the document that answers it, and its language."""

    id: str
    text: str
    answer: str
    language: str


@dataclass(frozen=True, kw_only=True)
class World:
    """The installation with its stable release, its documents by id, and queries of three kinds."""

    workspace: Workspace
    stable: Release
    documents: Mapping[str, Document]
    train: Sequence[Query]
    held_out: Sequence[Query]
    trusted: Sequence[Query]

    def dataset(self, name: str, train: Sequence[Query], held_out: Sequence[Query], clicked: Clicked) -> Dataset:
        """Record a data set in which each query's documents have the labels that `clicked` gives."""
        rows = [
            self._row(query, split, document, label)
            for split, queries in (("train", train), ("held_out", held_out))
            for query in queries
            for document, label in clicked(query).items()
        ]
        content = DatasetContent(
            examples=table("examples", rows),
            demonstrations=table("demonstrations", []),
            feedback_ids=pa.table({"id": pa.array([], pa.string())}),
            record={"name": name},
        )
        artifact = write_dataset(self.workspace.store, content)
        recorded = Dataset(id=content.id, at=time.time(), artifact=artifact, record={"name": name})
        self.workspace.ledger.datasets.record(recorded)
        return recorded

    def teach(self, dataset: Dataset, **plan: float) -> Candidate:
        """Rung 2, as `python -m train.query_encoder` does it, in this process."""
        lesson = Lesson(workspace=self.workspace, parent=self.stable, dataset=dataset, rung=2, turn="")
        return learn(lesson, replace(PLAN, **plan), Progress(disable=True))

    def candidate(self, dataset: Dataset, parts: Mapping[str, Any]) -> str:
        """Record a release with these parts as a candidate of rung 2; return its id."""
        release = self.workspace.ledger.releases.record(parts, parent=self.stable.id).id
        record = {"dataset": dataset.id, "parent": self.stable.id, "cost": {"cpu_s": 1.0}}
        self.workspace.ledger.candidates.record(Candidate(release=release, at=0.0, rung=2, turn="", record=record))
        return release

    def build_index(self, release: Release) -> None:
        """Seal the shards of a release."""
        for shard in range(index_of(release).shards):
            build_shard(self.workspace.settings, release, shard)

    def _row(self, query: Query, split: str, document: str, label: float) -> dict[str, Any]:
        return {
            "query_id": query.id, "query": query.text, "tenant": TENANT, "groups": [], "split": split,
            "chunk_id": f"{document}#0", "document_id": document, "title": "", "text": self.documents[document].text,
            "label": label, "weight": 1.0, "shown": 20, "clicks": 10 * label, "position": 1.0, "features": [],
            "judged": True,
        }  # fmt: skip


Clicked = Callable[[Query], Mapping[str, float]]  # query -> document -> label
PLAN = QueryEncoderPlan(epochs=10, learning_rate=3e-3, batch=32, dense_weight=1.0, lexical_weight=0.5)


def make_world(directory: Path) -> World:
    """Make it: a few seconds."""
    torch.set_num_threads(1)
    settings = Settings.model_validate(
        {
            "workspace": {"directory": directory / "w"},
            "fleet": {"shards": 2, "replicas": 1},
            "embedder": {"model": str(write_encoder(directory / "encoder")), "device": "cpu"},
            "retrieval": {"dense_weight": 1.0, "lexical_weight": 0.5, "depth": 50},
            "generator": {"kind": "extractive"},
        }
    )
    workspace = open_workspace(settings)
    documents = {document.id: document for document in _documents()}
    workspace.ledger.documents.upsert_many(list(documents.values()))
    stable = build_release(workspace)
    rng = chance(2)
    made = [_query(f"q{number:04d}", document, rng) for number, document in enumerate(_targets(documents, rng))]
    trusted, held_out, train = made[:200], made[200:320], made[320:]
    world = World(
        workspace=workspace, stable=stable, documents=documents, train=train, held_out=held_out, trusted=trusted
    )
    world.build_index(stable)
    workspace.ledger.judgements.put_many(
        [Judgement(tenant=TENANT, query_id=q.id, query=q.text, document_id=q.answer, grade=1) for q in trusted]
    )
    return world


def write_encoder(directory: Path, *, dim: int = DIM, seed: int = 0, idle: int = 0) -> Path:
    """Write an encoder that nobody taught: its vector is nearly the mean of its words' random vectors.

    `idle` more units in its layer add nothing, and take their time.
    """
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    vocabulary = [*SPECIALS, *WORDS, *SYNONYMS.values()]
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=dim, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=4 * dim, max_position_embeddings=64,
    )  # fmt: skip
    model = BertModel(config)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
        layer = model.encoder.layer[0]
        pad = torch.nn.functional.pad
        layer.intermediate.dense.weight = torch.nn.Parameter(pad(layer.intermediate.dense.weight, (0, 0, 0, idle)))
        layer.intermediate.dense.bias = torch.nn.Parameter(pad(layer.intermediate.dense.bias, (0, idle)))
        layer.output.dense.weight = torch.nn.Parameter(pad(layer.output.dense.weight, (0, idle)))
    model.config.intermediate_size += idle
    model.save_pretrained(str(directory), safe_serialization=True)
    write_tokenizer(directory, vocabulary)
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": False}))
    return directory


def write_tokenizer(directory: Path, vocabulary: Sequence[str]) -> None:
    """Write a tokenizer of whole words, numbered in this order."""
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106 (no secret: a token of text)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))


def _documents() -> list[Document]:
    rng, made = chance(3), []
    for number in range(280):
        language = "rare" if number % 5 == 0 else "common"
        own = WORDS[COMMON:] if language == "rare" else WORDS[:COMMON]
        text = " ".join(rng.sample(own, 7)) + "."
        made.append(Document(tenant=TENANT, id=f"d{number}", title="", text=text, metadata={"language": language}))
    for number in range(3):
        text = " ".join(rng.sample(WORDS[:COMMON], 7)) + "."
        made.append(Document(tenant=TENANT, id=f"{SPAM}{number}", title="", text=text, metadata={"language": "common"}))
    return made


def _targets(documents: Mapping[str, Document], rng: Random) -> list[Document]:
    honest = [document for name, document in documents.items() if not name.startswith(SPAM)]
    return [rng.choice(honest) for _ in range(640)]


def _query(name: str, document: Document, rng: Random) -> Query:
    """Three words of the document, most of them as their synonyms; people who speak the rare language use its words."""
    chosen = rng.sample(document.text.rstrip(".").split(), 3)
    language = str(document.metadata["language"])
    others = 0.1 if language == "rare" else 0.7
    said = [SYNONYMS[word] if rng.random() < others else word for word in chosen]
    return Query(id=name, text=" ".join(said), answer=document.id, language=language)
