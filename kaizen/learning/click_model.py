"""Simulated people: who clicks what of a ranked list. Pure; all chance comes from the `Random` that is passed in.

Two models of honest people, both from Craswell, Zoeter, Taylor and Ramsey, "An Experimental Comparison of Click
Position-Bias Models" (2008), with the trust noise of Joachims, Swaminathan and Schnabel, "Unbiased Learning-to-Rank
with Biased Feedback" (2017). In both a hit that was examined is clicked with probability `1 - miss` when it is
relevant, and with probability `slip` when it is not; they differ in what is examined:

    position    the hit at position p with probability 1 / p**eta, whatever else happens
    cascade     from the top down, every hit until the first click, and none after it

And two kinds of clicks that say nothing of relevance: those of noise sessions, which click one hit at random, and
those of hostile identities, which click the documents that they push wherever these show, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from kaizen.errors import InvalidInput

ClickModelName = Literal["position", "cascade"]
MISS = 0.1


class ClickModel(Protocol):
    """How an honest person clicks."""

    def clicks(self, relevant: Sequence[bool], chance: Random) -> list[int]:
        """Return the places (from 0, ascending) that are clicked of a list whose hits are relevant or not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionBased:
    """Examination depends on the position alone: 1 / position**eta.

    Attributes:
        miss: probability that an examined relevant hit is not clicked (1 - epsilon+ of Joachims et al.).
        slip: probability that an examined irrelevant hit is clicked (epsilon-).
    """

    eta: float = 1.0
    miss: float = MISS
    slip: float = 0.0

    def clicks(self, relevant: Sequence[bool], chance: Random) -> list[int]:
        """See `ClickModel`."""
        clicked = []
        for place, good in enumerate(relevant):
            # Both are drawn always, so that a session's chance does not depend on what it was shown.
            examined, tempted = chance.random(), chance.random()
            if examined < self.examination(place + 1) and tempted < (1 - self.miss if good else self.slip):
                clicked.append(place)
        return clicked

    def examination(self, position: int) -> float:
        """Return the probability that the hit at `position` (from 1) is looked at."""
        return float(position**-self.eta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """People read from the top down and stop at their first click. `miss` and `slip` as in `PositionBased`."""

    miss: float = MISS
    slip: float = 0.0

    def clicks(self, relevant: Sequence[bool], chance: Random) -> list[int]:
        """See `ClickModel`."""
        for place, good in enumerate(relevant):
            if chance.random() < (1 - self.miss if good else self.slip):
                return [place]
        return []


def click_model(name: ClickModelName) -> ClickModel:
    """Return the model of this name with its defaults; InvalidInput when there is none."""
    models: dict[str, ClickModel] = {"position": PositionBased(), "cascade": Cascade()}
    if name not in models:
        raise InvalidInput(f"There is no click model {name!r}.", advice=f"Take one of: {', '.join(models)}.")
    return models[name]


def noise_clicks(shown: int, chance: Random) -> list[int]:
    """Return the place that a noise session clicks of `shown` hits: any, each as likely as the other."""
    return [chance.randrange(shown)] if shown else []


def hostile_clicks(documents: Sequence[str], pushed: Collection[str]) -> list[int]:
    """Return the places that a hostile identity clicks: every document that it pushes."""
    return [place for place, document in enumerate(documents) if document in pushed]
