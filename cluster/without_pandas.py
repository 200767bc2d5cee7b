"""Keeps pandas out of the processes of Ray Serve, none of which ever sees a data frame. Importing this does it.

Serve imports pandas wherever it runs, to be able to write data frames as JSON: half a second of CPU at each start and
30 MB, in the controller, both proxies, every gateway and the head. Where there is no pandas it does without, so while
Serve is being imported, and for Serve alone, there is none. The workers of a private Ray import this module first
(`cluster.private_ray`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ASKS = "ray.serve._private.utils"
_LAST = "serve_encoders"  # what it defines after it has asked for pandas


class WithoutPandas(MetaPathFinder):
    """Finds nothing; refuses pandas to the one module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for pandas while Serve asks for it."""
        asking = sys.modules.get(_ASKS)
        if fullname == "pandas" and asking is not None and not hasattr(asking, _LAST):
            raise ModuleNotFoundError("Serve does without pandas here.", name=fullname)
        return None


sys.meta_path.insert(0, WithoutPandas())
