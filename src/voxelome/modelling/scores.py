"""Scores of classifiers beside the AUC of two classes, with intervals that count participants."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc
from voxelome.modelling.resampling import (
    Estimate,
    bootstrap,
    by_participant,
    require_finite,
)


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


def sensitivity_and_specificity(
    positive: NDArray[np.bool_], decided: NDArray[np.bool_], level: float = 0.95
) -> tuple[Estimate, Estimate]:
    """Return sensitivity and specificity with Wilson's intervals; NaN for a class that does not occur.

    Parameters
    ----------
    positive, decided : ndarray of bool, shape (n,)
        Class, and whether the case was called positive. Cases are independent: participants, not visits.
    level : float
        Confidence.
    """
    return (
        wilson(int(np.sum(decided & positive)), int(np.sum(positive)), level),
        wilson(int(np.sum(~decided & ~positive)), int(np.sum(~positive)), level),
    )


def average_precision(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the mean precision at the scores of the positive cases; tied cases are called together.

    Without any skill it is the prevalence, on average; NaN where no case is positive.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Class.
    score : ndarray, shape (n,)
        Larger means more probably positive.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    found = np.cumsum(positive[order])[last]
    if found[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(found, prepend=0) * found / (last + 1)) / found[-1])


def average_precision_interval(
    who: NDArray[Any],
    positive: NDArray[np.bool_],
    score: NDArray[np.float64],
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return the average precision with its percentile interval over participants.

    Parameters
    ----------
    who, positive, score : ndarray, shape (rows,)
        Participant, class and score; scores are averaged over the rows of each participant.
    resamples, level, seed
        As in :func:`voxelome.modelling.resampling.bootstrap`.

    Raises
    ------
    DataError
        One class does not occur, or scores are not finite.
    """
    require_finite(score, "scores")
    people = by_participant(who, np.asarray(positive, dtype=np.bool_))
    mean = people.mean(score)
    return bootstrap(
        lambda drawn: average_precision(people.truth[drawn], mean[drawn]),
        people.truth,
        resamples,
        level,
        seed,
    )


def hand_till(truth: NDArray[np.intp], probability: NDArray[np.float64]) -> float:
    """Return the AUC of several classes: the mean over pairs of classes, whatever their frequencies.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
        Class of each case, counted from 0.
    probability : ndarray, shape (n, classes)
        Of each class.

    Raises
    ------
    DataError
        A class does not occur, or probabilities are not finite.

    References
    ----------
    Hand and Till (2001), Machine Learning 45:171-186; M, equation 7.
    """
    classes = probability.shape[1]
    require_finite(probability, "probabilities")
    if classes < 2 or set(np.unique(truth)) != set(range(classes)):
        raise DataError(
            f"classes {np.unique(truth).tolist()} in {classes} columns of probabilities",
            "give cases of every class, and one column for each of two or more classes",
        )
    return float(
        np.mean([_separation(truth, probability, *pair) for pair in combinations(range(classes), 2)])
    )


def _separation(truth: NDArray[np.intp], probability: NDArray[np.float64], one: int, other: int) -> float:
    """Return how well the probabilities of two classes tell them apart, averaged over the two."""
    both = np.isin(truth, [one, other])
    known = truth[both]
    return (auc(known == one, probability[both, one]) + auc(known == other, probability[both, other])) / 2
