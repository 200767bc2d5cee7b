"""A data set on disk: what goes in comes out, under a name that follows from what is in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from kaizen.errors import Corrupt, NotFound
from kaizen.learning.dataset import DEMONSTRATIONS, DatasetContent, read_dataset, write_dataset
from kaizen.storage.local_store import LocalStore
from tests.unit.learning.world import visited


@pytest.fixture
def content() -> DatasetContent:
    return visited(10, 3).curate()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects")


def test_what_is_written_is_read_again(store: LocalStore, content: DatasetContent) -> None:
    name = write_dataset(store, content)
    read = read_dataset(store, name)
    assert name == f"datasets/{content.id}"
    assert read.id == content.id
    assert read.examples.equals(content.examples)
    assert read.demonstrations.schema.names == DEMONSTRATIONS.names
    assert read.record == {**json.loads(json.dumps(content.record)), "id": content.id}


def test_writing_it_twice_is_no_harm(store: LocalStore, content: DatasetContent) -> None:
    assert write_dataset(store, content) == write_dataset(store, content)
    assert store.list("datasets") == [f"datasets/{content.id}"]


def test_the_id_follows_rows_and_record_not_batches(content: DatasetContent) -> None:
    in_two = pa.concat_tables([content.examples.slice(0, 3), content.examples.slice(3)])
    assert replace(content, examples=in_two).id == content.id
    assert replace(content, examples=content.examples.slice(1)).id != content.id
    assert replace(content, record={**content.record, "seed": 2}).id != content.id


def test_a_changed_byte_is_refused(store: LocalStore, content: DatasetContent, tmp_path: Path) -> None:
    name = write_dataset(store, content)
    path = tmp_path / "objects" / name / "examples.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Corrupt):
        read_dataset(store, name)


def test_one_that_is_not_there_is_not_found(store: LocalStore) -> None:
    with pytest.raises(NotFound):
        read_dataset(store, "datasets/0000000000000000")
