"""How often predicted probabilities come true, over their range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling.calibration import require_probabilities
from voxelome.modelling.metrics import wilson

# Distances between cases and points of the curve that are worked on at a time.
_BLOCK = 2**20
# A neighbourhood narrower than this share of the whole range has no slope that means anything.
_NARROW = 1e-3
_ROUNDING = 1e-12


@dataclass(frozen=True)
class CalibrationGroups:
    """Cases grouped by their predicted probability: all of shape (groups,).

    Attributes
    ----------
    predicted : ndarray
        Mean predicted probability.
    observed, low, high : ndarray
        Share of positive cases, and Wilson's interval.
    cases : ndarray of int
        Number of cases.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    cases: NDArray[np.intp]


@dataclass(frozen=True)
class CalibrationError:
    """Absolute distances between predicted probabilities and what was observed.

    Attributes
    ----------
    ici, e50, e90 : float
        Mean, median and 90th percentile of the distance from the smooth curve, over cases.
    expected : float
        Mean distance of the groups' shares from their mean predictions, weighed by their cases.
    """

    ici: float
    e50: float
    e90: float
    expected: float


def calibration_groups(
    positive: NDArray[np.bool_], probability: NDArray[np.float64], groups: int = 10, level: float = 0.95
) -> CalibrationGroups:
    """Return observed shares in groups between quantiles of the predictions.

    Cases with the same prediction are in the same group, so that there may be fewer groups than asked for.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class; one class alone will do.
    probability : ndarray, shape (n,)
        Probability of the positive class.
    groups : int
        Largest number of groups.
    level : float
        Confidence of Wilson's intervals.
    """
    require_probabilities(positive, probability)
    inner = np.quantile(probability, np.arange(1, groups) / groups)
    _, group = np.unique(np.searchsorted(inner, probability), return_inverse=True)
    cases = np.bincount(group)
    hits = np.bincount(group, positive)
    shares = [wilson(int(k), int(n), level) for k, n in zip(hits, cases, strict=True)]
    return CalibrationGroups(
        predicted=np.bincount(group, probability) / cases,
        observed=hits / cases,
        low=np.array([share.low for share in shares]),
        high=np.array([share.high for share in shares]),
        cases=cases,
    )


def smooth_calibration(
    positive: NDArray[np.bool_],
    probability: NDArray[np.float64],
    at: NDArray[np.float64],
    span: float = 0.75,
) -> NDArray[np.float64]:
    """Return the share of positive cases over the predictions, by a locally weighted line (lowess).

    Outcomes of 0 and 1 have no outliers: there are no robustness weights. What the lines give below 0 or
    above 1 is cut there.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class.
    probability : ndarray, shape (n,)
        Probability of the positive class.
    at : ndarray, shape (points,)
        Predicted probabilities at which the curve is wanted, between the least and the largest.
    span : float
        Share of the cases that each line is fitted to; more is smoother.

    Returns
    -------
    ndarray, shape (points,)

    Raises
    ------
    DataError
        A probability or the span is not between 0 and 1.

    References
    ----------
    Cleveland (1979), Journal of the American Statistical Association 74:829-836.
    Austin and Steyerberg (2014), Statistics in Medicine 33:517-535; of calibration.
    """
    require_probabilities(positive, probability)
    if not 0 < span <= 1:
        raise DataError(f"a span of {span}", "give a share of the cases, above 0 and at most 1")
    outcome = np.asarray(positive, dtype=np.float64)
    nearest = min(max(2, int(span * len(outcome) + 1e-10)), len(outcome))
    step = max(1, _BLOCK // len(outcome))
    curve = np.empty(len(at))
    for start in range(0, len(at), step):
        block = slice(start, start + step)
        curve[block] = _local_lines(probability, outcome, at[block], nearest)
    return np.clip(curve, 0.0, 1.0)


def _local_lines(
    x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64], nearest: int
) -> NDArray[np.float64]:
    """Return at each point the line fitted to the nearest cases with tricube weights."""
    distance = np.abs(at[:, None] - x)
    reach = np.partition(distance, nearest - 1, axis=1)[:, nearest - 1 :][:, :1]
    # Where ties fill the neighbourhood, they alone count.
    relative = np.minimum(distance / np.where(reach > 0, reach, np.finfo(float).tiny), 1.0)
    weight = (1 - relative**3) ** 3
    weight /= weight.sum(axis=1, keepdims=True)
    mean_x, mean_y = weight @ x, weight @ y
    apart = x - mean_x[:, None]
    spread = np.sum(weight * apart**2, axis=1)
    steep = spread > max(_NARROW * float(np.ptp(x)), _ROUNDING) ** 2
    slope = np.sum(weight * apart * y, axis=1) / np.where(steep, spread, 1.0)
    return np.asarray(mean_y + np.where(steep, slope, 0.0) * (at - mean_x), dtype=np.float64)


def calibration_error(
    positive: NDArray[np.bool_],
    probability: NDArray[np.float64],
    span: float = 0.75,
    groups: int = 10,
) -> CalibrationError:
    """Return how far predictions are from what was observed, by the smooth curve and by groups.

    All of it is above 0 for a perfect model too, the more so the fewer cases there are: compare models on
    the same cases.

    Parameters
    ----------
    positive, probability, span
        As in :func:`smooth_calibration`.
    groups : int
        As in :func:`calibration_groups`.

    References
    ----------
    Austin and Steyerberg (2019), Statistics in Medicine 38:4051-4065; ICI, E50 and E90.
    Naeini, Cooper and Hauskrecht (2015), AAAI 29:2901-2907; the expected calibration error.
    """
    points, which = np.unique(probability, return_inverse=True)
    distance = np.abs(smooth_calibration(positive, probability, points, span) - points)[which]
    found = calibration_groups(positive, probability, groups)
    return CalibrationError(
        float(distance.mean()),
        float(np.median(distance)),
        float(np.quantile(distance, 0.9)),
        float(np.average(np.abs(found.observed - found.predicted), weights=found.cases)),
    )
