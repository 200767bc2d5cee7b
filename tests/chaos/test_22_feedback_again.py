"""Row 22: feedback is sent again, by many at once and late. Under one key it counts once."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from unittest.mock import patch

import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.records import Feedback
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger import feedback as feedback_log
from tests.chaos.conftest import Chaos
from tests.unit.storage.examples import TENANT, feedback, impression

FAULT = "each feedback is sent eight times by sixteen threads, also after all others"
TIMES, THREADS = 8, 16


def counted(path: Path, chance: Random, kinds: int) -> int:
    """How many of `kinds` pieces of feedback, each sent again and again, are in the ledger at the end."""
    with Ledger.open(LedgerSettings(), f"sqlite:///{path}") as ledger:
        ledger.impressions.record(impression())
        sent = [feedback(f"fb_{number}", key=f"key-{number}") for number in range(kinds)]
        again = [
            dataclasses.replace(one, id=f"{one.id}_{time}", at=one.at + time) for one in sent for time in range(TIMES)
        ]
        chance.shuffle(again)
        with ThreadPoolExecutor(THREADS) as pool:
            answers = [stored for stored, _ in pool.map(ledger.feedback.record, again)]
        answers += [ledger.feedback.record(one)[0] for one in sent]  # late
        stored = ledger.feedback.of_impression(TENANT, "imp_1")
    named = {one.idempotency_key: one.id for one in stored if one.idempotency_key}
    assert all(
        named.get(one.idempotency_key, one.id) == one.id for one in answers
    )  # all are told of the one that counts
    return len(stored)


def test_it_counts_once(chaos: Chaos, tmp_path: Path) -> None:
    kinds = chaos.of(20, 500)
    count = counted(tmp_path / "ledger.sqlite", chaos.chance("feedback"), kinds)
    chaos.kept(22, FAULT, trials=kinds * (TIMES + 1), violations=count - kinds)
    assert count == kinds


def test_without_keys_it_counts_every_time(chaos: Chaos, tmp_path: Path) -> None:
    record = feedback_log._record

    def keyless(connection: sa.Connection, judgement: Feedback) -> tuple[Feedback, bool]:
        return record(connection, dataclasses.replace(judgement, idempotency_key=""))

    with patch.object(feedback_log, "_record", keyless):
        count = counted(tmp_path / "ledger.sqlite", chaos.chance("feedback"), 20)
    chaos.broken(
        22, FAULT, defence="idempotency keys of feedback", trials=20, violations=count - 20,
        seen=f"20 counted as {count}",
    )  # fmt: skip
