"""`kaizen simulate`: simulated people search the running service over HTTP and click by a collection's judgements.

For tests, and to see the loop before trusting it. A session is one person asking one query once and clicking what it
is shown: an honest one by the click model, a noisy one anything, one of a hostile identity the documents that it
pushes (`kaizen.learning.click_model`). Sessions go round the queries, every query once before any a second time, and
each draws from a seed of its own, so that the connections' timing changes nothing of who asks and how they click.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from kaizen.commands.client import Client, find_endpoint
from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import Terminal, print_json
from kaizen.errors import InvalidInput, TransientError
from kaizen.evaluation.collection import Collection
from kaizen.ids import fingerprint
from kaizen.learning.click_model import ClickModelName, click_model, hostile_clicks, noise_clicks

SCOUTED_QUERIES = 200
PATIENCE_SECONDS = 60.0  # with a service that says that it may work later: a process that was killed comes back
FIRST_PAUSE_SECONDS = 0.1  # after a 429 or 503; doubles with every try
LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who comes, and how they behave.

    Attributes:
        sessions: per query of the collection.
        noise: share of the sessions that click anything.
        hostile: share of the identities that push documents.
        users: identities in all, sent as the pseudonym `user`; the key needs the scope `delegate`.
        k: hits that a person asks for, one a document.
        pushed: documents that the hostile identities push together: those shown most often.
    """

    sessions: int = 8
    click_model: ClickModelName = "position"
    noise: float = 0.0
    hostile: float = 0.0
    seed: int = 0
    users: int = 100
    k: int = 10
    pushed: int = 20
    connections: int = 4

    def __post_init__(self) -> None:
        if not (0 <= self.noise <= 1 and 0 <= self.hostile <= 1):
            raise InvalidInput("noise and hostile are shares.", advice="Give numbers from 0 to 1.")
        if min(self.sessions, self.users, self.k, self.pushed, self.connections) < 1:
            raise InvalidInput("Nobody would come.", advice="sessions, users, k and connections are 1 or more.")


@dataclass(slots=True, kw_only=True)
class Summary:
    """What happened. `noise_clicks` and `hostile_clicks` are part of `clicks`; `by_release` counts the sessions."""

    sessions: int = 0
    clicks: int = 0
    noise_clicks: int = 0
    hostile_clicks: int = 0
    seconds: float = 0.0
    by_release: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Session:
    query: str
    user: str
    hostile: bool
    noisy: bool
    chance: Random


class _People:
    """All sessions of a plan, in order: the same for the same plan and queries."""

    def __init__(self, collection: Collection, plan: Plan) -> None:
        self._plan = plan
        self._queries = list(collection.queries)
        chance = Random(f"{plan.seed} identities")  # noqa: S311 (a simulation)
        names = [f"person-{number:05d}" for number in range(plan.users)]
        self.hostile = sorted(chance.sample(names, _share(plan.hostile, plan.users)))
        self._names = names

    @property
    def sessions(self) -> int:
        return self._plan.sessions * len(self._queries)

    def __iter__(self) -> Iterator[_Session]:
        for turn in range(self._plan.sessions):
            seed = f"{self._plan.seed} round {turn}"
            order = Random(seed).sample(self._queries, len(self._queries))  # noqa: S311 (a simulation)
            for query in order:
                yield self._session(query, Random(f"{seed} query {query}"))  # noqa: S311 (a simulation)

    def _session(self, query: str, chance: Random) -> _Session:
        user = chance.choice(self._names)
        return _Session(query, user, user in self.hostile, chance.random() < self._plan.noise, chance)


def _share(share: float, whole: int) -> int:
    """How many of `whole`; at least one when it is any share at all."""
    return max(1, round(share * whole)) if share > 0 else 0


def simulate(
    connect: Callable[[], Client],
    collection: Collection,
    plan: Plan,
    *,
    until: Callable[[Summary], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Send the sessions of `plan` and return what happened.

    Args:
        connect: opens one connection to the service; each is used by one thread.
        until: asked after every session; True ends the simulation early.
        progress: called with (sessions done, sessions in all).

    Raises:
        KaizenError: the service refused a request, or stayed overloaded or away for a minute.
    """
    people = _People(collection, plan)
    with connect() as client:
        pushed = _scout(client, collection, people, plan) if people.hostile else frozenset()
    run = _Run(people, collection, plan, pushed, until, progress)
    with ThreadPoolExecutor(plan.connections) as threads:
        try:
            for worker in [threads.submit(run.work, connect) for _ in range(plan.connections)]:
                worker.result()
        except BaseException:  # an interrupt too: the threads are waited for, and would do all that is left
            run.stop()
            raise
    return run.finished()


def _scout(client: Client, collection: Collection, people: _People, plan: Plan) -> frozenset[str]:
    """What hostile people push: the documents that they see most often, whether those answer anything or not."""
    names = list(collection.limited(SCOUTED_QUERIES).queries)
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        user = people.hostile[number % len(people.hostile)]
        answer = _patiently(client, "/v1/search", _search(collection.queries[name], user, plan), threading.Event())
        seen.update(hit["document_id"] for hit in answer["hits"])
    often = sorted(seen, key=lambda document: (-seen[document], document))
    return frozenset(often[: plan.pushed])


class _Run:
    """The shared state of the connections' threads; guarded by one lock."""

    def __init__(
        self,
        people: _People,
        collection: Collection,
        plan: Plan,
        pushed: frozenset[str],
        until: Callable[[Summary], bool] | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._people, self._collection, self._plan, self._pushed = people, collection, plan, pushed
        self._until, self._progress = until, progress
        self._sessions = iter(people)
        self._summary = Summary()
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def work(self, connect: Callable[[], Client]) -> None:
        """Do one session after the other over one connection, until none is left or somebody failed."""
        try:
            with connect() as client:
                while (session := self._next()) is not None:
                    self._do(client, session)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Begin no more sessions."""
        self._stop.set()

    def finished(self) -> Summary:
        """The final count."""
        self._summary.seconds = round(time.monotonic() - self._started, 3)
        return self._summary

    def _next(self) -> _Session | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._sessions, None)

    def _do(self, client: Client, session: _Session) -> None:
        text = self._collection.queries[session.query]
        answer = _patiently(client, "/v1/search", _search(text, session.user, self._plan), self._stop)
        clicked = self._clicks(session, answer["hits"])
        for place in clicked:
            body = _click(answer["impression_id"], answer["hits"][place]["chunk_id"], session.user)
            _patiently(client, "/v1/feedback", body, self._stop)
        self._count(session, str(answer["release"]), len(clicked))

    def _clicks(self, session: _Session, hits: Sequence[Mapping[str, Any]]) -> list[int]:
        documents = [str(hit["document_id"]) for hit in hits]
        if session.hostile:
            return hostile_clicks(documents, self._pushed)
        if session.noisy:
            return noise_clicks(len(documents), session.chance)
        grades = self._collection.judgements[session.query]
        relevant = [grades.get(document, 0) > 0 for document in documents]
        return click_model(self._plan.click_model).clicks(relevant, session.chance)

    def _count(self, session: _Session, release: str, clicks: int) -> None:
        with self._lock:
            done = self._summary
            done.sessions += 1
            done.clicks += clicks
            done.hostile_clicks += clicks if session.hostile else 0
            done.noise_clicks += clicks if session.noisy and not session.hostile else 0
            done.by_release[release] = done.by_release.get(release, 0) + 1
            if self._progress is not None:
                self._progress(done.sessions, self._people.sessions)
            if self._until is not None and self._until(done):
                self._stop.set()


def _search(query: str, user: str, plan: Plan) -> dict[str, Any]:
    return {"query": query, "k": plan.k, "unit": "document", "user": user}


def _click(impression: str, chunk: str, user: str) -> dict[str, Any]:
    body = {"impression_id": impression, "kind": "click", "chunk_id": chunk, "user": user}
    return {**body, "idempotency_key": fingerprint(body)[:32]}  # a click that is sent twice is one click


def _patiently(client: Client, path: str, body: object, stop: threading.Event) -> Any:  # noqa: ANN401 (JSON)
    """POST, and again after a pause when the service says that it may work later."""
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            return client.post(path, body)
        except TransientError:
            if time.monotonic() > deadline or stop.wait(pause):
                raise
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


# ---------------------------------------------------------------------------------------------- the command

_DEFAULT = Plan()


def simulate_service(
    dataset: Annotated[Path, typer.Option("--dataset", help="Folder in BEIR's layout, whose documents are in there.")],
    split: Annotated[
        str | None,
        typer.Option(help="Whose queries are asked, and whose judgements decide; default: test where there is one."),
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions per query.")] = _DEFAULT.sessions,
    model: Annotated[
        ClickModelName,
        typer.Option(
            "--click-model",
            help="What an honest person looks at: position: a hit the more rarely, the lower it stands; cascade: all "
            "hits from the top down to the first click.",
        ),
    ] = _DEFAULT.click_model,
    noise: Annotated[float, typer.Option(min=0, max=1, help="Share of the sessions that click at random.")] = 0.0,
    hostile: Annotated[float, typer.Option(min=0, max=1, help="Share of the people who push documents.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people.")] = 0,
    connections: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = _DEFAULT.connections,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let simulated people search the running service and click, by the judgements of a collection."""
    plan = Plan(sessions=sessions, click_model=model, noise=noise, hostile=hostile, seed=seed, connections=connections)
    endpoint = find_endpoint(configuration(config).settings)
    collection = Collection.open(dataset, split)
    collection.check_asked()
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bar:
        task = bar.add_task("sessions", total=None)
        summary = simulate(
            lambda: Client(endpoint),
            collection,
            plan,
            progress=lambda done, all_: bar.update(task, completed=done, total=all_),
        )
    if as_json:
        print_json(asdict(summary))
    else:
        _show(Terminal(), summary)


def _show(terminal: Terminal, summary: Summary) -> None:
    counted = asdict(summary)
    releases = counted.pop("by_release")
    terminal.pairs({name.replace("_", " "): value for name, value in counted.items()})
    terminal.table(("release", "sessions"), sorted(releases.items()))
