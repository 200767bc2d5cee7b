"""How likely it is that a chunk answers a query, given who saw it where and who clicked.

One model, fitted by expectation-maximisation (EM). Each item is relevant or not, each identity honest or careless, each
session of an honest identity attentive or not:

    attentive, item relevant      clicks with a rate by position, and by whether something above was clicked already
    attentive, item irrelevant    clicks with a small rate of the same shape: noise
    inattentive session           clicks anything: as many hits as others do, whichever they are
    careless identity             clicks at a rate of its own, whatever the item is
    pushed document               clicked by this identity wherever it shows, though nobody else says it is relevant

Rates of the first line start from the examination of the position (`propensity`) times HIT. So a click far down, where
few look, says more than one at the top, and a hit that nobody clicked at the top is refuted while one that nobody
clicked at the bottom is merely unknown: inverse-propensity weighting in its Bayesian form. That examination may
depend on an earlier click is Dupret and Piwowarski's user browsing model (2008), which covers people who scan every
hit by itself (position-based) and people who stop at their first click (cascade). Honesty is estimated as Dawid and
Skene (1979) do with observers' error rates: identities and sessions are trusted as far as they agree with what all the
others say, their own vote left out. The last line is for identities that behave well otherwise: where one clicks a
document under several queries, its votes on that document are taken for a push until the others bear them out. What
is believed of an item before any click depends on where the product ranked it, by a logistic regression fitted along
the way (regression-EM: Wang et al., "Position Bias Estimation for Unbiased Learning to Rank in Personal Search", 2018).

Every rate has a prior worth a few dozen votes, so that a handful of clicks gives cautious labels and no nonsense.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from kaizen.learning.evidence import Bools, Floats, Ints, Opinions, Votes
from kaizen.learning.propensity import Examination

HIT = 0.9  # P(click | looked at, relevant): a person who sees the answer mostly takes it
NOISE = 0.02  # P(click | irrelevant)
HONEST = 0.9  # share of the identities, before anything is known
ATTENTIVE = 0.95  # share of their sessions, likewise
PUSHED = 0.1  # share of what an identity clicks under several queries that it pushes
PUSH = 0.9  # P(click) on a document that one pushes
PRIOR_VOTES = 50.0
OPINION_LOGIT = 2.2  # a thumb is right nine times out of ten
ROUNDS = 30
_ENOUGH_VOTES = 3  # an item seen by fewer says nothing of the rates, only of itself
_REPEATED = 2  # clicks of one identity on one document, each under another query
_RIDGE = 4.0
_START = (-2.2, -0.8)  # one in ten is relevant at the first position, fewer below
_MOST_LOGIT = 20.0
_LEAST_RATE = 1e-4
_IDLE = 0.02  # P(no click at all) in an inattentive session


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relevance:
    """What was estimated.

    Attributes:
        label: (items,) probability of being relevant.
        evidence: (items,) how many honest people looked at it, in expectation; an opinion is worth about two.
        honest: (identities,) probability of being honest.
        pushes: identities and documents, the one pushing the other.
        attentive: share of the sessions of honest identities.
        hit, noise: (2, positions) click rates of relevant and irrelevant items; row 1: after a click above.
    """

    label: Floats
    evidence: Floats
    honest: Floats
    pushes: int
    attentive: float
    hit: Floats
    noise: Floats


def estimate(
    votes: Votes,
    opinions: Opinions,
    positions: Floats,
    documents: Ints,
    examination: Examination,
    weight: Floats,
    rounds: int = ROUNDS,
) -> Relevance:
    """Fit the model.

    Args:
        votes: one for each identity and item.
        positions: (items,) mean position that each item was shown at.
        documents: (items,) number of the document that each item is of.
        weight: (identities,) from 0 (left out) to 1: how much each one's votes count.
    """
    ranks = np.stack([np.ones(len(positions)), np.log(np.maximum(positions, 1.0))], axis=1)
    counted = votes.of(weight[votes.who] > 0)
    model = _Model(counted, opinions, ranks, documents[counted.item], examination, weight)
    for _ in range(rounds):
        model.step()
    return model.result()


class _Model:
    """Parameters and posteriors of the EM; `step` is one round of both.

    Arrays are by item, by identity, by session, by cell (2 * positions, as `Relevance.hit` flattened), or by vote.
    """

    def __init__(
        self,
        votes: Votes,
        opinions: Opinions,
        ranks: Floats,
        document: Ints,
        examination: Examination,
        weight: Floats,
    ) -> None:
        self._votes, self._opinions, self._ranks, self._weight = votes, opinions, ranks, weight
        self._said = np.zeros(len(opinions.item))  # what each opinion adds to the logit of its item
        positions = len(examination.by_position)
        self._cell = votes.above * positions + np.minimum(votes.position, positions) - 1
        self._examined = examination.at(votes.position)
        self._hit_prior = HIT * np.tile(examination.by_position, 2)
        self._hit, self._noise = self._hit_prior.copy(), np.full(2 * positions, NOISE)
        counted = np.bincount(votes.item, minlength=len(ranks))
        self._solid = counted[votes.item] >= _ENOUGH_VOTES
        self._careless = self._done(_own_rates(votes, len(weight))[votes.who])
        self._asleep = self._done(_session_rates(votes))
        self._chance = _by_chance(votes) - _sums(votes.session, np.log(self._asleep))
        self._honest = np.full(len(weight), HONEST)
        self._attentive, self._attentive_share = np.full(len(votes), ATTENTIVE), ATTENTIVE
        self._pair, self._suspect = _pairs(votes, document)
        self._pushed = np.where(self._suspect[self._pair], 1 - PUSHED, 0.0)
        self._coefficients = np.array(_START)
        self._belief = np.zeros(len(ranks))  # logit of relevance, by item

    def step(self) -> None:
        """One round: what the votes say of items, then of sessions and identities, then of the rates."""
        relevant, irrelevant = self._done(self._hit[self._cell]), self._done(self._noise[self._cell])
        honest = self._honest[self._votes.who]
        counts = (1 - self._pushed) * honest * self._attentive
        otherwise = (1 - honest) * self._careless + honest * (1 - self._attentive) * self._asleep
        otherwise = (1 - self._pushed) * otherwise + self._pushed * self._done(PUSH)
        if_relevant, if_irrelevant = counts * relevant + otherwise, counts * irrelevant + otherwise
        weight = self._weight[self._votes.who]
        spoken = weight * (np.log(if_relevant) - np.log(if_irrelevant))
        self._said = OPINION_LOGIT * self._opinions.value * (self._honest * self._weight)[self._opinions.who]
        self._belief = self._prior_logit() + _sums(self._votes.item, spoken, len(self._ranks))
        self._belief += _sums(self._opinions.item, self._said, len(self._ranks))
        self._judge(relevant, irrelevant, spoken)
        self._fit_rates(weight * counts * relevant / if_relevant, weight * counts * irrelevant / if_irrelevant)
        self._fit_prior()

    def result(self) -> Relevance:
        """What is believed now."""
        looked = np.where(self._votes.clicked, 1.0, self._examined)
        trust = (self._honest * self._weight)[self._votes.who] * self._attentive * (1 - self._pushed)
        evidence = _sums(self._votes.item, looked * trust, len(self._ranks))
        evidence += _sums(self._opinions.item, np.abs(self._said), len(self._ranks))
        return Relevance(
            label=_sigmoid(self._belief),
            evidence=evidence,
            honest=self._honest,
            pushes=len(np.unique(self._pair[self._pushed > 0.5])),
            attentive=self._attentive_share,
            hit=self._hit.reshape(2, -1),
            noise=self._noise.reshape(2, -1),
        )

    def _done(self, rate: Floats | float) -> Floats:
        """Probability of what each vote did, when it clicks with probability `rate`: (votes,), or one for all."""
        found: Floats = np.where(self._votes.clicked, rate, 1 - rate)
        return found

    def _prior_logit(self) -> Floats:
        found: Floats = np.clip(self._ranks @ self._coefficients, -6.0, 3.0)
        return found

    def _judge(self, relevant: Floats, irrelevant: Floats, spoken: Floats) -> None:
        """Sessions and identities, by how likely what they did is when the items are what the others make them."""
        others = _sigmoid(self._belief[self._votes.item] - spoken)
        expected = others * relevant + (1 - others) * irrelevant
        own = np.log(expected) - np.log(self._asleep)
        total = _sums(self._votes.session, own) + _logit(self._attentive_share) - self._chance
        self._attentive = _sigmoid(total[self._votes.session] - own)
        sessions = np.unique(self._votes.session)
        seen = _sigmoid(total[sessions]).sum() + PRIOR_VOTES * ATTENTIVE
        self._attentive_share = min(0.99, max(0.5, float(seen / (len(sessions) + PRIOR_VOTES))))
        mixed = self._attentive * expected + (1 - self._attentive) * self._asleep
        honesty = _sums(self._votes.who, np.log(mixed) - np.log(self._careless), len(self._weight))
        honesty += _sums(self._opinions.who, self._agreement(), len(self._weight))
        self._honest = _sigmoid(honesty + _logit(HONEST))
        pushing = _sums(self._pair, np.log(self._done(PUSH)) - np.log(mixed), len(self._suspect)) + _logit(PUSHED)
        self._pushed = np.where(self._suspect, _sigmoid(pushing), 0.0)[self._pair]

    def _agreement(self) -> Floats:
        """Log-odds (opinions,) of each opinion under somebody who means it, to one who says yes or no by lot."""
        others = _sigmoid(self._belief[self._opinions.item] - self._said)
        yes = _sigmoid(np.full(len(others), OPINION_LOGIT))
        means_it = np.where(self._opinions.value > 0, others * yes + (1 - others) * (1 - yes), 0.0)
        means_it += np.where(self._opinions.value < 0, others * (1 - yes) + (1 - others) * yes, 0.0)
        found: Floats = np.log(2 * means_it)
        return found

    def _fit_rates(self, if_relevant: Floats, if_irrelevant: Floats) -> None:
        """Rates from the votes of attentive people: the arguments say how far each one is such a vote."""
        label = _sigmoid(self._belief)[self._votes.item]
        clicked, cells = self._votes.clicked, len(self._noise)
        noise = if_irrelevant * (1 - label) * self._solid
        everywhere = _rate(noise, clicked, np.zeros(len(clicked), np.int32), np.array([NOISE]))
        self._noise = _rate(noise, clicked, self._cell, np.tile(everywhere, cells))
        hit = _rate(if_relevant * label * self._solid, clicked, self._cell, self._hit_prior)
        self._hit = np.clip(hit, np.minimum(2 * self._noise, 0.5), 1 - _LEAST_RATE)

    def _fit_prior(self) -> None:
        """One Newton step of a ridge regression of the labels on the ranks, held near where it started."""
        label, now = _sigmoid(self._belief), _sigmoid(self._prior_logit())
        gradient = self._ranks.T @ (label - now) - _RIDGE * (self._coefficients - np.array(_START))
        curvature = (self._ranks.T * (now * (1 - now))) @ self._ranks + _RIDGE * np.eye(len(self._coefficients))
        self._coefficients = self._coefficients + np.linalg.solve(curvature, gradient)


def _own_rates(votes: Votes, identities: int) -> Floats:
    """How often each identity clicks what it sees."""
    seen, clicks = (_sums(votes.who, w, identities) for w in (np.ones(len(votes)), votes.clicked))
    rates: Floats = (clicks + 1) / (seen + 20)
    return rates


def _pairs(votes: Votes, document: Ints) -> tuple[npt.NDArray[np.intp], Bools]:
    """Number (votes,) of the identity and document together, and whether that one (pairs,) was clicked repeatedly."""
    _, pair = np.unique(votes.who.astype(np.int64) << 32 | document, return_inverse=True)
    return pair, np.bincount(pair, votes.clicked) >= _REPEATED


def _session_rates(votes: Votes) -> Floats:
    """(votes,) rate of somebody who clicks anything, as often as sessions with a click do."""
    seen, clicks = np.bincount(votes.session), np.bincount(votes.session, votes.clicked)
    usual = clicks.sum() / max(1, int((clicks > 0).sum()))
    rates: Floats = np.clip(usual / np.maximum(seen, 1), _LEAST_RATE, 0.5)[votes.session]
    return rates


def _by_chance(votes: Votes) -> Floats:
    """Log-probability (sessions,) of the clicks of each session when which hits they fell on was drawn by lot.

    How many there are follows the sessions with a click; one without is no sign of somebody who clicks anything.
    """
    seen = np.bincount(votes.session)
    clicks = _sums(votes.session, votes.clicked, len(seen)).astype(np.int64)
    common = np.bincount(clicks) / max(1, int((clicks > 0).sum()))
    common[:1] = _IDLE
    ways = gammaln(seen + 1) - gammaln(clicks + 1) - gammaln(seen - clicks + 1)  # ln of seen over clicks
    found: Floats = np.log(common[clicks]) - ways
    return found


def _rate(weight: Floats, clicked: Bools, cell: npt.NDArray[np.signedinteger], expected: Floats) -> Floats:
    """Click rates by cell, of votes of these weights, with PRIOR_VOTES votes of the `expected` rates (cells,)."""
    seen, hits = (_sums(cell, w, len(expected)) for w in (weight, weight * clicked))
    rates: Floats = np.clip((hits + PRIOR_VOTES * expected) / (seen + PRIOR_VOTES), _LEAST_RATE, 1 - _LEAST_RATE)
    return rates


def _sums(place: npt.NDArray[np.signedinteger], values: npt.NDArray[np.generic], size: int = 0) -> Floats:
    """Sum of the values at each place (size,), float64 even when there are none."""
    found: Floats = np.bincount(place, values, size).astype(np.float64)
    return found


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _sigmoid(logit: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(logit, -_MOST_LOGIT, _MOST_LOGIT)))
    return found
