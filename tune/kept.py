"""What is kept of a sweep, in the object store under sweeps/NAME: its plan, each trial that ended, and the result.

The same sweep, begun again after a kill, goes on from here. Nothing of it is executable, unlike Tune's own notes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kaizen.errors import Conflict, NotFound
from kaizen.learning.sweep import Trial
from kaizen.storage.object_store import ObjectStore

Json = dict[str, Any]
LEFT_OUT = "left_out"  # beside the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The folder of one sweep in the object store."""

    store: ObjectStore
    name: str

    @property
    def prefix(self) -> str:
        """Where it lies."""
        return f"sweeps/{self.name}"

    def begin(self, plan: Mapping[str, Any], left_out: Sequence[str] = ()) -> None:
        """Write the plan, or find that it is the one that was begun. Raises Conflict when it is another one."""
        wanted = {**plan, LEFT_OUT: list(left_out)}
        there = self.read("plan.json")
        if there is None:
            self.write("plan.json", wanted)
        elif there != json.loads(json.dumps(wanted)):
            raise Conflict(
                f"There is a sweep {self.name!r} with other arguments, of another release, or on other judgements.",
                advice="Give this one another --name.",
            )

    def left_out(self) -> list[str] | None:
        """Names of the queries that this sweep, when it began, left out; None when it did not begin yet."""
        there = self.read("plan.json")
        return None if there is None else there.get(LEFT_OUT, [])

    def add(self, trial: Trial) -> None:
        """Keep a trial that ended."""
        self.write(f"trials/{trial.number:05d}.json", asdict(trial))

    def trials(self) -> list[Trial]:
        """All that are kept, by number."""
        names = [name for name in self.store.list(f"{self.prefix}/trials") if name.endswith(".json")]
        read = (json.loads(self.store.get_bytes(name)) for name in names)
        found = [Trial(**{**record, "steps": tuple(record["steps"])}) for record in read]
        return sorted(found, key=lambda trial: trial.number)

    def read(self, name: str) -> Json | None:
        """A JSON object of the sweep; None when it was not written yet."""
        try:
            found: Json = json.loads(self.store.get_bytes(f"{self.prefix}/{name}"))
        except NotFound:
            return None
        return found

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON object."""
        self.store.put_bytes(f"{self.prefix}/{name}", json.dumps(value).encode())
