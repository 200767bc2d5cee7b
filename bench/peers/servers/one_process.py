"""What most people write: one FastAPI process with sentence-transformers and a FAISS index, everything in memory.

Runs with the peers' own Python. Nothing survives the process.
"""

import argparse
import json
from pathlib import Path
from threading import Lock

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class Question(BaseModel):
    query: str
    k: int = 10


class Documents(BaseModel):
    ids: list[str]
    texts: list[str]


class Folder(BaseModel):
    folder: str


def build(model_path: str) -> FastAPI:
    app = FastAPI()
    model = SentenceTransformer(model_path, device="cpu")
    index = faiss.IndexFlatIP(model.get_embedding_dimension())
    rows: list[tuple[str, str]] = []
    adding = Lock()

    def add(ids: list[str], texts: list[str], vectors: np.ndarray) -> None:
        with adding:
            rows.extend(zip(ids, texts, strict=True))
            index.add(vectors)

    @app.post("/search")
    def search(question: Question) -> dict:
        vector = model.encode([question.query], normalize_embeddings=True)
        scores, found = index.search(vector, question.k)
        hits = zip(scores[0].tolist(), found[0].tolist(), strict=True)
        return {"hits": [{"id": rows[row][0], "text": rows[row][1], "score": score} for score, row in hits]}

    @app.post("/ingest")
    def ingest(documents: Documents) -> dict:
        add(documents.ids, documents.texts, model.encode(documents.texts, normalize_embeddings=True))
        return {"count": index.ntotal}

    @app.post("/load")
    def load(source: Folder) -> dict:
        texts = json.loads((Path(source.folder) / "texts.json").read_text())
        add([str(n) for n in range(len(texts))], texts, np.load(Path(source.folder) / "vectors.npy"))
        return {"count": index.ntotal}

    @app.get("/count")
    def count() -> dict:
        return {"count": index.ntotal}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(build(options.model), host="127.0.0.1", port=options.port, log_level="warning")
