"""How many participants a model needs before it is worth making."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import chi2, norm, t

from voxelome.errors import DataError
from voxelome.modelling.cox_snell import largest_cox_snell

# What Riley et al. ask for: R2 at most so far from the adjusted one, risk known to within so much, and
# standard deviation and mean of a number known to within this factor.
_DIFFERENCE = 0.05
_RISK = 0.05
_FACTOR = 1.1
_RISK_KNOWN = "overall risk within 0.05"


@dataclass(frozen=True)
class Criterion:
    """Participants that one criterion asks for."""

    name: str
    n: int


@dataclass(frozen=True)
class SampleSize:
    """What each criterion asks for, the largest of it, and a sentence that says so."""

    criteria: tuple[Criterion, ...]
    minimum: int
    sentence: str


def events_per_variable(events: int, non_events: int, parameters: int) -> float:
    """Return the cases of the rarer class for each candidate parameter.

    Candidates are all features that were offered, not those that were selected. A rule of thumb (10 or
    more: Peduzzi et al. 1996, Journal of Clinical Epidemiology 49:1373-1379) that the criteria below replace.
    """
    _require(parameters >= 1 and min(events, non_events) >= 0, f"{parameters} parameters")
    return min(events, non_events) / parameters


def for_binary(parameters: int, r2: float, prevalence: float, shrinkage: float = 0.9) -> SampleSize:
    """Return the participants needed for a model of a binary outcome.

    Parameters
    ----------
    parameters : int
        Candidates, before any selection.
    r2 : float
        Cox-Snell R2 to be expected in others; the smaller the safer. For that of an AUC see
        :func:`voxelome.modelling.cox_snell.cox_snell_of_auc`.
    prevalence : float
        Of the outcome.
    shrinkage : float
        Factor by which coefficients may have to be shrunk; 0.9 is little overfitting.

    Raises
    ------
    DataError
        A number is outside of its range, or no model can have this R2.

    References
    ----------
    Riley et al. (2019), Statistics in Medicine 38:1276-1296.
    Riley et al. (2020), BMJ 368:m441.
    """
    most = largest_cox_snell(prevalence)
    precise = (_z() / _RISK) ** 2 * prevalence * (1 - prevalence)
    given = f"candidate parameters: {parameters}, prevalence: {prevalence:g}, Cox-Snell R2: {r2:g}"
    criteria = [*_overfitting(parameters, r2, most, shrinkage), Criterion(_RISK_KNOWN, _up(precise))]
    return _sized(criteria, given)


def for_survival(
    parameters: int, r2: float, rate: float, horizon: float, follow_up: float, shrinkage: float = 0.9
) -> SampleSize:
    """Return the participants needed for a model of the time to an event.

    Parameters
    ----------
    parameters, r2, shrinkage
        As in :func:`for_binary`.
    rate : float
        Events per unit of time, over all participants.
    horizon : float
        Time for which risk is predicted.
    follow_up : float
        Mean time to event or censoring.

    Raises
    ------
    DataError
        A number is outside of its range, or no model can have this R2.

    References
    ----------
    As in :func:`for_binary`. The interval of the overall risk is that of an exponential model; the larger
    of its two sides counts.
    """
    events = rate * follow_up
    _require(
        rate > 0 and horizon > 0 and 0 < events <= 1,
        f"a rate of {rate} over a follow-up of {follow_up}, which is {events:g} events per participant",
    )
    # Time is counted in units of the mean follow-up, so that the result does not depend on the unit.
    most = float(1 - np.exp(2 * events * (np.log(events) - 1)))
    # The side towards less risk is the wider one.
    reach = np.log1p(_RISK * np.exp(rate * horizon)) / horizon
    precise = rate * (_z() / reach) ** 2 / follow_up
    given = (
        f"candidate parameters: {parameters}, events per unit of time: {rate:g},"
        f" mean follow-up: {follow_up:g}, Cox-Snell R2: {r2:g}"
    )
    criteria = [*_overfitting(parameters, r2, most, shrinkage), Criterion(_RISK_KNOWN, _up(precise))]
    return _sized(criteria, given)


def for_continuous(
    parameters: int,
    r2: float,
    mean: float | None = None,
    deviation: float | None = None,
    shrinkage: float = 0.9,
) -> SampleSize:
    """Return the participants needed for a linear model of a number.

    Parameters
    ----------
    parameters, shrinkage
        As in :func:`for_binary`.
    r2 : float
        Adjusted R2 to be expected.
    mean, deviation : float, optional
        Of the outcome. Without them, or where the mean is 0, the criterion of the mean is left out: it asks
        for a precision relative to the mean.

    Raises
    ------
    DataError
        A number is outside of its range.

    References
    ----------
    Riley et al. (2019), Statistics in Medicine 38:1262-1275.
    """
    _require(
        parameters >= 1 and 0 < r2 < 1 and 0 < shrinkage < 1,
        f"{parameters} parameters, an R2 of {r2} and a shrinkage of {shrinkage}",
    )
    least = parameters + 2
    criteria = [
        Criterion(f"shrinkage of {shrinkage:g}", _linear_shrinkage(parameters, r2, shrinkage)),
        Criterion("R2 within 0.05 of the adjusted R2", _up(1 + parameters * (1 - r2) / _DIFFERENCE)),
        Criterion("standard deviation within 10 %", _first(lambda n: _spread(n - parameters - 1), least)),
    ]
    if mean and deviation is not None:
        _require(deviation > 0, f"a standard deviation of {deviation}")
        relative = deviation * float(np.sqrt(1 - r2)) / abs(mean)

        def known(n: int) -> bool:
            return bool(t.ppf(0.975, n - parameters - 1) * relative / np.sqrt(n) <= _FACTOR - 1)

        criteria.append(Criterion("mean within 10 %", _first(known, least)))
    return _sized(criteria, f"candidate parameters: {parameters}, adjusted R2: {r2:g}")


def _require(right: bool, seen: str) -> None:
    if not right:
        raise DataError(f"{seen} is outside of what can be", "give numbers that a study can have")


def _z() -> float:
    return float(norm.ppf(0.975))


def _up(n: float) -> int:
    """Return the next whole number; 401.0000000001 is 401."""
    return int(np.ceil(n * (1 - 1e-12)))


def _overfitting(parameters: int, r2: float, most: float, shrinkage: float) -> list[Criterion]:
    """Return the criteria of shrinkage and of optimism in R2, for outcomes that are no numbers."""
    _require(
        parameters >= 1 and 0 < r2 < min(shrinkage, most) and shrinkage < 1,
        f"{parameters} parameters, a shrinkage of {shrinkage}, a Cox-Snell R2 of {r2} (at most {most:.3f})",
    )

    def needed(factor: float) -> int:
        return _up(parameters / ((factor - 1) * np.log1p(-r2 / factor)))

    return [
        Criterion(f"shrinkage of {shrinkage:g}", needed(shrinkage)),
        Criterion("Nagelkerke's R2 within 0.05 of the adjusted one", needed(r2 / (r2 + _DIFFERENCE * most))),
    ]


def _linear_shrinkage(parameters: int, r2: float, shrinkage: float) -> int:
    """Return the n from which on 1 + (p - 2) / (n log(1 - apparent R2)) is at least the shrinkage.

    With hardly more participants than parameters the formula may be met too, where it means nothing. What
    must be large enough is convex in n, so that n is beyond its minimum.
    """

    def excess(n: float) -> float:
        apparent = (r2 * (n - parameters - 1) + parameters) / (n - 1)
        return float(-n * np.log1p(-apparent) - (parameters - 2) / (1 - shrinkage))

    least = parameters + 2
    enough = least + max(parameters - 2, 0) / ((1 - shrinkage) * -np.log1p(-r2))
    turn = (
        float(minimize_scalar(excess, bounds=(least, enough), method="bounded").x)
        if enough > least
        else least
    )
    return least if excess(turn) >= 0 else _up(brentq(excess, turn, enough, xtol=1e-9))


def _spread(freedom: int) -> bool:
    """Return whether a standard deviation is known to within the factor."""
    low, high = (float(chi2.ppf(share, freedom)) / freedom for share in (0.025, 0.975))
    return max(1 / low, high) <= _FACTOR**2


def _first(enough: Callable[[int], bool], least: int) -> int:
    """Return the smallest n, at least `least`, that is enough, as all larger ones are."""
    high = least
    while not enough(high):
        high *= 2
    low = least - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _sized(criteria: list[Criterion], given: str) -> SampleSize:
    largest = max(criteria, key=lambda criterion: criterion.n)
    sentence = f"A model needs at least {largest.n} participants ({largest.name}); {given}."
    return SampleSize(tuple(criteria), largest.n, sentence)
