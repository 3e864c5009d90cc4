"""Cox's proportional hazards with few covariates: likelihood, fit and baseline; ties as Breslow's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.imageio import Array
from voxelome.modelling.association import Outcome

_ITERATIONS = 100
_TOLERANCE = 1e-9


def partial_log_likelihood(predictor: Array, outcome: Outcome) -> Array:
    """Return the logarithm of Cox's partial likelihood of linear predictors, shape (models,).

    Parameters
    ----------
    predictor : ndarray, shape (n, models)
        Logarithm of the hazard of each case, up to a constant.
    outcome : Outcome
        Survival of the n cases.
    """
    order, last = _latest_first(outcome)
    at_risk = np.logaddexp.accumulate(predictor[order], axis=0)[last]
    likelihood: Array = predictor[outcome.event].sum(axis=0) - at_risk.sum(axis=0)
    return likelihood


def fit_cox(scores: Array, outcome: Outcome, precision: float = 1.0) -> Array:
    """Return the coefficients of few covariates, shape (m,).

    The coefficients have a normal prior: without it, covariates that order all events have infinite ones.

    Parameters
    ----------
    scores : ndarray, shape (n, m)
        Covariates of about unit variance, which gives the prior its meaning.
    outcome : Outcome
        Survival of the n cases, with at least one event.
    precision : float
        Inverse of the variance of the prior.
    """
    coef = np.zeros(scores.shape[1])

    def objective(candidate: Array) -> float:
        likelihood = partial_log_likelihood((scores @ candidate)[:, None], outcome)[0]
        return float(likelihood - precision / 2 * candidate @ candidate)

    value = objective(coef)
    for _ in range(_ITERATIONS):
        slope, information = _derivatives(scores, scores @ coef, outcome)
        step = np.linalg.solve(information + precision * np.eye(len(coef)), slope - precision * coef)
        # The objective is concave: a step of Newton's that goes too far is made shorter.
        while (reached := objective(coef + step)) < value - _TOLERANCE:
            step /= 2
        coef, value = coef + step, reached
        if np.abs(step).max() < _TOLERANCE:
            break
    return coef


def breslow(predictor: Array, outcome: Outcome) -> tuple[Array, Array]:
    """Return the distinct times of events, ascending, and the cumulative baseline hazard from each on.

    Parameters
    ----------
    predictor : ndarray, shape (n,)
        Logarithm of the hazard ratio of each case.
    outcome : Outcome
        Survival of the n cases.

    References
    ----------
    Breslow (1972), Journal of the Royal Statistical Society B 34:216-217.
    """
    order, last = _latest_first(outcome)
    times, first, deaths = np.unique(outcome.values[outcome.event], return_index=True, return_counts=True)
    at_risk = np.logaddexp.accumulate(predictor[order])[last[first]]
    return times, np.cumsum(deaths * np.exp(-at_risk))


def survival_probability(times: Array, hazard: Array, predictor: Array, at: Any) -> NDArray[np.float64]:
    """Return the probability that nothing has happened until each time, shape (n, len(at)).

    Parameters
    ----------
    times, hazard : ndarray, shape (events,)
        Of :func:`breslow`. After the last of the times the probability stays what it is.
    predictor : ndarray, shape (n,)
        Logarithm of the hazard ratio of each case.
    at : array_like, shape (t,)
        Times.
    """
    reached = np.concatenate([[0.0], hazard])[np.searchsorted(times, checked_times(at), side="right")]
    # In logarithms, as 0 times a hazard ratio that is infinite would be NaN.
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(np.exp(-np.exp(np.log(reached) + predictor[:, None])), dtype=np.float64)


def checked_times(at: Any) -> NDArray[np.float64]:
    """Return times to predict for as an array, shape (t,); ValueError if one is not finite."""
    times = np.atleast_1d(np.asarray(at, dtype=np.float64))
    if times.ndim != 1 or not np.all(np.isfinite(times)):
        raise ValueError("times to predict for must be a row of finite numbers")
    return times


def _latest_first(outcome: Outcome) -> tuple[Array, Array]:
    """Return the order of cases by descending time, and where in it the set at risk of each event ends."""
    order = np.argsort(-outcome.values, kind="stable")
    before = np.searchsorted(np.sort(outcome.values), outcome.values[outcome.event], side="left")
    return order, len(order) - before - 1


def _derivatives(scores: Array, predictor: Array, outcome: Outcome) -> tuple[Array, Array]:
    """Return slope and information of the log partial likelihood at a linear predictor."""
    order, last = _latest_first(outcome)
    ratio, covariates = np.exp(predictor - predictor.max())[order], scores[order]
    total = np.cumsum(ratio)[last]
    mean = np.cumsum(ratio[:, None] * covariates, axis=0)[last] / total[:, None]
    products = np.einsum("i,ij,ik->ijk", ratio, covariates, covariates)
    square = np.cumsum(products, axis=0)[last] / total[:, None, None]
    slope = scores[outcome.event].sum(axis=0) - mean.sum(axis=0)
    return slope, square.sum(axis=0) - mean.T @ mean
