"""Row 8: a bit of an index, a model or a batch flips. It is never served: the generation before, or a rebuild."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from unittest.mock import patch

import pytest

from kaizen.storage.manifest import Manifest
from tests.chaos.conftest import Chaos
from tests.chaos.damage import Bit, Served, any_bit, files_of
from tests.chaos.small_index import SmallIndex, make_small_index, seal, take_in
from tests.chaos.victim import struck

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


def any_bits(chaos: Chaos, index: SmallIndex, count: int) -> list[Bit]:
    """So many bits of what it keeps."""
    chance, files = chaos.chance("bit flips"), files_of(index.objects)
    return [any_bit(files, chance) for _ in range(count)]


def served_wrongly(index: SmallIndex, bits: Sequence[Bit]) -> Iterator[list[str]]:
    """For each of the bits, turned round: what is served wrongly then."""
    with index.opened() as parts:
        served = Served(parts)
        for bit in bits:
            bit.flip()
            found = served.wrong(bit.path)
            bit.flip()
            yield found


def unchecked(tell: Callable[[list[str]], None], index: SmallIndex, bits: Sequence[Bit]) -> None:
    """Tell the same where nobody compares sums, in a process of its own: what is damaged may be its end."""
    with patch.object(Manifest, "verify", lambda self, directory, name: None):
        for found in served_wrongly(index, bits):
            tell(found)


@pytest.mark.timeout(600)
def test_a_flipped_bit_is_never_served(chaos: Chaos, sealed_twice: SmallIndex) -> None:
    bits = any_bits(chaos, sealed_twice, chaos.of(60, 1000))
    found = list(chain.from_iterable(served_wrongly(sealed_twice, bits)))
    chaos.kept(8, FAULT, trials=len(bits), violations=len(found))
    assert found == []


def test_a_flipped_bit_is_noticed_where_nobody_checks(chaos: Chaos, sealed_twice: SmallIndex) -> None:
    left, found = any_bits(chaos, sealed_twice, 60), 0
    while left:
        code, told = struck(unchecked, sealed_twice, left)
        found += sum(map(len, told))
        left = left[len(told) :]
        if left:
            assert code is not None and code < 0, f"nothing ended the process, and it is gone: {code}"
            left.pop(0).flip()  # this one did; nobody is there to turn it back
            found += 1
    chaos.broken(
        8, FAULT, defence="files are compared with the manifest's sums on load", trials=60, violations=found,
        seen=f"{found} of 60 flips were served or ended the process",
    )  # fmt: skip
