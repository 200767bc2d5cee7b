"""The trusted set by command, and a decision that is computed again from the ledger's rows."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.people import Habits, Traffic
from kaizen.cli import main
from kaizen.config import LedgerSettings
from kaizen.evaluation.online import RULES, Bounds, Outcome, decide
from kaizen.evaluation.replay import advance, evidence, open_test
from kaizen.records import Document, Feedback, Impression, Release, Rollout
from kaizen.rollout import begin
from kaizen.storage.ledger import Ledger


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "kaizen.toml"
    path.write_text(f'[workspace]\ndirectory = "{tmp_path}/w"\n')
    return path


@pytest.fixture
def ledger(config: Path) -> Ledger:
    (config.parent / "w").mkdir()
    return Ledger.open(LedgerSettings(), f"sqlite:///{config.parent}/w/ledger.sqlite")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Any, int]:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--json"])
    out = capsys.readouterr()
    return json.loads(out.out or out.err), int(ended.value.code or 0)


def test_trusted_judgements_come_from_a_file_or_a_folder_and_go(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [{"query": "Why?", "document_id": "a", "grade": 1}, {"query": "why", "document_id": "b", "grade": 0}]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir/corpus.jsonl").write_text('{"_id": "d", "text": "x"}\n')
    (tmp_path / "beir/queries.jsonl").write_text('{"_id": "q", "text": "how"}\n')
    (tmp_path / "beir/qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t2\n")
    added, _ = run(capsys, "trusted", "add", tmp_path / "own.jsonl", "--config", config)
    absent = {"missing_documents": 2, "missing_example": "a", "queries_left_out": 1}
    assert added == {"tenant": "default", "judgements": 2, "queries": 1, **absent}, "documents may come later"
    added, _ = run(capsys, "trusted", "add", tmp_path / "beir", "--tenant", "t", "--config", config)
    assert (added["tenant"], added["judgements"], added["queries"]) == ("t", 1, 1)
    listed, _ = run(capsys, "trusted", "list", "--config", config)
    assert [one["judgements"] for one in listed["trusted"]] == [2, 1]
    gone, _ = run(capsys, "trusted", "clear", "--tenant", "t", "--config", config)
    assert gone == {"tenant": "t", "deleted": 1}
    told, _ = run(capsys, "decisions", "list", "--config", config)
    assert [(one["kind"], one["by"], one["evidence"].get("source")) for one in reversed(told["decisions"])] == [
        ("trusted_add", "command", str(tmp_path / "own.jsonl")),
        ("trusted_add", "command", str(tmp_path / "beir")),
        ("trusted_clear", "command", None),
    ]


def test_judgements_on_documents_that_are_not_there_are_counted_and_refused_where_it_is_all_of_them(
    ledger: Ledger, config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ledger.documents.upsert(Document(tenant="default", id="handbook/leave.md", title="", text="x"))
    source = tmp_path / "own.jsonl"

    def add(*documents: str, tenant: str = "default") -> tuple[Any, int]:
        lines = [{"query": name, "document_id": name, "grade": 1} for name in documents]
        source.write_text("\n".join(map(json.dumps, lines)))
        return run(capsys, "trusted", "add", source, "--tenant", tenant, "--config", config)

    told, code = add("leave", "pay")
    assert (told["error"]["code"], code) == ("invalid-input", 1)
    assert "ids like 'leave'" in told["error"]["message"]
    assert "'default' has ids like 'handbook/leave.md'" in told["error"]["message"]
    told, code = add("handbook/leave.md", tenant="defualt")
    assert "'defualt' has no documents, and others have" in told["error"]["message"]
    assert ledger.judgements.all() == []
    told, code = add("handbook/leave.md", "leave", "pay")
    absent = {"missing_documents": 2, "missing_example": "leave", "queries_left_out": 2}
    assert (told, code) == ({"tenant": "default", "judgements": 3, "queries": 3, **absent}, 0)
    listed, _ = run(capsys, "trusted", "list", "--config", config)
    assert listed == {"trusted": [told]}


@pytest.mark.parametrize("line", ["{", "[]", '{"query": "q", "document_id": "d"}', '{"query": "q", "grad": 1}',
                                  '{"query": "q", "document_id": "d", "grade": -1}',
                                  '{"query": 1, "document_id": "d", "grade": 1}'])  # fmt: skip
def test_a_line_that_is_no_judgement_is_named(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str
) -> None:
    (tmp_path / "bad.jsonl").write_text("\n" + line)
    told, code = run(capsys, "trusted", "add", tmp_path / "bad.jsonl", "--config", config)
    assert (told["error"]["code"], code) == ("invalid-input", 1)
    assert told["error"]["message"].startswith("bad.jsonl:2")


def test_any_text_editor_may_have_written_judgements(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [{"query": f"what{end}now", "document_id": "d", "grade": 1} for end in ("\u2028", "\x85", "\x1c")]
    text = "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "own.jsonl").write_bytes(text.encode("utf-8-sig"))
    added, _ = run(capsys, "trusted", "add", tmp_path / "own.jsonl", "--config", config)
    assert added["judgements"] == 3
    (tmp_path / "own.jsonl").write_bytes(b"\n" + text.replace("what", "caf\u00e9").encode("latin-1", "ignore"))
    told, code = run(capsys, "trusted", "add", tmp_path / "own.jsonl", "--config", config)
    assert (told["error"]["message"], code) == ("own.jsonl:2 is not UTF-8.", 1)


@pytest.mark.parametrize("part", ["retrieval", "prompt"])
def test_a_decision_comes_out_the_same_and_a_changed_one_does_not(
    ledger: Ledger, config: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    outcome, kept = decided(ledger, part)
    assert outcome.action == "promote"
    assert kept["online_test"]["written"] is (part == "prompt")
    seq = ledger.decisions.record(by="steward", kind="promote", reason=outcome.reason, evidence=kept)
    told, code = run(capsys, "decisions", "replay", seq, "--config", config)
    assert (told["same"], told["outcome"], code) == (True, asdict(outcome), 0)
    kept["online_test"]["feedback_seq"] -= 5
    changed = ledger.decisions.record(by="steward", kind="promote", reason="", evidence=kept)
    told, code = run(capsys, "decisions", "replay", changed, "--config", config)
    assert (told["same"], told["state"], code) == (False, "otherwise", 1)
    other = ledger.decisions.record(by="steward", kind="start", reason="", evidence={})
    told, code = run(capsys, "decisions", "replay", other, "--config", config)
    assert (told["error"]["code"], code) == ("invalid-input", 1)


@pytest.mark.parametrize(("rules", "named"), [(None, 1), (1, 1), (RULES + 1, RULES + 1)])
def test_a_decision_of_other_rules_is_told_apart_and_stands_while_the_action_is_the_same(
    ledger: Ledger, config: Path, capsys: pytest.CaptureFixture[str], rules: int | None, named: int
) -> None:
    outcome, kept = decided(ledger, "retrieval")
    assert kept["online_test"]["rules"] == RULES
    kept["online_test"]["rules"] = rules
    if rules is None:
        del kept["online_test"]["rules"]

    def replayed(**others: object) -> tuple[Any, int]:
        changed = {"online_test": kept["online_test"] | {"outcome": asdict(outcome) | others}}
        seq = ledger.decisions.record(by="steward", kind="promote", reason="", evidence=changed)
        return run(capsys, "decisions", "replay", seq, "--config", config)

    told, code = replayed()
    assert (told["state"], told["rules"], code) == ("same", {"made_by": named, "now": RULES}, 0)
    told, code = replayed(figures={})
    assert (told["state"], told["same"], told["differs"], code) == ("other-rules", False, ["figures"], 0)
    told, code = replayed(figures={}, code="reward")
    assert (told["state"], told["differs"], code) == ("other-rules", ["code", "figures"], 0)
    told, code = replayed(action="rollback")
    assert (told["state"], told["differs"], code) == ("other-rules", ["action"], 1)
    with pytest.raises(SystemExit):
        main(["decisions", "replay", str(told["seq"]), "--config", str(config)])
    words = " ".join(capsys.readouterr().out.split())
    assert f"made by other rules ({named}; these are {RULES}): not the same action." in words


def test_a_decision_of_before_answers_were_compared_comes_out_the_same(
    ledger: Ledger, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(Release, "writes_as", lambda *_: True)
        outcome, kept = decided(ledger, "prompt")
    del kept["online_test"]["written"]
    seq = ledger.decisions.record(by="steward", kind="promote", reason=outcome.reason, evidence=kept)
    told, code = run(capsys, "decisions", "replay", seq, "--config", config)
    assert (told["same"], told["outcome"], code) == (True, asdict(outcome), 0)


def decided(ledger: Ledger, part: str) -> tuple[Outcome, dict[str, Any]]:
    """A rollout with its traffic in the ledger, before it and under it, and what it came to."""
    stable, challenger = (ledger.releases.record({part: {"fingerprint": str(n)}}, parent=None).id for n in range(2))
    ledger.rollout.change(Rollout(version=0, stable=stable), by="t", kind="x", reason="")
    traffic = Traffic(1)
    write(ledger, stable, challenger, *traffic.rows(30, "off", Habits(), Habits()))
    rollout = begin(ledger.rollout.state(), challenger, "interleave", 1.0)
    rollout = ledger.rollout.change(rollout, by="t", kind="begin", reason="")
    test = open_test(ledger, rollout)
    write(ledger, stable, challenger, *traffic.rows(80, "interleave", Habits(good_first=0), Habits(good_first=1)))
    test = advance(ledger, test)
    bounds = Bounds()
    return decide(test, bounds), evidence(test, decide(test, bounds), bounds)


def write(
    ledger: Ledger, stable: str, challenger: str, impressions: list[tuple[int, Impression]],
    feedback: list[tuple[int, Feedback]],
) -> None:  # fmt: skip
    for _, made in impressions:
        kept = asdict(made) | {"shown": made.shown, "release": challenger if made.arm == "challenger" else stable}
        ledger.impressions.submit_record(Impression(**kept))
    waiting = [ledger.feedback.submit_record(judgement) for _, judgement in feedback]
    for one in waiting:
        one.result()


def test_a_click_that_is_repeated_for_ever_hides_nothing_that_people_liked_before(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stable, challenger = (ledger.releases.record({"retrieval": {"fingerprint": str(n)}}).id for n in range(2))
    ledger.rollout.change(Rollout(version=0, stable=stable), by="t", kind="x", reason="")
    impressions, clicks = Traffic(1).rows(80, "off", Habits(), Habits())
    levels = []
    for repeats in (0, 200):
        flood = [(n, replace(clicks[0][1], id=f"flood_{n}")) for n in range(repeats)]
        write(ledger, stable, challenger, [] if repeats else impressions, flood or clicks)
        rollout = replace(ledger.rollout.state(), previous=stable)
        rollout = ledger.rollout.change(rollout, by="t", kind="x", reason="")
        with monkeypatch.context() as short:
            short.setattr("kaizen.evaluation.replay._REFERENCE_ROWS", 80)
            levels.append(open_test(ledger, rollout).reference)
    assert levels[0] == levels[1]
    assert levels[0].reward[0] > 0.3
