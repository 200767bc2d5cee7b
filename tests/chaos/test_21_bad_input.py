"""Row 21: bad input. Each file is refused with a reason, in bounded time and memory, and all the others are taken."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from actors import reader
from kaizen.records import Document, Quarantined
from kaizen.text.parse import read_documents
from kaizen.text.sandbox import MEMORY_BYTES, Sandbox
from kaizen.text.source_file import SourceFile
from tests.chaos.conftest import Chaos, Flock
from tests.chaos.parts import memory_bytes
from tests.chaos.small_index import TENANT, SmallIndex, make_small_index, take_in
from tests.chaos.victim import Work, struck
from tests.product import Product
from tests.ray.bad_requests import DOCUMENTS, FIELDS, IDS, RAW, SEARCH, check_problem
from tests.ray.conftest import HANDBOOK
from tests.unit.text.hostile import HOSTILE, SAMPLES, bomb_pdf, nested_forms_pdf

JSON = {"content-type": "application/json"}
REQUESTS = "requests over HTTP that are none: broken JSON, NaN, wrong types, deep nesting, climbing ids"
HOSTILE_FILES = "files that do harm or are broken: bombs, nesting, lies, encryption, wrong encodings, NUL, a gigabyte"
SPOILT_FILES = "sound files with a part replaced by noise"
PARSE_SECONDS = 2.0
MOST_SECONDS = 20.0  # for one file, all its rows, on a busy machine, whose process is started again
MOST_OWN_BYTES = 2**29  # by which the process that ingests may grow: nothing of a file is unpacked in it
GIGABYTES = ("txt", "md", "html", "pdf", "docx", "parquet")
SOUND = 5  # files that must be taken in whatever lies beside them


@dataclass(slots=True)
class Ingested:
    """What came of an ingest. `child_bytes`: the most memory that a process which read files had."""

    taken: frozenset[str]
    refused: dict[str, str]
    slowest: tuple[float, str]
    own_bytes: int
    child_bytes: int


@dataclass(slots=True)
class Stopwatch:
    """Reads files as the product does, and keeps what the slowest took."""

    slowest: tuple[float, str] = (0.0, "")
    sandboxes: set[Sandbox] = field(default_factory=set)

    def read(
        self, unit: SourceFile, *arguments: object, sandbox: Sandbox, **named: object
    ) -> Iterator[Document | Quarantined]:
        self.sandboxes.add(sandbox)
        start = time.monotonic()
        items = list(read_documents(unit, *arguments, sandbox=sandbox, **named))  # type: ignore[arg-type]
        self.slowest = max(self.slowest, (time.monotonic() - start, unit.path))
        return iter(items)


def ingest(tell: Callable[[Ingested], None], index: SmallIndex) -> None:
    """Ingest all sources in this process, which has nothing else to do, and tell what came of it."""
    watch, before = Stopwatch(), peak_bytes(resource.RUSAGE_SELF)
    with index.opened() as parts:
        with patch.object(reader, "read_documents", watch.read):
            take_in(parts, index.sources)
        for sandbox in watch.sandboxes:
            sandbox.close()  # what it had is known when it has ended
        names = [f"{index.sources.name}/{path.name}" for path in index.sources.iterdir()]
        tell(
            Ingested(
                taken=frozenset(parts.ledger.documents.states(TENANT, names)),
                refused={one.document_id: one.reason for one in parts.ledger.quarantine.list(TENANT, 10**6)},
                slowest=watch.slowest,
                own_bytes=peak_bytes(resource.RUSAGE_SELF) - before,
                child_bytes=peak_bytes(resource.RUSAGE_CHILDREN),
            )
        )


def ingest_without_limit_of_memory(tell: Callable[[Ingested], None], index: SmallIndex) -> None:
    with patch.object(reader, "Sandbox", partial(Sandbox, memory_bytes=2**40)):
        ingest(tell, index)


def ingest_without_clock(tell: Callable[[Ingested], None], index: SmallIndex) -> None:
    with patch.object(reader, "Sandbox", lambda parse_seconds: Sandbox(parse_seconds=100 * parse_seconds)):
        ingest(tell, index)


def peak_bytes(whose: int) -> int:
    return resource.getrusage(whose).ru_maxrss * 1024


class Corpus:
    """Sources of a small installation: sound files that must be taken, with others among them."""

    def __init__(self, directory: Path, parse_seconds: float = PARSE_SECONDS) -> None:
        self._index = replace(make_small_index(directory), parse_seconds=parse_seconds)
        self._index.write_sources(0, SOUND)
        self._sound = {self._id(path.name) for path in self._index.sources.iterdir()}
        self._hostile: set[str] = set()

    def add_hostile(self, name: str, data: bytes) -> None:
        """Add a file that must be refused."""
        self._hostile.add(self.add(name, data))

    def add_gigabyte(self, format: str) -> None:
        """Add a file of a gigabyte, all of it NUL, that takes no place on the disk."""
        self.add_hostile(f"gigabyte.{format}", b"")
        os.truncate(self._index.sources / f"gigabyte.{format}", 2**30)

    def add(self, name: str, data: bytes) -> str:
        """Add a file of which only is asked that it harms nobody; its document's id."""
        (self._index.sources / name).write_bytes(data)
        return self._id(name)

    def violations(self, work: Work = ingest) -> list[str]:
        """What went wrong when all was ingested by `work` in a process of its own."""
        code, told = struck(work, self._index)
        if not told:
            return [f"the ingest ended with {code}"]
        (done,) = told
        seconds, path = done.slowest
        found = [f"{one} was not taken" for one in self._sound - done.taken]
        found += [f"{one} was not refused" for one in self._hostile if not self._reason(one, done.refused)]
        if seconds > MOST_SECONDS:
            found.append(f"{path} took {seconds:.0f} s")
        if done.own_bytes > MOST_OWN_BYTES:
            found.append(f"the process that ingests grew by {done.own_bytes / 2**30:.1f} GiB")
        if done.child_bytes > MEMORY_BYTES:
            found.append(f"the process that reads had {done.child_bytes / 2**30:.1f} GiB")
        return found

    def _id(self, name: str) -> str:
        return f"{self._index.sources.name}/{name}"

    def _reason(self, document: str, refused: Mapping[str, str]) -> str:
        """Why a file, or all rows of it, were refused."""
        return " ".join(reason for name, reason in refused.items() if name.partition("#")[0] == document)


def spoilt(chance: Random) -> tuple[str, bytes]:
    """Format and contents of a sound file with a part replaced by noise."""
    format = chance.choice(sorted(SAMPLES))
    sample = SAMPLES[format]
    place = chance.randrange(len(sample))
    return format, sample[:place] + chance.randbytes(chance.randrange(200)) + sample[place + chance.randrange(300) :]


@pytest.mark.timeout(900)
def test_it_is_refused_and_the_rest_goes_on(chaos: Chaos, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    for number, (name, make, _) in enumerate(HOSTILE):
        corpus.add_hostile(f"{number:03d}-{name}", make())
    corpus.add_hostile("bomb.pdf", bomb_pdf())
    corpus.add_hostile("nested.pdf", nested_forms_pdf())
    for format in GIGABYTES:
        corpus.add_gigabyte(format)
    found = corpus.violations()
    chaos.kept(21, HOSTILE_FILES, trials=len(HOSTILE) + 2 + len(GIGABYTES), violations=len(found))
    assert found == []


@pytest.mark.timeout(900)
def test_spoilt_files_harm_nobody(chaos: Chaos, tmp_path: Path) -> None:
    corpus, chance, count = Corpus(tmp_path), chaos.chance("spoilt files"), chaos.of(50, 3000)
    for number in range(count):
        format, data = spoilt(chance)
        corpus.add(f"{number:05d}.{format}", data)
    found = corpus.violations()
    chaos.kept(21, SPOILT_FILES, trials=count, violations=len(found))
    assert found == []


def test_without_a_limit_of_memory_a_bomb_takes_it(chaos: Chaos, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, parse_seconds=60)  # the clock is another defence
    corpus.add("bomb.pdf", bomb_pdf())
    found = corpus.violations(ingest_without_limit_of_memory)
    chaos.broken(
        21, HOSTILE_FILES, defence="the process that reads has a limit of memory", trials=1, violations=len(found),
        seen="; ".join(found),
    )  # fmt: skip


@pytest.mark.usefixtures("long_form")
def test_without_a_clock_it_takes_its_time(chaos: Chaos, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    corpus.add("nested.pdf", nested_forms_pdf())
    found = corpus.violations(ingest_without_clock)
    chaos.broken(
        21, HOSTILE_FILES, defence="who ingests keeps a clock", trials=1, violations=len(found), seen="; ".join(found)
    )


@pytest.mark.usefixtures("long_form")
def test_bad_requests_are_refused_and_the_others_answered(chaos: Chaos, request: pytest.FixtureRequest) -> None:
    product: Product = request.getfixturevalue("product")  # here: the short form need not start it
    flock: Flock = request.getfixturevalue("flock")
    flock.client.post("/v1/documents:batch", json={"documents": HANDBOOK}).raise_for_status()  # fields to ask for
    requests, times = list(bad_requests()), 20
    before = memory_bytes(product)
    for _ in range(times):
        for method, path, body, status in requests:
            check_problem(flock.client.request(method, path, content=body, headers=JSON), status)
        flock.check()
    grown = memory_bytes(product) - before
    chaos.kept(21, REQUESTS, trials=times * len(requests), violations=int(grown > MOST_OWN_BYTES))
    assert grown <= MOST_OWN_BYTES


def bad_requests() -> Iterator[tuple[str, str, bytes | str, int]]:
    """Method, path, body and the status that it must get."""
    for _, body, status in RAW:
        yield "POST", SEARCH, body, status
    for fields, status in FIELDS:
        yield "POST", SEARCH, json.dumps({"query": "x", **fields}), status
    for document, status in DOCUMENTS:
        yield "PUT", "/v1/documents/bad", json.dumps(document), status
    for name in IDS:
        yield "POST", "/v1/documents:batch", json.dumps({"documents": [{"id": name, "text": "x"}]}), 422
