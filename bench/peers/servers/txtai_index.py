"""Writes a txtai index of texts whose vectors are given, for txtai's own API. Runs with the peers' own Python."""

import argparse
import json
from pathlib import Path

import numpy as np
from txtai import Embeddings

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--index", required=True)
    options = parser.parse_args()
    texts = json.loads((options.source / "texts.json").read_text())
    vectors = np.load(options.source / "vectors.npy")
    rows = {text: row for row, text in enumerate(texts)}

    def look_up(batch: list[str]) -> np.ndarray:
        return vectors[[rows[text] for text in batch]]

    embeddings = Embeddings({"method": "external", "transform": look_up, "content": True})
    embeddings.index((str(row), text, None) for row, text in enumerate(texts))
    # From here on, queries are embedded by the model that made the vectors.
    embeddings.config.pop("transform")
    embeddings.config.pop("method")
    embeddings.config["path"] = options.model
    embeddings.save(options.index)
