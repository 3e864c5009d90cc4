"""Whether predicted probabilities come true as often as they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from voxelome.errors import DataError
from voxelome.modelling.resampling import UNKNOWN, Estimate, require_both_classes

# Probabilities are kept this far from 0 and 1 where their log odds are needed: a 0 that comes true would
# otherwise count infinitely much.
EPSILON = 1e-6


@dataclass(frozen=True)
class Recalibration:
    """Cox's recalibration: log odds of the outcome = intercept + slope x log odds of the prediction.

    Attributes
    ----------
    slope : Estimate
        1 is right; below 1 predictions are too extreme, as those of an overfitted model.
    intercept : Estimate
        Beside that slope.
    in_the_large : Estimate
        Intercept where the slope is 1; 0 is right, above 0 predictions are too low.
    """

    slope: Estimate
    intercept: Estimate
    in_the_large: Estimate


@dataclass(frozen=True)
class Brier:
    """Mean squared distance of the probabilities from what came true.

    Attributes
    ----------
    value : float
        0 is best.
    scaled : float
        Share of the Brier score of the prevalence that the predictions do away with: 1 is best, below 0 the
        prevalence would have been better. NaN where one class does not occur.
    """

    value: float
    scaled: float


def recalibration(
    positive: NDArray[np.bool_],
    probability: NDArray[np.float64],
    level: float = 0.95,
    epsilon: float = EPSILON,
) -> Recalibration:
    """Return calibration slope and intercepts with standard errors and Wald intervals.

    Where the predictions separate the classes perfectly (or but for ties at the border), the slope is inf,
    -inf where they do so the wrong way round, without an interval, and the intercept NaN. Where all
    predictions are the same, slope and intercept are NaN. The intercept in the large is there in any case.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class. Cases are independent: participants, not visits.
    probability : ndarray, shape (n,)
        Probability of the positive class; 0 and 1 are taken as `epsilon` and 1 - `epsilon`.
    level : float
        Confidence.
    epsilon : float
        Least distance from 0 and 1.

    Raises
    ------
    DataError
        One class does not occur, or a probability is not between 0 and 1.

    References
    ----------
    Cox (1958), Biometrika 45:562-565.
    """
    require_probabilities(positive, probability)
    require_both_classes(positive)
    odds = logit(np.clip(probability, epsilon, 1 - epsilon))
    (large,) = _fit(np.ones((len(odds), 1)), positive, odds, level)
    limit = _separated(positive, odds)
    if limit is not None:
        return Recalibration(Estimate(limit, UNKNOWN.low, UNKNOWN.high), UNKNOWN, large)
    intercept, slope = _fit(
        np.stack([np.ones_like(odds), odds], axis=1), positive, np.zeros_like(odds), level
    )
    return Recalibration(slope, intercept, large)


def require_probabilities(positive: NDArray[np.bool_], probability: NDArray[np.float64]) -> None:
    """Raise a DataError unless there are cases, with as many probabilities from 0 to 1."""
    if len(positive) == 0 or len(positive) != len(probability):
        raise DataError(f"{len(positive)} classes and {len(probability)} predictions", "give one of each")
    if not np.all((probability >= 0) & (probability <= 1)):
        raise DataError(
            "some predictions are not between 0 and 1", "give probabilities of the positive class"
        )


def _separated(positive: NDArray[np.bool_], odds: NDArray[np.float64]) -> float | None:
    """Return the slope without bound to which the likelihood rises, NaN if none matters, None if bounded."""
    above, below = odds[positive], odds[~positive]
    if np.ptp(odds) == 0:
        return float("nan")
    if above.min() >= below.max():
        return float("inf")
    return float("-inf") if above.max() <= below.min() else None


def _fit(
    design: NDArray[np.float64], positive: NDArray[np.bool_], offset: NDArray[np.float64], level: float
) -> list[Estimate]:
    """Return the coefficients of a logistic regression of which the maximum is known to exist."""

    def likelihood(coefficients: NDArray[np.float64]) -> float:
        eta = design @ coefficients + offset
        return float(np.sum(positive * eta - np.logaddexp(0, eta)))

    found, best = np.zeros(design.shape[1]), likelihood(np.zeros(design.shape[1]))
    for _ in range(200):
        share = expit(design @ found + offset)
        information = design.T @ (design * (share * (1 - share))[:, None])
        step = np.linalg.solve(information, design.T @ (positive - share))
        # Newton's step may be far too long where predictions are extreme; the likelihood is concave.
        while likelihood(found + step) < best - 1e-9 * abs(best):
            step /= 2
        found, best = found + step, likelihood(found + step)
        if np.max(np.abs(step)) <= 1e-12 * (1 + np.max(np.abs(found))):
            break
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    z = float(norm.ppf((1 + level) / 2))
    return [
        Estimate(float(b), float(b - z * e), float(b + z * e), float(e))
        for b, e in zip(found, errors, strict=True)
    ]


def brier(positive: NDArray[np.bool_], probability: NDArray[np.float64]) -> Brier:
    """Return the Brier score, and what is gained over predicting the prevalence of these cases.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class.
    probability : ndarray, shape (n,)
        Probability of the positive class.

    References
    ----------
    Brier (1950), Monthly Weather Review 78:1-3.
    Steyerberg et al. (2010), Epidemiology 21:128-138; scaled.
    """
    require_probabilities(positive, probability)
    value, prevalence = float(np.mean((probability - positive) ** 2)), float(np.mean(positive))
    naive = prevalence * (1 - prevalence)
    return Brier(value, 1 - value / naive if naive > 0 else float("nan"))
