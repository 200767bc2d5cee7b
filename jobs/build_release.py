"""Make and record the release that the configuration describes, and put it in service unless a better one came of it.

    python -m jobs.build_release [--config FILE] [--json]

Exports the embedder to ONNX once (checked against torch), puts it into the object store, records the release with a
fingerprint for each part, and makes it the stable one. A configuration that changed since then gives a new release;
the same one gives the same release again. When the stable release was learnt from the one that is configured, it stays:
a restart must not undo what was learnt. Nor does it undo a decision: a configured release that was rolled back, or had
another promoted in its place, stays out of service until somebody promotes it or the configuration changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from kaizen.answering.prompt import prompt_record
from kaizen.config import Settings
from kaizen.errors import Conflict
from kaizen.job import configured_workspace, job_parser, print_result, run_job
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.generator_spec import generator_record
from kaizen.models.onnx_cache import ensure_onnx, user_cache
from kaizen.records import Decision, Release
from kaizen.release import Part, release_parts
from kaizen.rollout import promote, taken_back
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.decisions import COMMAND
from kaizen.storage.object_store import ObjectStore, holds
from kaizen.workspace import Workspace

TRIES = 5  # each failed one means that somebody else got through


@dataclass(frozen=True, slots=True)
class Placed:
    """What came of putting a configuration in service.

    `stable` serves now: the configured release, or one that was learnt from it, or another one. Then `withheld` says in
    a line why, and what to do; otherwise it is empty.
    """

    stable: Release
    withheld: str = ""


def build_release(workspace: Workspace) -> Release:
    """Record the release of `workspace.settings`, put it in service as `put_in_service` does, and return the one that
    is stable then. Raises KaizenError."""
    return _configure(workspace).stable


def _configure(workspace: Workspace) -> Placed:
    settings = workspace.settings
    parts = release_parts(
        settings,
        embedder=embedder_part(workspace.store, settings),
        prompt=prompt_record(settings.answering),
        generator=generator_record(settings.generator),
    )
    return put_in_service(workspace.ledger, parts)


def put_in_service(ledger: Ledger, parts: Mapping[str, Part]) -> Placed:
    """Make the release of these parts stable, unless the stable one was learnt from it, or it was taken back.

    Raises Conflict when others change the rollout each time.
    """
    configured = ledger.releases.record(parts)  # it has no parent: nothing was learnt to make it
    for _ in range(TRIES - 1):
        with suppress(Conflict):  # of two commands that want the same, one is late and finds it done at its next look
            return _put_in_service(ledger, configured)
    return _put_in_service(ledger, configured)


def _put_in_service(ledger: Ledger, configured: Release) -> Placed:
    state = ledger.rollout.state()
    if state.stable is not None:
        parents = {release.id: release.parent for release in ledger.releases.list()}
        stable = ledger.releases.get(state.stable)
        if configured.id in _line(parents, stable.id):
            return Placed(stable)
        decision = taken_back(ledger.decisions.switches(), lambda name: configured.id in _line(parents, name))
        if decision is not None:
            return Placed(stable, _withheld(configured, decision, stable))
    reason = "The configuration changed." if state.stable else "The first release."
    ledger.rollout.change(promote(state, configured.id), by=COMMAND, kind="configure", reason=reason)
    return Placed(configured)


def _line(parents: Mapping[str, str | None], release_id: str) -> Iterator[str]:
    """A release, what it was learnt from, and so on."""
    name: str | None = release_id
    while name is not None:
        yield name
        name = parents[name]


def _withheld(configured: Release, decision: Decision, stable: Release) -> str:
    at = datetime.fromtimestamp(decision.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return (
        f"The configured release {configured.id} was taken back on {at} by {decision.by} ({decision.kind}), and "
        f"{stable.id} serves. To put it in service all the same: kaizen rollout promote {configured.id}"
    )


def embedder_part(store: ObjectStore, settings: Settings) -> Part:
    """The embedder's record with its artifact, exported on first use."""
    spec = read_spec(settings.embedder.model)
    artifact = f"models/embedder-{spec.fingerprint[:12]}"
    if not holds(store, artifact):
        _export(store, spec, artifact)
    return {**spec.record(), "artifact": artifact}


def _export(store: ObjectStore, spec: EmbedderSpec, artifact: str) -> None:
    store.put_directory(artifact, ensure_onnx(spec, user_cache() / "onnx"))


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    return run_job(_build, job_parser("jobs.build_release", __doc__).parse_args(arguments))


def _build(options: argparse.Namespace) -> None:
    placed = _configure(configured_workspace(options))
    release = placed.stable
    if options.json:
        print_result(
            {
                "release": release.id,
                "fingerprint": release.fingerprint,
                "parent": release.parent,
                "withheld": placed.withheld,
            }
        )
        return
    sys.stdout.write(f"release {release.id} is in service\n")
    if placed.withheld:
        sys.stdout.write(f"{placed.withheld}\n")


if __name__ == "__main__":
    sys.exit(main())
