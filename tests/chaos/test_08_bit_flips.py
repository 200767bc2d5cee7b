"""Row 8: a bit of an index, a model or a batch flips. It is never served: the generation before, or a rebuild."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from kaizen.storage.manifest import Manifest
from tests.chaos.conftest import Chaos
from tests.chaos.damage import Served, any_bit
from tests.chaos.small_index import SmallIndex, make_small_index, seal, take_in

FAULT = "one bit of a random file of index, model or batch turned round"


@pytest.fixture(scope="module")
def sealed_twice(tmp_path_factory: pytest.TempPathFactory) -> SmallIndex:
    """An installation each shard of which has a current generation and one before."""
    made = make_small_index(tmp_path_factory.mktemp("twice"))
    for first in (0, 8):
        made.write_sources(first, 8)
        with made.opened() as parts:
            take_in(parts, made.sources)
            seal(parts)
    return made


def flipped(chaos: Chaos, index: SmallIndex, flips: int) -> list[str]:
    """What was served wrongly after any of the flips."""
    chance, found = chaos.chance("bit flips"), []
    with index.opened() as parts:
        served = Served(parts)
        files = served.files()
        for _ in range(flips):
            bit = any_bit(files, chance)
            bit.flip()
            found += served.wrong(bit.path)
            bit.flip()
    return found


@pytest.mark.timeout(600)
def test_a_flipped_bit_is_never_served(chaos: Chaos, sealed_twice: SmallIndex) -> None:
    flips = chaos.of(60, 1000)
    found = flipped(chaos, sealed_twice, flips)
    chaos.kept(8, FAULT, trials=flips, violations=len(found))
    assert found == []


def test_a_flipped_bit_is_noticed_where_nobody_checks(chaos: Chaos, sealed_twice: SmallIndex) -> None:
    with patch.object(Manifest, "verify", lambda self, directory, name: None):
        found = flipped(chaos, sealed_twice, 60)
    chaos.broken(
        8, FAULT, defence="files are compared with the manifest's sums on load", trials=60, violations=len(found),
        seen=f"{len(found)} of 60 flips were served or ended the process",
    )  # fmt: skip
