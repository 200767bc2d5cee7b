"""Trusted judgements on documents that are not there decide nothing, and are counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import judge
from kaizen.config import LedgerSettings
from kaizen.errors import InvalidInput
from kaizen.evaluation.trusted import trusted_with_documents
from kaizen.evaluation.verdict import VerdictBounds
from kaizen.offline import OfflineIndex
from kaizen.records import Document, Judgement
from kaizen.retrieval.view import View
from kaizen.storage.ledger import Ledger
from kaizen.storage.local_store import LocalStore
from tune.judged import Judgements, judgements_for
from tune.kept import Kept
from tune.sweep import _judged


@pytest.fixture
def ledger(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Ledger]:
    shutil.copy(migrated_sqlite, tmp_path / "ledger.sqlite")
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        opened.documents.upsert(Document(tenant="t", id="d", title="", text="x"))
        yield opened


def on(query: str, *documents: str, tenant: str = "t", grade: int = 1) -> list[Judgement]:
    return [
        Judgement(tenant=tenant, query_id=query, query=f"text of {query}", document_id=name, grade=grade)
        for name in documents
    ]


def trust(ledger: Ledger, there: int, gone: int) -> None:
    """So many queries whose document is there, and so many whose document is not."""
    ledger.judgements.put_many(
        [one for n in range(there + gone) for one in on(f"q{n}", "d" if n < there else f"gone{n}")]
    )


def test_a_query_counts_while_one_of_its_relevant_documents_is_there(ledger: Ledger) -> None:
    kept = [*on("some", "d", "gone"), *on("irrelevant", "gone", grade=0)]
    others = [*on("none", "gone"), *on("none", "d", grade=0), *on("some", "d", tenant="other")]
    found = trusted_with_documents([*kept, *others], ledger)
    assert found.judgements == kept
    assert (found.left_out, found.documents) == (2, 3)
    assert found.missing == {"t": ["gone"], "other": ["d"]}


def known(ledger: Ledger) -> Judgements:
    workspace, base = SimpleNamespace(ledger=ledger), SimpleNamespace(parts={}, parent=None)
    return judgements_for(workspace, base, None, trains=False)  # type: ignore[arg-type]


INDEX = OfflineIndex({0: View(1, ())}, 1, ())


def test_a_sweep_chooses_by_queries_whose_documents_are_there(ledger: Ledger) -> None:
    trust(ledger, there=10, gone=90)
    few = known(ledger)
    with pytest.raises(InvalidInput, match=r"'trusted': 10.*90 trusted queries are left out"):
        few.judged(INDEX, few.without_documents(ledger))
    trust(ledger, there=90, gone=10)
    many = known(ledger)
    found = many.judged(INDEX, many.without_documents(ledger))
    assert (found.source, len(found.validation) + len(found.test), len(found.left_out)) == ("trusted", 90, 10)


def test_a_sweep_goes_on_with_the_same_queries_when_a_document_comes_or_goes(ledger: Ledger, tmp_path: Path) -> None:
    trust(ledger, there=90, gone=10)
    workspace: Any = SimpleNamespace(ledger=ledger)
    plan: Any = SimpleNamespace(kept=Kept(store=LocalStore(tmp_path / "objects"), name="mine"))
    before = known(ledger)
    begun = _judged(workspace, plan, before, INDEX)
    plan.kept.begin({}, begun.left_out)
    ledger.documents.upsert(Document(tenant="t", id="gone95", title="", text="x", groups=("staff",)))
    ledger.documents.delete("t", "d")
    after = known(ledger)
    assert len(after.without_documents(ledger)) == 99
    assert after.fingerprint == before.fingerprint, "it has the same name"
    assert _judged(workspace, plan, after, INDEX) == begun
    ledger.judgements.put_many(on("q1", "d", grade=2))
    assert known(ledger).fingerprint != before.fingerprint


def test_a_candidate_is_judged_on_queries_whose_documents_are_there(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(ledger, there=2, gone=30)
    side = SimpleNamespace(index=OfflineIndex({0: View(1, ())}, 1, ()))
    monkeypatch.setattr(judge, "check_integrity", lambda *_: [])
    monkeypatch.setattr(judge, "Side", SimpleNamespace(open=lambda *_, **__: side))
    monkeypatch.setattr(judge, "compare_speed", lambda *_: None)
    monkeypatch.setattr(judge, "_probes", lambda *_: [])
    monkeypatch.setattr(judge, "_compared", lambda _stable, _candidate, asked: asked)
    workspace: Any = SimpleNamespace(ledger=ledger)
    case: Any = SimpleNamespace(candidate=None, stable=None, dataset=None, cpu_s=1.0, answers_change=False)
    evidence, _ = judge._evidence(workspace, case, VerdictBounds())
    asked: Any = evidence.trusted
    assert sorted(asked) == ["t/q0", "t/q1"]
    assert evidence.left_out == 30
