"""Stands in for a command of ours: does what its first argument says."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from kaizen.commands.output import told
from kaizen.errors import BadModel, Conflict, NotFound, PermanentError, Unavailable, WriterStopped

ERRORS = (
    NotFound("There is nothing.", advice="Make some."),
    BadModel("It gives NaN.", advice="Learn another."),
    WriterStopped("The disk."),
    Conflict("Somebody was first."),
    Unavailable("Not sealed yet."),
    PermanentError("/a: Input/output error."),
)

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "tell":
        names = ("OMP_NUM_THREADS", "RAY_JOB_ID", "KAIZEN_FLEET_SHARDS", "RAY_AUTH_MODE")
        found = {name: os.environ.get(name) for name in names}
        config = sys.argv[sys.argv.index("--config") + 1]
        sys.stdout.write("Some words first.\n")
        sys.stdout.write(json.dumps({"nice": os.nice(0), **found, "config": Path(config).read_text()}) + "\n")
    elif what == "hang":
        Path(sys.argv[2]).write_text(str(os.getpid()))
        signal.pause()
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "fail":
        sys.stderr.write("Some words first.\n")
        error = next(error for error in ERRORS if error.code == sys.argv[2])
        sys.exit(told(error, as_json="--json" in sys.argv))
    elif what == "break":
        sys.stderr.write("Some words first.\nKeyError: 'x'\n")
        sys.exit(1)
