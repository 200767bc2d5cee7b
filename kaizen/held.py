"""What several use and nobody keeps: made once, and there for as long as somebody holds it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T", bound=object)


class Held(Generic[T]):
    """Things by name. Who asks for one while another is made waits: things that take long need a Held of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: WeakValueDictionary[str, T] = WeakValueDictionary()

    def get(self, name: str, make: Callable[[], T]) -> T:
        """The thing of this name; made now if nobody holds one."""
        with self._lock:
            found = self._by_name.get(name)
            if found is None:
                found = self._by_name[name] = make()
            return found
