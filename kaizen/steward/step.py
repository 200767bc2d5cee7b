"""What a step's process runs: `python -m kaizen.steward.step PARENT MODULE ARGUMENTS...`.

It ends with the process that started it, also when that is killed (a step that went on beside its own repetition would
write what the other one writes), and yields the CPU to serving. Then it is as if `python -m MODULE` had been called.
"""

from __future__ import annotations

import os
import runpy
import sys

from kaizen.fate import end_with

NICENESS = 10


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    os.nice(NICENESS)
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
