"""Who gets which release: transitions of the rollout's one row, and what it says of one caller. Pure functions.

    begin -> adjust* -> promote | stop      a challenger comes on trial, and takes over or goes
    rollback                                what was stable before is stable again
    retire                                  what was stable before need not be kept warm any longer

Each takes the row as it was read and gives the row that is wanted, with the version it was read at: the ledger stores
it by compare-and-set, so that of two who decide at once one loses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from kaizen.errors import Conflict, InvalidInput
from kaizen.records import Arm, Decision, Rollout, RolloutMode

CANARY_MOST = 0.5
_TWO_TO_64 = 2**64


def begin(state: Rollout, challenger: str, mode: RolloutMode, weight: float) -> Rollout:
    """Put `challenger` on trial beside the stable release.

    Raises:
        Conflict: there is a challenger already, no stable release yet, or it is the stable release itself.
        InvalidInput: the mode or the weight cannot be used.
    """
    if state.challenger is not None:
        raise Conflict(f"{state.challenger} is on trial already.", advice="Stop it, or promote it, first.")
    if state.stable is None:
        raise Conflict("There is no stable release to try another one against.", advice="Start the service first.")
    if challenger == state.stable:
        raise Conflict(f"{challenger} is the stable release.", advice="Name another release.")
    _check(mode, weight)
    return replace(state, challenger=challenger, mode=mode, weight=weight)


def adjust(state: Rollout, mode: RolloutMode, weight: float) -> Rollout:
    """Try the challenger in another way, or on another share. Raises Conflict when there is none; InvalidInput."""
    _need_challenger(state)
    _check(mode, weight)
    return replace(state, mode=mode, weight=weight)


def stop(state: Rollout) -> Rollout:
    """Take the challenger away. Raises Conflict when there is none."""
    _need_challenger(state)
    return _without_challenger(state)


def promote(state: Rollout, release: str) -> Rollout:
    """Make `release` stable; what was stable becomes `previous`. Raises Conflict when it is stable already."""
    if release == state.stable:
        raise Conflict(f"{release} is the stable release already.", advice="Nothing is to be done.")
    return replace(_without_challenger(state), stable=release, previous=state.stable)


def rollback(state: Rollout) -> Rollout:
    """Make stable what was stable before, and keep what was stable now warm. Raises Conflict when nothing is kept."""
    if state.previous is None:
        raise Conflict("No previous release is kept.", advice="Promote the release that you want, by its id.")
    return replace(_without_challenger(state), stable=state.previous, previous=state.stable)


def retire(state: Rollout) -> Rollout:
    """Keep what was stable before no longer warm. Raises Conflict when nothing is kept."""
    if state.previous is None:
        raise Conflict("No previous release is kept.", advice="Nothing is to be done.")
    return replace(state, previous=None)


def taken_back(switches: Iterable[Decision], is_ours: Callable[[str], bool]) -> Decision | None:
    """Return the decision that took a release out of service, where somebody meant it: a rollback or a promotion.

    None: it is in service, it never was, or it went because another one was configured.

    Args:
        switches: the decisions that made a release stable, the newest first.
        is_ours: whether a release is the one that is asked for, or was learnt from it.
    """
    after = None
    for switch in switches:
        if is_ours(switch.release):
            return after if after is not None and after.kind != "configure" else None
        after = switch
    return None


def assign(state: Rollout, identity: str, impression: str = "") -> Arm:
    """Return on which side of the rollout a request is answered.

    Under canary and ab an identity stays on its side as long as challenger and weight stay, and the challenger's share
    only grows with the weight. Under interleave each impression is drawn by itself. Under shadow everybody is answered
    by the stable release; see `shadows`.
    """
    if state.mode in ("canary", "ab"):
        return "challenger" if _draw(state, identity) < state.weight else "stable"
    if state.mode == "interleave":
        return "interleaved" if _draw(state, impression) < state.weight else "stable"
    return "stable"


def shadows(state: Rollout, impression: str) -> bool:
    """Return whether the challenger answers this impression unseen: the share `weight` of them under shadow."""
    return state.mode == "shadow" and _draw(state, impression) < state.weight


def _draw(state: Rollout, name: str) -> float:
    """A number in [0, 1) that `name` always has with this challenger, and has anew with the next."""
    digest = hashlib.blake2b(f"{state.challenger}\0{name}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _TWO_TO_64


def _need_challenger(state: Rollout) -> None:
    if state.challenger is None:
        raise Conflict("No release is on trial.", advice="Begin a rollout first.")


def _without_challenger(state: Rollout) -> Rollout:
    return replace(state, challenger=None, mode="off", weight=0.0)


def _check(mode: RolloutMode, weight: float) -> None:
    if mode == "off":
        raise InvalidInput("A challenger is tried as shadow, canary, ab or interleave.", advice="Name one of these.")
    if not 0 < weight <= 1:
        raise InvalidInput("The weight must be above 0 and at most 1.", advice="Name the share of requests.")
    if mode == "canary" and weight > CANARY_MOST:
        raise InvalidInput(f"A canary is for at most {CANARY_MOST} of the identities.", advice="Use mode ab for more.")
