"""Takes away what nobody needs any more. What that is, `kaizen.waste` decides; how it goes without harm is here.

A crash at any point loses nothing: the pointer of a shard goes first, then its files, and what is left is found again.
Of what documents were before they were replaced or deleted, the ledger forgets first, then the store. On a full disk
what is due and needs no room to go, goes before anything is written.
Whoever has mapped a file goes on reading it. A release that comes back meanwhile finds its index whole, or none, and
then builds it from the ledger.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kaizen.errors import Corrupt, NotFound, StorageFull
from kaizen.indexing.generation import GenerationStore
from kaizen.indexing.thinning import thin
from kaizen.steward.process import FOLDER as STEPS
from kaizen.steward.record import state_of
from kaizen.steward.state import LEARNING
from kaizen.storage.durable import disk_faults
from kaizen.storage.ledger import Ledger
from kaizen.waste import (
    Known,
    Needs,
    due,
    is_learnt,
    needed_datasets,
    needed_indices,
    needed_models,
    shards_of,
    unneeded,
)
from kaizen.workspace import Workspace

SEEN = "collection/seen"  # a pointer: what was found of no use, and since when
_HOUR = 3600.0
LOG_DAYS = 30  # of a step of the steward: a decision names the log of what failed, and somebody may ask weeks later
_CHECKPOINTS = "train"  # folder of the workspace in which runs of training lie
_LEAVING = ".leaving-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What went, or in a dry run what would go.

    Attributes:
        gone: names in the object store; `waiting`: those that go later, when they are still of no use then.
        rewritten: batches that had replaced or deleted documents, and others, which were written again.
        freed_bytes: of `gone`, as their manifests say.
        texts: of changes in the ledger, replaced or deleted since; `texts_waiting`: those that were too short ago.
        checkpoints: folders of runs of training that nobody went on with.
        logs: of steps that the steward ran long ago.
    """

    gone: tuple[str, ...]
    waiting: tuple[str, ...]
    rewritten: tuple[str, ...]
    freed_bytes: int
    texts: int
    texts_waiting: int
    idempotency_keys: int
    checkpoints: tuple[str, ...]
    logs: tuple[str, ...]


def collect(workspace: Workspace, now: float, *, dry_run: bool = False) -> Collected:
    """Look once, remember what is of no use, and take away what has been so for `collect.age_hours` or `batch_hours`.

    Of the batches that lost documents a look reads some, the next one goes on: see `kaizen.indexing.thinning`.

    Args:
        now: seconds since the epoch.

    Raises:
        Unavailable: ledger or object store do not answer.
        StorageFull: what went made too little room to remember what was found, or to empty texts. It is gone all the
            same.
    """
    wanted = workspace.settings.collect
    age, batch_age = (hours * _HOUR for hours in (wanted.age_hours, wanted.batch_hours))
    documents = workspace.ledger.documents
    names = workspace.store.list()
    thinning = thin(documents, workspace.store, before=now - age, rewrite_before=now - batch_age, dry_run=dry_run)
    needs = _needs(workspace, names, now - age)
    found = unneeded(names, replace(needs, batches=set(needs.batches) - set(thinning.free)), before=now - age)
    going, since = due(found, _seen(workspace), now=now, age=age, batch_age=batch_age)
    held = _held(names, going)
    sizes = {name: _size(workspace, files) for name, files in held.items()}
    remembered = dry_run or _remember(workspace, since)
    if not dry_run:
        going = _take_all(workspace, held, now - age)
    checkpoints = tuple(_checkpoints(workspace, now - age, dry_run=dry_run))
    logs = tuple(_logs(workspace, now - LOG_DAYS * 24 * _HOUR, dry_run=dry_run))
    if not remembered:
        workspace.store.write_pointer(SEEN, json.dumps(since))
    all_texts = documents.old_texts(float("inf"))  # asked before some of them go
    old_texts = _forget(documents.old_texts, documents.forget_texts, now - age, dry_run=dry_run)
    return Collected(
        gone=tuple(going),
        waiting=(*(name for name in since if name not in set(going)), *thinning.waiting),
        rewritten=thinning.rewritten,
        freed_bytes=sum(sizes[name] for name in going),
        texts=old_texts,
        texts_waiting=all_texts - old_texts,
        idempotency_keys=_forget(documents.old_keys, documents.forget_keys, now - age, dry_run=dry_run),
        checkpoints=checkpoints,
        logs=logs,
    )


def _needs(workspace: Workspace, names: Sequence[str], after: float) -> Needs:
    """Read after the store was listed: what is recorded in between is then known to be needed."""
    known = _known(workspace.ledger, after)
    indices = needed_indices(known)
    shards = [shard for shard in shards_of(names) if shard.split("/")[1] in indices]
    documents = workspace.ledger.documents
    return Needs(
        indices=indices,
        batches=documents.batches(),
        in_use={shard: GenerationStore(workspace.store, shard, documents).in_use() for shard in shards},
        learnt=needed_models(known) | needed_datasets(known),
        watched=known.rollout.releases,
        reports={one.report for one in known.candidates} | workspace.ledger.decisions.reports(),
    )


def _known(ledger: Ledger, after: float) -> Known:
    turn = ledger.turns.open()
    state = state_of(turn) if turn else None
    tried = {name for one in state.attempts for name in (one.release, one.parent)} if state else set()
    tried |= {state.stable, state.candidate} if state else set()
    return Known(
        rollout=ledger.rollout.state(),
        releases=ledger.releases.list(),
        candidates=ledger.candidates.list(),
        datasets=ledger.datasets.list(),
        tried=tried,
        material=state.material.dataset if state and state.material else "",
        after=after,
    )


def _indices(workspace: Workspace, after: float) -> frozenset[str]:
    return needed_indices(_known(workspace.ledger, after))


def _seen(workspace: Workspace) -> Mapping[str, float]:
    """What the last look left. When that is damaged, everything is seen for the first time."""
    try:
        text = workspace.store.read_pointer(SEEN)
    except Corrupt:
        return {}
    seen: Mapping[str, float] = json.loads(text) if text else {}
    return seen


def _remember(workspace: Workspace, since: Mapping[str, float]) -> bool:
    """Whether there was room for it. What is due was remembered by the looks before, and may go without."""
    try:
        workspace.store.write_pointer(SEEN, json.dumps(since))
    except StorageFull:
        return False
    return True


def _held(names: Sequence[str], going: Sequence[str]) -> dict[str, list[str]]:
    """What lies in the store of each that goes: itself, or everything of an index."""
    held: dict[str, list[str]] = {name: [] for name in going}
    for name in names:
        whole = name if name in held else "/".join(name.split("/")[:2])
        if whole in held:
            held[whole].append(name)
    return held


def _size(workspace: Workspace, names: Sequence[str]) -> int:
    size = 0
    for name in names:
        try:
            size += workspace.store.manifest(name).size_bytes
        except (Corrupt, NotFound):
            continue  # it goes all the same; nobody knows how much it was
    return size


def _take_all(workspace: Workspace, held: Mapping[str, Sequence[str]], after: float) -> list[str]:
    """Delete, unless somebody has come to need it since; return what went."""
    recorded = workspace.ledger.documents.batches()
    gone = []
    for name, files in held.items():
        if name.startswith("index/") and name.count("/") == 1:
            went = _take_index(workspace, name, files, after)
        elif is_learnt(name):
            went = _take_learnt(workspace, name, after)
        elif went := name not in recorded:
            workspace.store.delete(name)
        if went:
            gone.append(name)
    return gone


def _take_index(workspace: Workspace, index: str, names: Sequence[str], after: float) -> bool:
    """Pointers first: who starts from then on builds anew. A release that came back until then gets them back."""
    store = workspace.store
    pointers = {f"{shard}/CURRENT": _pointer(workspace, f"{shard}/CURRENT") for shard in shards_of(names)}
    if index.split("/")[1] in _indices(workspace, after):
        return False
    for name in pointers:
        store.delete(name)
    if index.split("/")[1] in _indices(workspace, after):
        for name, value in pointers.items():
            if value is not None and _pointer(workspace, name) is None:
                store.write_pointer(name, value)
        return False
    for name in names:
        store.delete(name)
    return True


def _take_learnt(workspace: Workspace, name: str, after: float) -> bool:
    """Not while a turn learns: a step that comes to the same once more finds it there, and names it a moment later."""
    turn = workspace.ledger.turns.open()
    if turn is not None and state_of(turn).phase in LEARNING:
        return False
    known = _known(workspace.ledger, after)
    if name in needed_models(known) | needed_datasets(known):
        return False
    workspace.store.delete(name)
    return True


def _pointer(workspace: Workspace, name: str) -> str | None:
    try:
        return workspace.store.read_pointer(name)
    except Corrupt:
        return None


def _forget(count: Callable[[float], int], forget: Callable[[float], int], before: float, *, dry_run: bool) -> int:
    return (count if dry_run else forget)(before)


def _checkpoints(workspace: Workspace, before: float, *, dry_run: bool) -> Iterator[str]:
    """Runs of training that were given up: no turn is open that may go on with them, and nothing moves in them."""
    folder = workspace.settings.workspace.directory / _CHECKPOINTS
    if not folder.is_dir() or workspace.ledger.turns.open() is not None:
        return
    for run in sorted(path for path in folder.iterdir() if path.is_dir() and _newest(path) < before):
        yield run.name
        if not dry_run:
            with disk_faults(f"the run of training {run.name!r}"):
                _remove(run)


def _logs(workspace: Workspace, before: float, *, dry_run: bool) -> Iterator[str]:
    folder = workspace.settings.workspace.directory / STEPS
    for log in sorted(path for path in folder.glob("*.log") if _newest(path) < before):
        yield log.name
        if not dry_run:
            with disk_faults(f"the log {log.name!r}"):
                log.unlink(missing_ok=True)


def _remove(run: Path) -> None:
    """Out of sight first: nobody must go on with half a run."""
    if not run.name.startswith(_LEAVING):
        run = run.rename(run.with_name(_LEAVING + run.name))
    shutil.rmtree(run)


def _newest(folder: Path) -> float:
    """When something in it was changed last; now is a good answer when it changes under our eyes."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return float("inf")
