"""How well held-out predictions tell two classes apart, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_curve

from voxelome.errors import DataError
from voxelome.modelling.resampling import Estimate

Fold = tuple[NDArray[np.bool_], NDArray[np.float64]]


def auc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the share of pairs of both classes that the score orders rightly; a tie counts half.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class; both must occur.
    score : ndarray, shape (n,)
        Larger means more probably positive.
    """
    n_positive = int(positive.sum())
    pairs = n_positive * (len(positive) - n_positive)
    ranks = rankdata(score)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / pairs)


def pairs_of(positive: NDArray[np.bool_]) -> int:
    """Return the number of pairs of a positive and a negative case."""
    n_positive = int(positive.sum())
    return n_positive * (len(positive) - n_positive)


def cross_validated_auc(folds: Sequence[Fold]) -> float:
    """Return the AUC over pairs of cases that were held out together.

    Only two cases scored by the same model are compared: the mean of the folds' AUCs, weighted by their
    numbers of pairs. Scores of several models must not be pooled: where a class is held out, the others
    are more frequent in training, which lowers its scores, so that pooling finds less than chance where
    there is nothing to find (Parker, Gunter and Bedo 2007, BMC Bioinformatics 8:326; Airola et al. 2011,
    Computational Statistics & Data Analysis 55:1828-1844). Repeats with other folds bring in other pairs.

    Parameters
    ----------
    folds : sequence of (positive, score)
        Held-out cases of each fold, of all repeats. A fold with one class has no pair and no weight.
    """
    usable = [fold for fold in folds if pairs_of(fold[0])]
    weights = [pairs_of(positive) for positive, _ in usable]
    return float(np.average([auc(*fold) for fold in usable], weights=weights))


def auc_interval(value: float, n_positive: int, n_negative: int, level: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval of an AUC that is honest for few cases.

    The bounds are the AUCs that `value` is just compatible with, given the variance that they would have,
    as Wilson's interval does for a proportion: an AUC of 1 in a few cases does not have the interval
    [1, 1]. The variance is that of Hanley and McNeil (1982) as modified by Newcombe.

    Parameters
    ----------
    value : float
        Observed AUC.
    n_positive, n_negative : int
        Independent cases (participants, not visits).
    level : float
        Confidence.

    References
    ----------
    Newcombe (2006), Statistics in Medicine 25:559-573, method 5.
    """
    z = float(norm.ppf((1 + level) / 2))
    middle = (n_positive + n_negative) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + middle * (1 - theta) / (2 - theta) + middle * theta / (1 + theta)
        return (value - theta) ** 2 - z**2 * theta * (1 - theta) * spread / (n_positive * n_negative)

    # At an observed 0 or 1 `excess` vanishes there too; that root is not the bound.
    inside = 1e-9
    low = float(brentq(excess, 0.0, value - inside)) if value > inside else 0.0
    high = float(brentq(excess, value + inside, 1.0)) if value < 1 - inside else 1.0
    return low, high


def mean_roc(folds: Sequence[Fold]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ROC curve, (false positive rate, true positive rate), averaged vertically over folds.

    Folds weigh by their pairs, so that the area under the curve is :func:`cross_validated_auc`.
    """
    usable = [fold for fold in folds if pairs_of(fold[0])]
    curves = [roc_curve(*fold, drop_intermediate=False)[:2] for fold in usable]
    weights = [pairs_of(positive) for positive, _ in usable]
    grid = np.unique(np.concatenate([fpr for fpr, _ in curves]))
    limits = np.average([_limits(fpr, tpr, grid) for fpr, tpr in curves], axis=0, weights=weights)
    # Each grid point twice: where the curve arrives, and where it leaves after its step up.
    return np.repeat(grid, 2), limits.T.reshape(-1)


def _limits(fpr: Any, tpr: Any, grid: Any) -> Any:
    """Return the true positive rate, shape (2, g), just before and just after each point of the grid."""
    places, first = np.unique(fpr, return_index=True)
    before, after = np.minimum.reduceat(tpr, first), np.maximum.reduceat(tpr, first)
    at = np.searchsorted(places, grid, side="right") - 1
    following = np.minimum(at + 1, len(places) - 1)
    width = np.where(following > at, places[following] - places[at], 1.0)
    between = after[at] + (before[following] - after[at]) * (grid - places[at]) / width
    exact = places[at] == grid
    return np.stack([np.where(exact, before[at], between), np.where(exact, after[at], between)])


def wilson(successes: int, trials: int, level: float = 0.95) -> Estimate:
    """Return a proportion with Wilson's score interval; all is NaN where there are no trials.

    References
    ----------
    Wilson (1927), Journal of the American Statistical Association 22:209-212.
    """
    if not 0 <= successes <= trials:
        raise DataError(f"{successes} successes in {trials} trials", "give no more successes than trials")
    if trials == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    z, share = float(norm.ppf((1 + level) / 2)), successes / trials
    centre = share + z**2 / (2 * trials)
    reach = z * float(np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2))
    low, high = ((centre + side * reach) / (1 + z**2 / trials) for side in (-1, 1))
    # At 0 and 1 the bound is the share itself, but for rounding.
    return Estimate(share, low if successes else 0.0, high if successes < trials else 1.0)


def finite(value: float) -> float | None:
    """Return a number as JSON holds it: None where it is not finite."""
    return float(value) if np.isfinite(value) else None
