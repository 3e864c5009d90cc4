"""Cox models with one covariate each, for many covariates at once; ties as Efron's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from voxelome.imageio import Array, MaskArray
from voxelome.modelling.association import Outcome

_ITERATIONS = 100
# What a step may still promise to the log likelihood when it is the last one; Newton's then ends at the
# precision of the numbers.
_PROMISE = 1e-12
# Largest difference of two log hazards: beyond it the hazard ratio of the extremes is no longer a number.
_WIDEST = 500.0


class SingleCox(NamedTuple):
    """Cox models of one covariate each, shape (n_features,) all.

    Attributes
    ----------
    coefficient : ndarray
        Log hazard ratio per unit of the covariate; infinite where the covariate orders all events.
    standard_error : ndarray
        Of the coefficient; NaN where that is infinite.
    p : ndarray
        P-value of the likelihood-ratio test.
    """

    coefficient: Array
    standard_error: Array
    p: Array


class _State(NamedTuple):
    """Log partial likelihood, its slope and its information at some coefficients, shape (n_features,)."""

    likelihood: Array
    slope: Array
    information: Array


class _Events(NamedTuple):
    """Who is at risk at each of e events, cases in descending order of time.

    Attributes
    ----------
    case : ndarray of int, shape (e,)
        Case that has the event.
    last : ndarray of int, shape (e,)
        Last case at risk.
    group : ndarray of int, shape (e,)
        Number of the time of the event; the events with one number tie.
    share : ndarray, shape (e, 1)
        Share of the events of that time that Efron takes to have gone before.
    """

    case: Array
    last: Array
    group: Array
    share: Array


def single_cox(X: Array, outcome: Outcome) -> SingleCox:
    """Return the Cox model of each covariate alone.

    The test is that of the likelihood ratio: where a covariate orders all events the hazard ratio is
    infinite and Wald's test finds nothing, while the likelihood has a limit.

    Parameters
    ----------
    X : ndarray, shape (n, n_features)
        Covariates in units of about their spread. One that varies in no set at risk has NaN.
    outcome : Outcome
        Survival of the n cases, with at least one event.

    References
    ----------
    Efron (1977), Journal of the American Statistical Association 72:557-565.
    """
    order = np.argsort(-outcome.values, kind="stable")
    latest_first, events = X[order], _events(outcome, order)
    coefficient, null, found = _maximum(latest_first, events)
    informed = null.information > 1e-10 * len(events.case)
    rising, falling = _monotone(latest_first, events)
    coefficient = np.select([~informed, rising, falling], [np.nan, np.inf, -np.inf], coefficient)
    error = np.full(len(coefficient), np.nan)
    known = np.isfinite(coefficient) & (found.information > 0)
    error[known] = found.information[known] ** -0.5
    likelihood = found.likelihood.copy()
    for column in np.flatnonzero(informed & (rising | falling)):
        likelihood[column] = _limit(latest_first[:, column], events)
    ratio = np.maximum(2 * (likelihood - null.likelihood), 0)
    return SingleCox(coefficient, error, np.where(informed, chi2.sf(ratio, 1), np.nan))


def _events(outcome: Outcome, order: Array) -> _Events:
    """Return who is at risk at each event, the latest event first."""
    time = outcome.values[order]
    case = np.flatnonzero(outcome.event[order])
    last = np.searchsorted(-time, -time[case], side="right") - 1
    _, first, group, ties = np.unique(-time[case], return_index=True, return_inverse=True, return_counts=True)
    share = (np.arange(len(case)) - first[group]) / ties[group]
    return _Events(case, last, group, share[:, None])


def _maximum(X: Array, events: _Events) -> tuple[Array, _State, _State]:
    """Return the coefficients by Newton's method, and the likelihood at 0 and at them."""
    coefficient = np.zeros(X.shape[1])
    limit = _WIDEST / np.maximum(np.ptp(X, axis=0), 1e-300)
    null = at = _state(X, coefficient, events)
    step = _newton(at)
    for _ in range(_ITERATIONS):
        final = np.abs(step * at.slope).max(initial=0.0) < _PROMISE
        candidate = np.clip(coefficient + step, -limit, limit)
        tried = _state(X, candidate, events)
        # The likelihood is concave: a step that goes too far is made shorter.
        better = tried.likelihood >= at.likelihood - _PROMISE
        coefficient = np.where(better, candidate, coefficient)
        at = _State(*(np.where(better, new, old) for new, old in zip(tried, at, strict=True)))
        if final:
            break
        step = np.where(better, _newton(at), step / 2)
    return coefficient, null, at


def _newton(at: _State) -> Array:
    """Return Newton's step, 0 where there is no information."""
    step: Array = np.divide(
        at.slope, at.information, out=np.zeros_like(at.slope), where=at.information > 1e-12
    )
    return step


def _state(X: Array, coefficient: Array, events: _Events) -> _State:
    """Return likelihood, slope and information of each covariate at its coefficient."""
    predictor = X * coefficient
    top = predictor.max(axis=0)
    ratio = np.exp(predictor - top)
    total = _at_risk(ratio, events)
    weighted = ratio * X
    mean = _at_risk(weighted, events) / total
    square = _at_risk(weighted * X, events) / total
    likelihood = (predictor[events.case] - top - np.log(total)).sum(axis=0)
    slope = (X[events.case] - mean).sum(axis=0)
    return _State(likelihood, slope, (square - mean**2).sum(axis=0))


def _at_risk(values: Array, events: _Events) -> Array:
    """Return the sum over the cases at risk at each event, less Efron's share of those that tie with it."""
    total: Array = np.cumsum(values, axis=0)[events.last]
    if events.share.any():
        starts = np.flatnonzero(np.diff(events.group, prepend=-1))
        tied = np.add.reduceat(values[events.case], starts, axis=0)
        total -= events.share * tied[events.group]
    return total


def _monotone(X: Array, events: _Events) -> tuple[MaskArray, MaskArray]:
    """Return which covariates are the largest (or the smallest) of those at risk at every event."""
    own = X[events.case]
    rising: MaskArray = np.all(own >= np.maximum.accumulate(X, axis=0)[events.last], axis=0)
    falling: MaskArray = np.all(own <= np.minimum.accumulate(X, axis=0)[events.last], axis=0)
    return rising, falling


def _limit(covariate: Array, events: _Events) -> float:
    """Return the log likelihood of a monotone covariate, shape (n,), where its coefficient is infinite."""
    # Of those at risk, the ones with the value of the event have all of the hazard.
    same = np.equal.outer(covariate[events.case], covariate)
    at_risk = np.arange(len(covariate)) <= events.last[:, None]
    ties = np.bincount(events.group)[events.group]
    return -float(np.log((same & at_risk).sum(axis=1) - events.share[:, 0] * ties).sum())
