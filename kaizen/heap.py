"""What becomes of memory that was freed: kept for a process that needs as much again a moment later, or given back."""

from __future__ import annotations

import ctypes

import pyarrow as pa

# Parameters of mallopt(3) in glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
_KEPT_BYTES = 512 * 2**20  # free memory above this goes back to the system
_FROM_HEAP_BYTES = 256 * 2**20  # what is larger gets pages of its own


def keep_freed_memory() -> bool:
    """Let the process keep the memory of one batch for the next; False where the C library has no `mallopt`.

    By default every block above 32 MB goes back to the system at once and comes anew, zeroed page by page: an eighth
    of the CPU time of bulk embedding. Threads that have not allocated yet share one heap from now on: heaps of their
    own are cut into 64 MB, which go back too. Holds for the whole process and costs it at most 512 MB.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    wanted = {_MMAP_THRESHOLD: _FROM_HEAP_BYTES, _TRIM_THRESHOLD: _KEPT_BYTES, _ARENA_MAX: 1}
    return all(library.mallopt(parameter, value) for parameter, value in wanted.items())


def return_freed_memory() -> None:
    """Give the system what this process has freed and will not need soon, of the C library's memory and of Arrow's."""
    pa.default_memory_pool().release_unused()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
