"""Test collections in BEIR's layout: documents, queries, and which documents answer which query.

corpus.jsonl    {"_id": "d1", "title": "...", "text": "..."} a line; title may be absent
queries.jsonl   {"_id": "q1", "text": "..."} a line
qrels/test.tsv  or qrels_test.tsv, or qrels.tsv for a collection without splits: query, document, grade
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kaizen.errors import InvalidInput, NotFound
from kaizen.evaluation.lines import numbered_lines
from kaizen.records import MAX_QUERY_CHARACTERS, Document

UNSPLIT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection whose queries are in memory and whose documents are read when asked for.

    Attributes:
        split: name of the split that the judgements are of; empty for a collection without splits.
        queries: id -> text of the queries with at least one relevant document, in the order of their file.
        judgements: id of each of these queries -> document id -> grade (0 is "not relevant").
    """

    directory: Path
    split: str
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]

    @classmethod
    def open(cls, directory: Path, split: str | None = None) -> Collection:
        """Read queries and judgements. `split` None takes `test` where there is one, else the file without splits.

        Raises:
            NotFound: the directory, one of its files or the split does not exist.
            InvalidInput: a file cannot be read as what it should be; file and line are named.
        """
        for name in ("corpus.jsonl", "queries.jsonl"):
            if not (directory / name).is_file():
                raise NotFound(f"There is no {name} in {directory}.", advice="Name a folder in BEIR's layout.")
        split, path = _judgement_file(directory, split)
        judgements = _judgements(path)
        texts = {name: _text(entry, "text", where) for name, entry, where in _entries(directory / "queries.jsonl")}
        if missing := sorted(judgements.keys() - texts.keys()):
            raise InvalidInput(
                f"{path.name} judges {len(missing)} queries that queries.jsonl does not have, such as {missing[0]!r}.",
                advice="Take both files from the same release of the collection.",
            )
        queries = {name: text for name, text in texts.items() if any(g > 0 for g in judgements.get(name, {}).values())}
        if not queries:
            raise InvalidInput(f"{path.name} has no relevant document for any query.", advice="Name another split.")
        return cls(
            directory=directory, split=split, queries=queries, judgements={name: judgements[name] for name in queries}
        )

    def limited(self, most: int) -> Collection:
        """Return the collection with at most `most` (from 1) of its queries, spread evenly over their order."""
        names = list(self.queries)
        if len(names) <= most:
            return self
        kept = [names[i * len(names) // most] for i in range(most)]
        return replace(
            self,
            queries={name: self.queries[name] for name in kept},
            judgements={name: self.judgements[name] for name in kept},
        )

    def check_asked(self) -> None:
        """Raise InvalidInput, naming the query, where the API would refuse one: it is better known before the work."""
        for name, text in self.queries.items():
            if not 1 <= len(text) <= MAX_QUERY_CHARACTERS:
                raise InvalidInput(
                    f"The query {name!r} has {len(text)} characters, and one that is asked has 1 to "
                    f"{MAX_QUERY_CHARACTERS}.",
                    advice="Cut it in queries.jsonl, or take its judgements out.",
                )

    def documents(self, tenant: str) -> Iterator[Document]:
        """Yield the documents, in order. Raises InvalidInput, naming the line, where the corpus is broken."""
        for name, entry, where in _entries(self.directory / "corpus.jsonl"):
            title = _text(entry, "title", where) if entry.get("title") is not None else ""
            yield Document(tenant=tenant, id=name, title=title, text=_text(entry, "text", where))


def splits(directory: Path) -> dict[str, Path]:
    """Return split -> file of judgements; a file without split stands under the empty name."""
    found = {path.stem: path for path in sorted(directory.glob("qrels/*.tsv"))}
    found |= {path.stem.removeprefix("qrels_"): path for path in sorted(directory.glob("qrels_*.tsv"))}
    whole = directory / "qrels.tsv"
    return found | ({UNSPLIT: whole} if whole.is_file() else {})


def _judgement_file(directory: Path, split: str | None) -> tuple[str, Path]:
    found = splits(directory)
    if not found:
        raise NotFound(f"There are no judgements in {directory}.", advice="They lie in qrels/test.tsv or qrels.tsv.")
    wanted = (split,) if split is not None else ("test", UNSPLIT)
    for name in wanted:
        if name in found:
            return name, found[name]
    known = ", ".join(sorted(name for name in found if name)) or "none (leave the split out)"
    said = f"no split {split!r}" if split is not None else "no split 'test'"
    raise NotFound(f"There is {said} in {directory}.", advice=f"Its splits are: {known}.")


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    for number, line in numbered_lines(path):
        parts = line.split("\t")
        if number == 1 and len(parts) == 3 and not _is_number(parts[2]):
            continue  # the header
        if len(parts) != 3 or not _is_integer(parts[2]):
            raise InvalidInput(
                f"{path.name}:{number} is not query, document and whole-number grade, parted by tabs.",
                advice="Mend the line. A file in TREC's format becomes such a one by "
                "awk -v OFS='\\t' '{print $1, $3, $4}'",
            )
        query, document, grade = parts[0], parts[1], int(parts[2])
        if judgements.setdefault(query, {}).setdefault(document, grade) != grade:
            raise _broken(f"{path.name}:{number}", "grades a document that has another grade already")
    return judgements


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield (id, object, place in the file) of each line."""
    seen: set[str] = set()
    for number, line in numbered_lines(path):
        where = f"{path.name}:{number}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise _broken(where, "is not JSON") from error
        name = entry.get("_id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise _broken(where, 'has no "_id" that is a string')
        if name in seen:
            raise _broken(where, "has an _id that an earlier line has")
        seen.add(name)
        yield name, entry, where


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _broken(where, f'has no "{key}" that is a string')
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_integer(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def _broken(where: str, what: str) -> InvalidInput:
    return InvalidInput(f"{where} {what}.", advice="Mend the line, or download the collection again.")
