"""Parquet as rows, by pyarrow: a few rows in memory at a time. Runs in the sandbox."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from kaizen.errors import BadDocument
from kaizen.text.access_list import seems_access_list

_BATCH_BYTES = 4 * 2**20
_MOST_BATCH_ROWS = 128  # a dictionary makes a row larger than the file says, by up to a page (1 MiB)
_ROW_BYTES = 64  # what a row counts for at least: rows of nothing, too, must come to an end
_SMALL_BYTES = 16 * 2**20


def rows(file: BinaryIO, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the row groups that start in [start, end), each as {"row": number from 1, "value": {...}},
    or with "error" in place of a value that is too large."""
    try:
        parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadDocument("It is not a Parquet file, or a damaged one.", advice="Write it again.") from error
    most = request["max_document_bytes"]
    left = max(_SMALL_BYTES, request["max_expansion"] * request["size_bytes"])
    for group, first in _groups(parquet, request["start"], request["end"]):
        number = first
        for batch in _batches(parquet, group):
            for value in batch.to_pylist(maps_as_pydicts="lossy"):
                row = _fields(value)
                size = _ROW_BYTES + sum(len(cell) for cell in row.values() if isinstance(cell, str))
                left -= size
                if left < 0:
                    raise BadDocument(
                        "It unpacks to far more than its size.", advice="Raise ingest.max_expansion if you trust it."
                    )
                yield (
                    {"row": number, "value": row}
                    if size <= most
                    else {"row": number, "error": f"It is over {most} bytes."}
                )
                number += 1


def _groups(parquet: pq.ParquetFile, start: int, end: int | None) -> Iterator[tuple[int, int]]:
    """Yield (row group, number of its first row) of those that start in the range."""
    number, whole = 1, start == 0 and end is None
    for index in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(index)
        # Only parts ask where a group lies: Arrow ends the process over some damage of what it would have to read.
        if whole or start <= _offset(group) < (math.inf if end is None else end):
            yield index, number
        number += group.num_rows


def _offset(group: pq.RowGroupMetaData) -> int:
    if not group.num_columns:
        return 0
    column = group.column(0)
    dictionary = column.dictionary_page_offset if column.has_dictionary_page else None
    return int(min(offset for offset in (dictionary, column.data_page_offset) if offset is not None))


def _batches(parquet: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
    about = parquet.metadata.row_group(group)
    row_bytes = max(1, about.total_byte_size // max(1, about.num_rows))
    size = max(1, min(_MOST_BATCH_ROWS, _BATCH_BYTES // row_bytes))
    try:
        yield from parquet.iter_batches(batch_size=size, row_groups=[group], use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadDocument(f"Its row group {group} is damaged.", advice="Write it again.") from error


def _fields(cells: Mapping[Any, object]) -> dict[str, object]:
    names = (key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in cells)
    return {name: _field(name, cell) for name, cell in zip(names, cells.values(), strict=True)}


def _field(name: str, cell: object) -> object:
    plain = _plain(cell)
    if plain is None and not _is_null(cell) and seems_access_list(name):
        return [None]  # which no reader takes for an access list; a null would leave nobody out
    return plain


def _is_null(cell: object) -> bool:
    """NaN is how data frames write null."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _plain(cell: object) -> object:
    """Return a cell as JSON has it; None of what JSON has not, such as bytes."""
    if _is_null(cell):
        return None
    if isinstance(cell, str | int | float | bool):
        return cell
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, decimal.Decimal):
        return float(cell)
    if isinstance(cell, list):
        return [_plain(item) for item in cell]
    return _fields(cell) if isinstance(cell, dict) else None
