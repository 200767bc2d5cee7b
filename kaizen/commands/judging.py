"""`kaizen judge`, `candidates`, `trusted`, `decisions`: what proves a release better, and why it was done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaizen.commands.jobs import become
from kaizen.commands.ledger import opened, when
from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import Terminal, print_json
from kaizen.errors import InvalidInput, NotFound
from kaizen.evaluation.lines import numbered_lines

if TYPE_CHECKING:
    from kaizen.evaluation.replay import Replayed
    from kaizen.evaluation.trusted import Trusted
    from kaizen.records import Judgement
    from kaizen.storage.ledger import Ledger

trusted = typer.Typer(
    help="Judgements that feedback can never touch: from 30 queries on, what decides on candidates.",
    no_args_is_help=True,
)
decisions = typer.Typer(help="Why releases were promoted, stopped and taken back.", no_args_is_help=True)
TenantOption = Annotated[str, typer.Option(help="Default: the tenant of the configuration.")]
_FIELDS = {"query", "document_id", "grade"}
_COLUMNS = ("tenant", "queries", "judgements", "missing_documents", "missing_example", "queries_left_out")


def judge(context: typer.Context) -> None:
    """Judge a candidate against the stable release. `kaizen judge --help` lists the options."""
    become("jobs.judge", context.args)


def candidates(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the releases that were learnt, the newest first, with their verdicts."""
    with opened(configuration(config).settings) as ledger:
        found = ledger.candidates.list()
    if as_json:
        print_json({"candidates": [asdict(one) for one in found]})
        return
    rows = [[one.release, one.rung, when(one.at), _cost(one.record), one.verdict or "", one.reason] for one in found]
    Terminal().table(["release", "rung", "learnt", "CPU s", "verdict", "reason"], rows)


@trusted.command("add")
def add_trusted(
    source: Annotated[Path, typer.Argument(help="A folder in BEIR's layout, or a .jsonl of judgements.")],
    split: Annotated[str | None, typer.Option(help="Of the folder; default: test where there is one.")] = None,
    tenant: TenantOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add judgements. A line of a .jsonl is {"query": .., "document_id": .., "grade": 0..}, "query_id" if you like.

    Says how many of the judged documents there are none of; refuses when that is all of them, unless nothing has been
    taken in yet.
    """
    from kaizen.evaluation.trusted import trusted_with_documents, words_on_left_out

    settings = configuration(config).settings
    tenant = tenant or settings.workspace.tenant
    judgements = read_judgements(source, split, tenant)
    with opened(settings, create=True) as ledger:
        found = trusted_with_documents(judgements, ledger)
        _refuse_other_ids(found, tenant, ledger)
        ledger.judgements.put_many(judgements, source=str(source))
    _tell({"tenant": tenant, **_counts(judgements, found, tenant)}, as_json)
    if found.left_out and not as_json:
        Terminal().line(words_on_left_out(found.left_out), style="yellow")


@trusted.command("list")
def list_trusted(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show how many queries and judgements each tenant has.

    And how many judged documents it does not have, and queries that are left out because they have no other.
    """
    from kaizen.evaluation.trusted import trusted_with_documents

    own: dict[str, list[Judgement]] = {}
    with opened(configuration(config).settings) as ledger:
        for one in ledger.judgements.all():
            own.setdefault(one.tenant, []).append(one)
        counts = [{"tenant": t, **_counts(some, trusted_with_documents(some, ledger), t)} for t, some in own.items()]
    if as_json:
        print_json({"trusted": counts})
        return
    Terminal().table([name.replace("_", " ") for name in _COLUMNS], [list(count.values()) for count in counts])


@trusted.command("clear")
def clear_trusted(tenant: TenantOption = "", config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Delete all judgements of a tenant."""
    settings = configuration(config).settings
    tenant = tenant or settings.workspace.tenant
    with opened(settings) as ledger:
        gone = ledger.judgements.clear(tenant)
    _tell({"tenant": tenant, "deleted": gone}, as_json)


@decisions.command("list")
def list_decisions(
    limit: Annotated[int, typer.Option(min=1, help="Most that are shown.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the decisions, the newest first."""
    with opened(configuration(config).settings) as ledger:
        found = ledger.decisions.newest(limit)
    if as_json:
        print_json({"decisions": [asdict(one) for one in found]})
        return
    rows = [[one.seq, when(one.at), one.by, one.kind, one.release, one.reason] for one in found]
    Terminal().table(["seq", "when", "by", "decided", "release", "reason"], rows)


@decisions.command("replay")
def replay_decision(
    seq: Annotated[int, typer.Argument(min=1, help="Number of the decision; see `kaizen decisions list`.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute a decision of an online test again from the ledger's rows; exits with 1 when it comes out otherwise.

    One that was made by the rules of another version may have other figures: then with 1 when the action is another.
    """
    from kaizen.evaluation.online import RULES
    from kaizen.evaluation.replay import replay

    with opened(configuration(config).settings) as ledger:
        again = replay(ledger, seq)
    outcome = asdict(again.outcome)
    if as_json:
        rules = {"made_by": again.rules, "now": RULES}
        print_json(
            {"seq": seq, "kind": again.decision.kind, "same": again.same, "state": again.state, "rules": rules,
             "differs": again.differs, "outcome": outcome}
        )  # fmt: skip
    else:
        terminal = Terminal()
        terminal.line(f"{again.decision.kind} of {again.decision.release}: {again.decision.reason}")
        terminal.line(f"again: {again.outcome.action} ({again.outcome.code}): {again.outcome.reason}")
        terminal.line(_comes_out(again, RULES))
    raise typer.Exit(0 if again.stands else 1)


def read_judgements(source: Path, split: str | None, tenant: str) -> list[Judgement]:
    """Return the judgements in a BEIR folder or a .jsonl.

    Raises:
        NotFound: there is nothing at `source`, or no such split. InvalidInput: a line cannot be read; it is named.
    """
    if source.is_dir():
        return _of_collection(source, split, tenant)
    if not source.is_file():
        raise NotFound(f"There is nothing at {source}.", advice="Name a folder in BEIR's layout, or a .jsonl file.")
    return [_of_line(line, f"{source.name}:{number}", tenant) for number, line in numbered_lines(source)]


def _of_collection(folder: Path, split: str | None, tenant: str) -> list[Judgement]:
    from kaizen.evaluation.collection import Collection
    from kaizen.records import Judgement

    collection = Collection.open(folder, split)
    return [
        Judgement(tenant=tenant, query_id=name, query=collection.queries[name], document_id=document, grade=grade)
        for name, grades in collection.judgements.items()
        for document, grade in grades.items()
    ]


def _of_line(line: str, where: str, tenant: str) -> Judgement:
    from kaizen.learning.splits import query_id
    from kaizen.records import Judgement

    try:
        told: Any = json.loads(line)
    except ValueError:
        told = None
    known = isinstance(told, dict) and _FIELDS <= told.keys() <= {*_FIELDS, "query_id"}
    texts = known and all(isinstance(told.get(name, ""), str) for name in ("query", "document_id", "query_id"))
    if not texts or not isinstance(told["grade"], int) or isinstance(told["grade"], bool) or told["grade"] < 0:
        raise InvalidInput(
            f"{where} is no judgement.", advice='Write {"query": "..", "document_id": "..", "grade": 1} on each line.'
        )
    name = told.get("query_id") or query_id(tenant, told["query"])
    return Judgement(
        tenant=tenant, query_id=name, query=told["query"], document_id=told["document_id"], grade=told["grade"]
    )


def _counts(judgements: Sequence[Judgement], found: Trusted, tenant: str) -> dict[str, object]:
    """What is told of a tenant's judgements; in the order of _COLUMNS."""
    missing = found.missing.get(tenant, ())
    return {
        "queries": len({(one.tenant, one.query_id) for one in judgements}),
        "judgements": len(judgements),
        "missing_documents": len(missing),
        "missing_example": missing[0] if missing else "",
        "queries_left_out": found.left_out,
    }


def _refuse_other_ids(found: Trusted, tenant: str, ledger: Ledger) -> None:
    """Documents may well come after their judgements; but where some are there and none is judged, the ids are others.

    Then everything is left out until somebody wonders why no candidate is ever judged by the trusted set.
    """
    missing = found.missing.get(tenant, ())
    if not missing or len(missing) < found.documents or not ledger.documents.total():
        return
    first = ledger.documents.first_id(tenant)
    has = f"has ids like {first!r}" if first is not None else "has no documents, and others have"
    raise InvalidInput(
        f"None of the {len(missing)} judged documents is there: the file has ids like {missing[0]!r}, "
        f"tenant {tenant!r} {has}.",
        advice="Write the documents' ids as hits show them (`kaizen search --json`), or name the --tenant they are of.",
    )


def _comes_out(again: Replayed, rules: int) -> str:
    if again.state != "other-rules":
        return "It comes out the same." if again.same else f"It comes out otherwise: {', '.join(again.differs)}."
    others = [name for name in ("action", "code") if name in again.differs]
    told = f"not the same {' and '.join(others)}" if others else "action and code are the same"
    return f"It was made by other rules ({again.rules}; these are {rules}): {told}."


def _cost(record: Any) -> str:  # noqa: ANN401 (JSON)
    return str(record.get("cost", {}).get("cpu_s", ""))


def _tell(counts: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        Terminal().pairs(counts)
