"""A defence is switched off in processes that begin meanwhile, in their children too, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Mapping

from kaizen.fleet import plan
from tests.chaos.without import with_all_defences, without

SEEN = "from kaizen.fleet import plan, Patience as p; print(plan, p().may_start('x', 0))"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-P', '-c', {SEEN!r}], check=True)"


def replaced(_: object) -> str:
    return "a stand-in"


def never(_: object) -> Callable[..., bool]:
    return lambda *_: False


def said(program: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_function_and_a_method_are_replaced() -> None:
    names = {"kaizen.fleet:plan": f"{__name__}:replaced", "kaizen.fleet:Patience.may_start": f"{__name__}:never"}
    with without(names):
        assert (said(SEEN), said(CHILD)) == ("a stand-in False", "a stand-in False")
    assert said(SEEN).endswith("True")


def test_beside_an_installation_that_has_something_switched_off_others_have_all() -> None:
    with without({"kaizen.fleet:plan": f"{__name__}:replaced"}), with_all_defences():
        assert said(SEEN).startswith("<function plan")


def test_what_is_not_there_any_more_is_noticed() -> None:
    with without({"kaizen.fleet:plans": f"{__name__}:replaced"}):
        program = "\ntry:\n import kaizen.fleet\nexcept AttributeError as error:\n print(error)"
        assert "plans" in said(program)


def test_this_process_stays_as_it_is() -> None:
    with without({"kaizen.fleet:plan": f"{__name__}:replaced"}):
        nothing: Collection[str] = ()
        seconds: Mapping[str, float] = {}
        found = plan(
            nothing, nothing, silent_seconds=seconds, hang_seconds=1, unneeded_seconds=seconds, linger_seconds=1
        )
    assert (found.start, found.end) == ((), ())
