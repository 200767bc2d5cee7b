"""Clients that search, ask, write, delete and judge over HTTP while something breaks, and the history of it all."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from kaizen.storage.ledger.pages import rows_between
from serve_apps.problems import MEDIA_TYPE
from tests.chaos.model import Final, Kind, Operation, Violation, check
from tests.product import Product, eventually

SHORT = 12  # digits of a fingerprint in a response
PROBE: Mapping[str, object] = {"mode": "lexical", "k": 5, "timeout_seconds": 10}
STAGES = ("retrieval", "prompt", "generator", "ranker")


@dataclass(slots=True)
class History:
    """Operations of all clients in the order in which they ended. Appended to by many threads."""

    operations: list[Operation] = field(default_factory=list)

    def of(self, *kinds: Kind) -> list[Operation]:
        """The operations of these kinds; without a kind, all."""
        return [operation for operation in list(self.operations) if not kinds or operation.kind in kinds]

    def failed(self) -> list[Operation]:
        """What did not succeed although the client tried twice, and was not as promised (`Operation.broken`)."""
        return [operation for operation in self.of() if operation.broken]

    def partial(self) -> list[Operation]:
        """Responses that lacked a shard."""
        return [operation for operation in self.of() if operation.status == 200 and operation.coverage < 1]

    def retried(self) -> list[Operation]:
        """What its first try did not do."""
        return [operation for operation in self.of() if operation.first_status != 200]

    def success(self) -> float:
        """Share of the operations that were done."""
        done = [operation.outcome == "acknowledged" for operation in self.of()]
        return sum(done) / len(done)

    def degraded(self) -> list[Operation]:
        """Searches of which something was replaced by something simpler. (Whether an answer is in its generator's words
        hangs on what that says, and how fast.)"""
        return [operation for operation in self.of("search") if operation.degraded]

    def noticed(self) -> list[Operation]:
        """What somebody noticed, be it only as a delay or a flag: nothing, where all is well."""
        odd = {id(each) for each in [*self.retried(), *self.partial(), *self.degraded()]}
        return [operation for operation in self.of() if id(operation) in odd]

    def wait_for_more(self, operations: int, *kinds: Kind) -> None:
        """Wait until so many more have ended."""
        enough = len(self.of(*kinds)) + operations
        eventually(lambda: len(self.of(*kinds)) >= enough, 90, "more traffic")

    def is_well(self, since: float) -> bool:
        """Whether twenty operations that were begun after `since` (time.monotonic) were done."""
        return sum(each.invoked > since and each.status == 200 for each in self.of()) >= 20

    def recovery_seconds(self, since: float) -> float:
        """From `since` to the end of the last response that was partial, tried twice or failed; 0: there was none."""
        troubled = [*self.partial(), *self.retried()]
        return max((operation.ended - since for operation in troubled), default=0.0)

    def check(self, final: Final | None = None, releases: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Fail when a promise was broken, or when there was too little traffic to tell."""
        assert len(self.operations) > 20, "too little traffic to tell anything"
        assert self.violations(final, releases) == []

    def violations(
        self, final: Final | None = None, releases: Mapping[str, Mapping[str, str]] | None = None
    ) -> list[Violation]:
        """See `model.check`."""
        return check(self.of(), final, releases)


@dataclass(frozen=True, slots=True)
class Client:
    """One caller's connection. Every method tries twice, records what came of it, and returns it.

    Attributes:
        retry_seconds: pause before the second try where nobody answered; after a 429 it is what Retry-After says.
    """

    http: httpx.Client
    history: History
    retry_seconds: float = 0.0
    explain: bool = False

    def search(self, query: str, fields: Mapping[str, object], document: str = "") -> Operation:
        """Search; `document`: whom it is looking for."""
        body = {"query": query, "explain": self.explain, **fields}
        min_seq = fields.get("min_seq", 0)
        return self._do("search", "POST", "/v1/search", body, _searched, document=document, min_seq=min_seq)

    def ask(self, question: str, fields: Mapping[str, object]) -> Operation:
        """Ask a question."""
        body = {"question": question, "explain": self.explain, **fields}
        return self._do("answer", "POST", "/v1/answer", body, _said_of_itself)

    def write(self, document: str, text: str, key: str, wait: str = "durable") -> Operation:
        """Store a document. The idempotency key keeps a first try that comes late from undoing anything."""
        path, headers = f"/v1/documents/{document}?wait_for={wait}", {"Idempotency-Key": key}
        return self._do("write", "PUT", path, {"text": text}, _changed, headers, document=document, text=text)

    def delete(self, document: str, wait: str = "durable") -> Operation:
        """Delete a document."""
        return self._do(
            "delete", "DELETE", f"/v1/documents/{document}?wait_for={wait}", None, _changed, document=document
        )

    def judge(self, impression: str, key: str) -> Operation:
        """Give a thumb."""
        body = {"impression_id": impression, "kind": "thumb", "value": 1, "idempotency_key": key}
        return self._do("feedback", "POST", "/v1/feedback", body, _judged, key=key)

    def _do(
        self,
        kind: Kind,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[dict[str, Any]], Mapping[str, Any]],
        headers: Mapping[str, str] | None = None,
        **known: Any,  # noqa: ANN401 (fields of Operation)
    ) -> Operation:
        invoked = time.monotonic()
        response = self._try(method, path, body, headers)
        first = 0 if response is None else response.status_code
        if response is None or first >= 500 or first == 429:
            threading.Event().wait(self.retry_seconds if response is None else _asked_to_wait(response))
            response = self._try(method, path, body, headers)
        status = 0 if response is None else response.status_code
        more: Mapping[str, Any] = {}
        if response is not None:
            more = read(response.json()) if status == 200 else _refused(response)
        operation = Operation(
            kind=kind, invoked=invoked, ended=time.monotonic(), status=status, first_status=first, **known, **more
        )
        self.history.operations.append(operation)
        return operation

    def _try(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> httpx.Response | None:
        try:
            return self.http.request(method, path, json=body, headers=headers)
        except httpx.TransportError:
            return None


def _refused(response: httpx.Response) -> dict[str, Any]:
    is_ours = response.headers.get("Content-Type", "").startswith(MEDIA_TYPE)
    return {"retry_after": response.headers.get("Retry-After", ""), "routed": is_ours}


def _asked_to_wait(response: httpx.Response) -> float:
    return float(response.headers.get("Retry-After", 0)) if response.status_code == 429 else 0.0


def _said_of_itself(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "release": body["release"],
        "fingerprints": body["fingerprints"] or {},
        "coverage": body["coverage"],
        "degraded": tuple(body["degraded"]),
        "seq": body["index_seq"],
        "impression": body["impression_id"],
    }


def _searched(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**_said_of_itself(body), "found": {hit["document_id"]: hit["text"] for hit in body["hits"]}}


def _changed(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"seq": body["seq"], "searchable": body["searchable"]}


def _judged(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"stored": body["feedback_id"]}


# ---------------------------------------------------------------------------------------------- traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Who is there: threads of each kind, and how they behave.

    Attributes:
        query, fields: of every search.
        question, asked: of every asker.
        pause_seconds: between two operations of a client.
        retry_seconds: see Client.
        explain: responses carry fingerprints, to be compared with the releases' records.
    """

    searchers: int = 3
    writers: int = 0
    askers: int = 0
    query: str = "anything"
    question: str = "What is there?"
    fields: Mapping[str, object] = field(default_factory=lambda: {"timeout_seconds": 5})
    asked: Mapping[str, object] = field(default_factory=lambda: {"timeout_seconds": 20})
    pause_seconds: float = 0.02
    retry_seconds: float = 0.0
    explain: bool = False


# Whose number is in all names and keys of a block: a key that comes again, of a block before, would change nothing.
_BLOCKS = itertools.count(1)


@contextmanager
def traffic(product: Product, key: str, mix: Mix) -> Iterator[History]:
    """Keep the clients of `mix` busy with `key` until the block ends."""
    history, ended, block = History(), threading.Event(), next(_BLOCKS)
    parts = [*[_search] * mix.searchers, *[_write] * mix.writers, *[_ask] * mix.askers]

    def run(number: int) -> None:
        with product.client(key, seconds=30) as http:
            client = Client(http, history, mix.retry_seconds, mix.explain)
            parts[number](client, mix, f"{block}-{number}", ended)

    with ThreadPoolExecutor(len(parts)) as pool:
        running = [pool.submit(run, number) for number in range(len(parts))]
        try:
            eventually(lambda: len(history.operations) >= 3 * len(parts), 60, "traffic flows")
            yield history
        finally:
            ended.set()
        for one in running:
            one.result()


def _search(client: Client, mix: Mix, name: str, ended: threading.Event) -> None:
    """Search; every tenth list gets a thumb."""
    for turn in itertools.count():
        if ended.wait(mix.pause_seconds):
            return
        found = client.search(mix.query, mix.fields)
        if turn % 10 == 0 and found.impression:
            client.judge(found.impression, f"{name}-{turn}")


def _ask(client: Client, mix: Mix, _: str, ended: threading.Event) -> None:
    while not ended.wait(mix.pause_seconds * 10):
        client.ask(mix.question, mix.asked)


def _write(client: Client, mix: Mix, name: str, ended: threading.Event) -> None:
    """Store, change and delete documents of its own, and look for each by a word that no other one holds."""
    chance = Random(name)  # noqa: S311 (no secret)
    for turn in itertools.count():
        if ended.wait(mix.pause_seconds):
            return
        _one_life(client, mix, f"w{name}-{turn}", chance)


def _one_life(client: Client, mix: Mix, name: str, chance: Random) -> None:
    """After an operation that nobody answered the document is left alone: what it did may show any time later."""
    word = spelt(name)
    for version in range(chance.choice((1, 1, 2))):
        text = f"The {mix.query} {word} of {cohort(name)} stands here {version}."
        wrote = client.write(name, text, f"{name}-{version}")
        if wrote.outcome != "acknowledged":
            return
    if chance.random() < 0.5:
        client.search(word, {**PROBE, "min_seq": wrote.seq}, name)
    if chance.random() < 0.4:
        gone = client.delete(name)
        if gone.outcome == "acknowledged" and gone.seq and chance.random() < 0.5:
            client.search(word, {**PROBE, "min_seq": gone.seq}, name)


def cohort(name: str) -> str:
    """One word for a hundred documents of one client: as many as a search shows with ease."""
    return spelt(f"k{name[:-2]}") if name[-2:].isdigit() else spelt(f"k{name.rpartition('-')[0]}-")


def spelt(name: str) -> str:
    """One word made of a name: digits and hyphens would be cut apart, and the end of an English word cut off."""
    signs = (chr(ord("a") + int(sign)) if sign.isdigit() else "x" if sign == "-" else sign for sign in name)
    return f"zq{''.join(signs)}q"


# ---------------------------------------------------------------------------------------------- the end


def final_state(product: Product, tenant: str, key: str, history: History) -> Final:
    """What complete searches at the ledger's head find of the documents that were written in `history`."""
    head = product.parts.ledger.documents.head()
    cohorts = sorted({cohort(operation.document) for operation in history.of("write")})
    with product.client(key) as http:
        found = [pair for word in cohorts for pair in all_with(http, word, head)]
    return Final(documents=found, feedback=_stored_feedback(product, tenant), impressions=_recorded(product))


def all_with(http: httpx.Client, word: str, head: int) -> list[tuple[str, str]]:
    """Id and text of everything that holds `word`, as a complete search finds it in an index that holds `head`."""
    body = {"query": word, "mode": "lexical", "k": 1000, "min_seq": head, "timeout_seconds": 30}

    def complete() -> dict[str, Any] | None:
        response = http.post("/v1/search", json=body)
        whole = response.status_code == 200 and response.json()["coverage"] == 1
        return response.json() if whole else None

    answer = eventually(complete, 90, "a complete search")
    return [(hit["document_id"], hit["text"]) for hit in (answer or {})["hits"]]


def _recorded(product: Product) -> set[str]:
    """Names of the impressions on record, also of those that killed gateways had shown."""
    product.wait_until_recorded()
    return {shown.id for _, shown in rows_between(product.parts.ledger.impressions.after)}


def _stored_feedback(product: Product, tenant: str) -> Counter[str]:
    given = rows_between(product.parts.ledger.feedback.after)
    return Counter(row.idempotency_key for _, row in given if row.tenant == tenant)


def recorded_releases(product: Product) -> dict[str, dict[str, str]]:
    """Release -> stage -> fingerprint, from the releases' records."""
    found = {}
    for release in product.parts.ledger.releases.list():
        parts = release.parts
        stages = {stage: parts[stage]["fingerprint"] for stage in STAGES if stage in parts}
        stages["query_encoder"] = parts.get("query_encoder", parts["embedder"])["fingerprint"]
        stages["index"] = parts["index"]["fingerprint"]
        found[release.id] = {stage: str(digits)[:SHORT] for stage, digits in stages.items()}
    return found
