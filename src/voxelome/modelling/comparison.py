"""Whether one model is better than another, on the same participants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata, t

from voxelome.errors import DataError
from voxelome.modelling.resampling import (
    UNKNOWN,
    Estimate,
    require_both_classes,
    require_finite,
)


@dataclass(frozen=True)
class Comparison:
    """Scores of two models and a test of whether they differ.

    Attributes
    ----------
    first, second : float
        Score of each model.
    difference : Estimate
        First minus second.
    statistic, p : float
        Of the two-sided test of no difference. They and the interval are NaN where the difference does
        not vary, as for two models that order all cases alike: nothing tells then how sure it is.
    """

    first: float
    second: float
    difference: Estimate
    statistic: float
    p: float


def delong_covariance(
    positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the AUCs of models, shape (models,), and their covariance, shape (models, models).

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class of each case. Cases are independent: participants, not visits.
    scores : ndarray, shape (models, n)
        Larger means more probably positive. A score is that of one model (or of models on one scale):
        the method knows nothing of folds.

    Raises
    ------
    DataError
        There are fewer than two cases of a class, or scores are not finite.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837-845.
    Sun and Xu (2014), IEEE Signal Processing Letters 21:1389-1393; ranks instead of pairs.
    """
    wins, beaten = _placements(positive, scores)
    return wins.mean(axis=1) / beaten.shape[1], _covariance(wins, beaten)


def _placements(
    positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the negatives below each positive and the positives above each negative; a tie counts half.

    These are shares in the paper. Counts are exact, so that differences that do not vary have variance 0.
    """
    require_both_classes(positive, least=2)
    require_finite(scores, "scores")
    ranks = rankdata(scores, axis=1)
    wins = ranks[:, positive] - rankdata(scores[:, positive], axis=1)
    losses = ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=1)
    return wins, wins.shape[1] - losses


def _covariance(wins: NDArray[np.float64], beaten: NDArray[np.float64]) -> NDArray[np.float64]:
    n_positive, n_negative = wins.shape[1], beaten.shape[1]
    of_positives = np.cov(wins) / (n_positive * n_negative**2)
    of_negatives = np.cov(beaten) / (n_negative * n_positive**2)
    return np.atleast_2d(of_positives + of_negatives)


def delong_interval(
    positive: NDArray[np.bool_],
    score: NDArray[np.float64],
    level: float = 0.95,
    on_logit_scale: bool = False,
) -> Estimate:
    """Return an AUC with DeLong's interval.

    Prefer :func:`voxelome.modelling.metrics.auc_interval` for few cases or an AUC near 1, where this one is
    too narrow. The bounds are NaN where the variance is 0, as at an AUC of 1.

    Parameters
    ----------
    positive, score : ndarray, shape (n,)
        As in :func:`delong_covariance`.
    level : float
        Confidence.
    on_logit_scale : bool
        Whether log odds of the AUC are taken to be normal (Pepe 2003, page 107), not the AUC itself. The
        bounds are then inside 0 and 1 by themselves; otherwise they are cut there.
    """
    aucs, covariance = delong_covariance(positive, score[None])
    value, variance = float(aucs[0]), float(covariance[0, 0])
    if variance == 0:
        return Estimate(value, UNKNOWN.low, UNKNOWN.high)
    error = float(np.sqrt(variance))
    reach = float(norm.ppf((1 + level) / 2)) * error
    if on_logit_scale:
        reach /= value * (1 - value)
        low, high = (float(expit(logit(value) + side * reach)) for side in (-1, 1))
        return Estimate(value, low, high, error)
    return Estimate(value, max(value - reach, 0.0), min(value + reach, 1.0), error)


def delong_test(
    positive: NDArray[np.bool_],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    level: float = 0.95,
) -> Comparison:
    """Compare the AUCs of two models on the same cases.

    Parameters
    ----------
    positive, first, second : ndarray, shape (n,)
        Class and scores, as in :func:`delong_covariance`. The models have not seen the cases. Where one
        holds the other's features and was fitted to them, the test finds differences too rarely (Demler,
        Pencina and D'Agostino 2012, Statistics in Medicine 31:2577-2587).
    level : float
        Confidence of the interval of the difference.
    """
    wins, beaten = _placements(positive, np.stack([first, second]))
    auc_first, auc_second = (float(mean) for mean in wins.mean(axis=1) / beaten.shape[1])
    variance = _covariance(wins[:1] - wins[1:], beaten[:1] - beaten[1:])[0, 0]
    difference = auc_first - auc_second
    if variance == 0:
        nothing = Estimate(difference, UNKNOWN.low, UNKNOWN.high)
        return Comparison(auc_first, auc_second, nothing, UNKNOWN.value, UNKNOWN.value)
    error = float(np.sqrt(variance))
    reach, z = float(norm.ppf((1 + level) / 2)) * error, difference / error
    bounds = Estimate(difference, difference - reach, difference + reach, error)
    return Comparison(auc_first, auc_second, bounds, z, float(2 * norm.sf(abs(z))))


def corrected_t_test(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    n_train: float,
    n_test: float,
    level: float = 0.95,
) -> Comparison:
    """Compare the scores of two models over the folds of (repeated) cross-validation.

    Folds share most of their training cases, so that their scores are not independent and a usual t-test
    finds differences that are not there, the more so the more repeats. The variance of the mean is taken as
    (1 / scores + n_test / n_train) times the variance of the differences.

    Parameters
    ----------
    first, second : ndarray, shape (folds * repeats,)
        Score of each model on each held-out part; the parts are the same for both.
    n_train, n_test : float
        Participants in the training and in the held-out part (their means): k folds have k - 1 to 1.
    level : float
        Confidence of the interval of the difference.

    Raises
    ------
    DataError
        There are fewer than two scores, or they are not finite or not as many for both models.

    References
    ----------
    Nadeau and Bengio (2003), Machine Learning 52:239-281.
    Bouckaert and Frank (2004), PAKDD, LNAI 3056:3-12; repeated folds.
    """
    if first.shape != second.shape or first.size < 2 or not (n_train > 0 and n_test > 0):
        raise DataError(
            f"{first.size} and {second.size} scores of folds with {n_train} training and {n_test} test cases",
            "give the scores of both models on the same two or more held-out parts",
        )
    require_finite(np.stack([first, second]), "scores")
    change = first - second
    mean, freedom = float(change.mean()), change.size - 1
    scores = float(first.mean()), float(second.mean())
    if np.ptp(change) == 0:
        nothing = Estimate(mean, UNKNOWN.low, UNKNOWN.high)
        return Comparison(*scores, nothing, UNKNOWN.value, UNKNOWN.value)
    error = float(np.sqrt((1 / change.size + n_test / n_train) * change.var(ddof=1)))
    reach, statistic = float(t.ppf((1 + level) / 2, freedom)) * error, mean / error
    bounds = Estimate(mean, mean - reach, mean + reach, error)
    return Comparison(*scores, bounds, statistic, float(2 * t.sf(abs(statistic), freedom)))
