"""What callers see is computed once for each kind of them, and never serves another kind or another moment."""

from __future__ import annotations

import numpy as np

from kaizen.records import Principal
from kaizen.retrieval import visible
from kaizen.retrieval.lexical import LexicalIndex
from kaizen.retrieval.view import LiveSegment, View
from kaizen.retrieval.visible import Visible
from tests.unit.retrieval.rows import document, segment


def caller(*groups: str, tenant: str = "acme") -> Principal:
    return Principal(key_id="k", tenant=tenant, groups=groups, scopes=("search",))


def live(*names_groups: tuple[str, tuple[str, ...]]) -> LiveSegment:
    one = segment(*(document(name, "pump", groups=groups) for name, groups in names_groups))
    return LiveSegment(one, np.ones(one.rows, bool), sealed=False)


def test_callers_of_one_kind_share_and_others_do_not() -> None:
    own = live(("a", ()), ("b", ("x",)))
    assert own.visible_to(caller("x", "y")) is own.visible_to(caller("y", "x"))
    assert own.visible_to(caller("x")).mask is None
    assert own.visible_to(caller()).statistics(["pump"]).document_frequencies == (1,)
    assert own.visible_to(caller(tenant="other")).rows == 0


def test_a_delete_makes_a_new_view_that_knows_nothing_of_before() -> None:
    before = View(1, (live(("a", ()), ("b", ())),))
    assert before.segments[0].visible_to(caller()).rows == 2
    after = before.apply(2, (("acme", "a"),), None)
    assert after.segments[0].visible_to(caller()).rows == 1
    assert before.segments[0].visible_to(caller()).rows == 2


def test_only_so_many_kinds_of_callers_are_remembered() -> None:
    own = live(("a", ()))
    for number in range(3 * visible.REMEMBERED_CALLERS):
        own.visible_to(caller(f"g{number}"))
    assert len(own._callers._known) <= visible.REMEMBERED_CALLERS


def test_remembered_frequencies_are_those_that_a_count_gives() -> None:
    chance = np.random.default_rng(0)
    rows = visible.REMEMBERED_POSTINGS * 2
    lexical = LexicalIndex.build([["often"] if n % 3 else ["often", "seldom"] for n in range(rows)])
    mask = chance.random(rows) < 0.5
    seen = Visible.of(lexical, mask)
    for _ in range(2):
        assert seen.statistics(["often", "seldom", "never"]) == lexical.statistics(["often", "seldom", "never"], mask)
    assert seen._frequencies == {"often": int(mask.sum())}
