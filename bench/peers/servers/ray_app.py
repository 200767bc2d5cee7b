"""The pattern of Ray's example of retrieval: Serve deployments that embed a query and ask a vector store.

Three deployments of one replica each: the HTTP ingress, the embedder (sentence-transformers), and the store (Chroma in
the replica's process, persistent). Bulk ingestion is a Ray Data pipeline that embeds in an actor and writes to the
store. Runs with the peers' own Python.
"""

import argparse
import json
import threading
from pathlib import Path

import chromadb
import numpy as np
import ray
from chromadb.config import Settings
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve.handle import DeploymentHandle
from sentence_transformers import SentenceTransformer

APP = "peer"
PIECE = 1000
CPUS = {"num_cpus": 0.25}  # three replicas and an ingest have to fit on two cores
api = FastAPI()


class Question(BaseModel):
    query: str
    k: int = 10


class Documents(BaseModel):
    ids: list[str]
    texts: list[str]


class Folder(BaseModel):
    folder: str


@serve.deployment(ray_actor_options=CPUS)
class Embedder:
    def __init__(self, model_path: str) -> None:
        self._model = SentenceTransformer(model_path, device="cpu")

    def embed(self, text: str) -> list[float]:
        return self._model.encode(text, normalize_embeddings=True).tolist()


@serve.deployment(ray_actor_options=CPUS)
class Store:
    def __init__(self, folder: str) -> None:
        client = chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))
        self._collection = client.get_or_create_collection("passages", configuration={"hnsw": {"space": "cosine"}})

    def query(self, vector: list[float], k: int) -> list[dict]:
        found = self._collection.query(query_embeddings=[vector], n_results=k, include=["documents", "distances"])
        hits = zip(found["ids"][0], found["documents"][0], found["distances"][0], strict=True)
        return [{"id": name, "text": text, "score": 1 - distance} for name, text, distance in hits]

    def add(self, ids: list[str], texts: list[str], vectors: np.ndarray) -> int:
        self._collection.add(ids=ids, documents=texts, embeddings=vectors)
        return self.count()

    def load(self, folder: str) -> int:
        texts = json.loads((Path(folder) / "texts.json").read_text())
        vectors = np.load(Path(folder) / "vectors.npy")
        for first in range(0, len(texts), PIECE):
            ids = [str(n) for n in range(first, min(first + PIECE, len(texts)))]
            self.add(ids, texts[first : first + PIECE], vectors[first : first + PIECE])
        return self.count()

    def count(self) -> int:
        return self._collection.count()


class EmbedBatch:
    """A stage of the Ray Data pipeline."""

    def __init__(self, model_path: str) -> None:
        self._model = SentenceTransformer(model_path, device="cpu")

    def __call__(self, batch: dict) -> dict:
        return {**batch, "vector": self._model.encode(batch["text"].tolist(), normalize_embeddings=True)}


def write_batch(batch: dict) -> dict:
    store = serve.get_deployment_handle("Store", APP)
    count = store.add.remote(batch["id"].tolist(), batch["text"].tolist(), np.stack(batch["vector"])).result()
    return {"count": [count]}


@serve.deployment(ray_actor_options=CPUS)
@serve.ingress(api)
class Ingress:
    def __init__(self, embedder: DeploymentHandle, store: DeploymentHandle, model: str) -> None:
        self._embedder, self._store, self._model = embedder, store, model

    @api.post("/search")
    async def search(self, question: Question) -> dict:
        vector = await self._embedder.embed.remote(question.query)
        return {"hits": await self._store.query.remote(vector, question.k)}

    @api.post("/ingest")
    def ingest(self, documents: Documents) -> dict:
        rows = [{"id": i, "text": t} for i, t in zip(documents.ids, documents.texts, strict=True)]
        embedded = ray.data.from_items(rows, override_num_blocks=4).map_batches(
            EmbedBatch, fn_constructor_args=(self._model,), concurrency=1, num_cpus=1, batch_size=800
        )
        embedded.map_batches(write_batch, batch_size=800, num_cpus=0.25).materialize()
        return {"ok": True}

    @api.post("/load")
    async def load(self, source: Folder) -> dict:
        return {"count": await self._store.load.remote(source.folder)}

    @api.get("/count")
    async def count(self) -> dict:
        return {"count": await self._store.count.remote()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    temporary = str(Path("ray").absolute())
    ray.init(address="local", include_dashboard=False, log_to_driver=False, _temp_dir=temporary)
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    app = Ingress.bind(Embedder.bind(options.model), Store.bind(str(Path("store").absolute())), options.model)
    serve.run(app, name=APP, route_prefix="/")
    threading.Event().wait()
