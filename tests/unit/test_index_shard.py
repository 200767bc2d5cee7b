"""What an index shard's actor does by itself, without Ray."""

from __future__ import annotations

import time
from unittest.mock import Mock

from actors.index_shard import KEEP_REPLACED_SECONDS, IndexShard


def test_replaced_segments_are_let_go_though_nothing_else_is_written() -> None:
    shard = object.__new__(IndexShard)
    old, fresh = Mock(name="old"), Mock(name="fresh")
    shard._replaced = [(time.monotonic() - KEEP_REPLACED_SECONDS - 1, old)]
    shard._keep_replaced([fresh])
    assert [segment for _, segment in shard._replaced] == [old, fresh]
    shard._forget_replaced()
    assert [segment for _, segment in shard._replaced] == [fresh]
