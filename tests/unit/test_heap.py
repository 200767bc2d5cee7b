"""A process that keeps what it freed is not given the same pages anew; one that gives it back is smaller."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK_BYTES = 64 * 2**20
PAGE_BYTES = 4096

PROGRAM = f"""
import resource, sys
from kaizen.heap import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print("-1"); sys.exit()
block = bytearray({BLOCK_BYTES}); del block  # grows the heap
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    block = bytearray(b"x") * {BLOCK_BYTES}; del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], check=True, capture_output=True, text=True)
    return int(done.stdout)


def test_the_second_batch_takes_the_pages_of_the_first() -> None:
    kept = faults("keep")
    if kept < 0:
        pytest.skip("this C library has no mallopt: nothing to test")
    assert kept < BLOCK_BYTES / PAGE_BYTES * 1.5  # once at most, for the first
    assert faults("plain") > BLOCK_BYTES / PAGE_BYTES * 3


def test_what_was_freed_goes_back_to_the_system() -> None:
    program = f"""
import psutil
from kaizen.heap import return_freed_memory
pieces = [bytearray(4096) for _ in range({BLOCK_BYTES} // 4096)]
last = bytearray(4096)  # above them on the heap, which cannot shrink by itself then
del pieces
before = psutil.Process().memory_info().rss
return_freed_memory()
print(before - psutil.Process().memory_info().rss)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(done.stdout) > BLOCK_BYTES / 2
