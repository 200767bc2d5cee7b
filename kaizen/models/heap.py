"""How the C library keeps memory that was freed, for a process that needs as much again a moment later."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3) in glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_KEPT_BYTES = 512 * 2**20  # free memory above this goes back to the system
_FROM_HEAP_BYTES = 256 * 2**20  # what is larger gets pages of its own


def keep_freed_memory() -> bool:
    """Let the process keep the memory of one batch for the next; False where the C library has no `mallopt`.

    By default every block above 32 MB goes back to the system at once and comes anew, zeroed page by page: an eighth
    of the CPU time of bulk embedding. Holds for the whole process and costs it at most 512 MB.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, _FROM_HEAP_BYTES) and library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
