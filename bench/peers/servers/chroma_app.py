"""A FastAPI process that embeds in Chroma's client and keeps everything in a Chroma server, which it starts.

Runs with the peers' own Python.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import chromadb
import numpy as np
import uvicorn
from chromadb.config import Settings
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction
from fastapi import FastAPI
from pydantic import BaseModel

PIECE = 1000


class Question(BaseModel):
    query: str
    k: int = 10


class Documents(BaseModel):
    ids: list[str]
    texts: list[str]


class Folder(BaseModel):
    folder: str


def build(model_path: str, port: int) -> FastAPI:
    app = FastAPI()
    client = _client(port)
    collection = client.get_or_create_collection(
        "passages",
        embedding_function=SentenceTransformerEmbeddingFunction(model_path, normalize_embeddings=True),
        configuration={"hnsw": {"space": "cosine"}},
    )

    @app.post("/search")
    def search(question: Question) -> dict:
        found = collection.query(query_texts=[question.query], n_results=question.k, include=["documents", "distances"])
        hits = zip(found["ids"][0], found["documents"][0], found["distances"][0], strict=True)
        return {"hits": [{"id": name, "text": text, "score": 1 - distance} for name, text, distance in hits]}

    @app.post("/ingest")
    def ingest(documents: Documents) -> dict:
        collection.add(ids=documents.ids, documents=documents.texts)
        return {"count": collection.count()}

    @app.post("/load")
    def load(source: Folder) -> dict:
        texts = json.loads((Path(source.folder) / "texts.json").read_text())
        vectors = np.load(Path(source.folder) / "vectors.npy")
        for first in range(0, len(texts), PIECE):
            part = slice(first, first + PIECE)
            ids = [str(n) for n in range(first, min(first + PIECE, len(texts)))]
            collection.add(ids=ids, documents=texts[part], embeddings=vectors[part])
        return {"count": collection.count()}

    @app.get("/count")
    def count() -> dict:
        return {"count": collection.count()}

    return app


def _client(port: int) -> chromadb.ClientAPI:
    for _ in range(300):
        try:
            return chromadb.HttpClient("127.0.0.1", port, settings=Settings(anonymized_telemetry=False))
        except ValueError:  # how the client says that nobody listens yet
            time.sleep(0.2)
    raise SystemExit("chroma did not start")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chroma-port", type=int, required=True)
    options = parser.parse_args()
    server = [str(Path(sys.executable).parent / "chroma"), "run", "--path", "chroma"]
    subprocess.Popen([*server, "--host", "127.0.0.1", "--port", str(options.chroma_port)])  # noqa: S603 (installed beside us)
    uvicorn.run(build(options.model, options.chroma_port), host="127.0.0.1", port=options.port, log_level="warning")
