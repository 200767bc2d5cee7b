"""Stands in for a command of ours: does what its first argument says."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "tell":
        names = ("OMP_NUM_THREADS", "RAY_JOB_ID", "KAIZEN_FLEET_SHARDS", "RAY_AUTH_MODE")
        told = {name: os.environ.get(name) for name in names}
        config = sys.argv[sys.argv.index("--config") + 1]
        sys.stdout.write("Some words first.\n")
        sys.stdout.write(json.dumps({"nice": os.nice(0), **told, "config": Path(config).read_text()}) + "\n")
    elif what == "hang":
        Path(sys.argv[2]).write_text(str(os.getpid()))
        signal.pause()
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "fail":
        sys.stderr.write(f"Some words first.\n{sys.argv[2]}\n")
        sys.exit(1)
