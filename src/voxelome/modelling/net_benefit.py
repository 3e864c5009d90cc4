"""Whether decisions by a model do more good than treating everybody or nobody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling.resampling import require_finite


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit, in true positives per case, of three policies: all of shape (thresholds,).

    Attributes
    ----------
    threshold : ndarray
        Probability from which a case is treated.
    model, treat_all, treat_none : ndarray
        Net benefit of each policy; that of treating nobody is 0.
    """

    threshold: NDArray[np.float64]
    model: NDArray[np.float64]
    treat_all: NDArray[np.float64]
    treat_none: NDArray[np.float64]


def decision_curve(
    positive: NDArray[np.bool_], probability: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> DecisionCurve:
    """Return the net benefit over thresholds: true positives less false ones, weighed by the odds, per case.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class; one class alone will do.
    probability : ndarray, shape (n,)
        Probability of the positive class. A case at the threshold is treated.
    thresholds : ndarray, shape (thresholds,)
        Each at least 0 and below 1, where the odds are finite.

    Raises
    ------
    DataError
        There are no cases, probabilities are not finite, or a threshold is outside its range.

    References
    ----------
    Vickers and Elkin (2006), Medical Decision Making 26:565-574.
    """
    if len(positive) == 0 or not np.all((thresholds >= 0) & (thresholds < 1)):
        raise DataError(
            f"a net benefit of {len(positive)} cases at thresholds {thresholds.tolist()}",
            "give at least one case, and thresholds of at least 0 and below 1",
        )
    require_finite(probability, "probabilities")
    odds = thresholds / (1 - thresholds)
    treated = probability[:, None] >= thresholds
    prevalence = np.mean(positive)
    true = np.mean(treated & positive[:, None], axis=0)
    false = np.mean(treated & ~positive[:, None], axis=0)
    return DecisionCurve(
        np.asarray(thresholds, dtype=np.float64),
        true - odds * false,
        prevalence - odds * (1 - prevalence),
        np.zeros(len(thresholds)),
    )
