"""Survival of groups: the curve of Kaplan and Meier, censoring, and the test of logarithms of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sksurv.compare import compare_survival

from voxelome.errors import DataError
from voxelome.modelling.resampling import require_finite
from voxelome.modelling.survival_outcome import read_survival


@dataclass(frozen=True)
class SurvivalCurve:
    """A curve that steps down at times; all of shape (times,).

    Attributes
    ----------
    times : ndarray
        Distinct times of events and of censoring, ascending.
    at_risk, events : ndarray of int
        Cases still followed just before each time, and events at it.
    survival, low, high : ndarray
        Share without an event from each time until the next, and its confidence interval.
    """

    times: NDArray[np.float64]
    at_risk: NDArray[np.intp]
    events: NDArray[np.intp]
    survival: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def at(self, times: Any) -> NDArray[np.float64]:
        """Return the survival at other times; DataError after the follow-up, of which nothing is known."""
        return _step(self.times, self.survival, times)


@dataclass(frozen=True)
class LogRank:
    """Test that groups have the same survival.

    Attributes
    ----------
    statistic, p : float
        Chi-squared and its p-value.
    degrees : int
        Of freedom.
    """

    statistic: float
    degrees: int
    p: float


def kaplan_meier(y: Any, level: float = 0.95) -> SurvivalCurve:
    """Return the survival of cases with Greenwood's interval on the scale of log(-log).

    Where the curve is 1 or 0 the interval is that point: the method has no other there.

    Parameters
    ----------
    y : structured ndarray, shape (n,)
        Events and times. There may be no event.
    level : float
        Confidence of the interval, of each time by itself.

    References
    ----------
    Kaplan and Meier (1958), Journal of the American Statistical Association 53:457-481.
    Kalbfleisch and Prentice (2002), The Statistical Analysis of Failure Time Data, page 18.
    """
    times, at_risk, events, _ = _counts(y)
    survival = np.cumprod(1 - events / at_risk, dtype=np.float64)
    left = at_risk - events
    terms = np.divide(events, at_risk * left, out=np.zeros(len(times)), where=left > 0)
    inside = (survival > 0) & (survival < 1)
    log = np.log(survival, out=np.full(len(times), -1.0), where=inside)
    reach = np.where(inside, norm.ppf((1 + level) / 2) * np.sqrt(np.cumsum(terms)) / -log, 0.0)
    low, high = (survival ** np.exp(side * reach) for side in (1, -1))
    return SurvivalCurve(times, at_risk, events, survival, low, high)


def still_followed(training: Any, times: Any) -> NDArray[np.float64]:
    """Return the probability that a case without an event would still be followed after each time.

    It is the Kaplan-Meier curve of censoring, where events at a time come before censoring at it.

    Parameters
    ----------
    training : structured ndarray, shape (n,)
        Events and times that the curve is learned from.
    times : array_like, shape (t,)
        Not after the last time in `training`.

    Raises
    ------
    DataError
        A time is later, or nobody was followed beyond it.
    """
    known, at_risk, events, censored = _counts(training)
    left = at_risk - events
    share = np.divide(censored, left, out=np.zeros(len(known)), where=left > 0)
    probability = _step(known, np.cumprod(1 - share), times)
    if np.any(probability <= 0):
        raise DataError(f"no case in training was followed beyond {known[-1]:g}", "ask for times before that")
    return probability


def risk_groups(training_risk: Any, risk: Any, shares: Sequence[float] = (0.5,)) -> NDArray[np.intp]:
    """Return the group of each case by cuts that were made in training, from 0, the lowest risk; shape (n,).

    Parameters
    ----------
    training_risk : array_like, shape (m,)
        Risks whose quantiles are the cuts.
    risk : array_like, shape (n,)
        Of the cases. One at a cut is in the group below.
    shares : sequence of float
        Of the training cases below each cut, ascending, in (0, 1).
    """
    training_risk, risk = np.asarray(training_risk, np.float64), np.asarray(risk, np.float64)
    if len(training_risk) == 0 or len(shares) == 0 or not 0 < min(shares) <= max(shares) < 1:
        raise DataError(
            f"{len(training_risk)} risks and shares {list(shares)} give no cuts",
            "give both, shares in (0, 1)",
        )
    for values, name in ((training_risk, "risks in training"), (risk, "risks")):
        require_finite(values, name)
    return np.asarray(
        np.digitize(risk, np.quantile(training_risk, sorted(shares)), right=True), dtype=np.intp
    )


def log_rank(y: Any, group: Any) -> LogRank:
    """Test whether groups have the same survival.

    The test holds for groups that were made without looking at `y`, as those of one model in cases that it
    has not seen. Groups from a cross-validation are not: put together they tell what there is, but their
    p-value needs labels that were permuted before the whole of it (Simon et al. 2011).

    Parameters
    ----------
    y : structured ndarray, shape (n,)
        Events and times.
    group : array_like, shape (n,)
        Name or number of the group of each case.

    References
    ----------
    Mantel (1966), Cancer Chemotherapy Reports 50:163-170.
    Simon, Subramanian, Li and Menezes (2011), Briefings in Bioinformatics 12:203-214.
    """
    read_survival(y)
    names, group = np.unique(group, return_inverse=True)
    if len(group) != len(y) or len(names) < 2:
        raise DataError(
            f"{len(names)} groups of {len(group)} cases for {len(y)} outcomes",
            "give at least two groups, and the group of each case",
        )
    try:
        statistic, p = compare_survival(y, group)
    except np.linalg.LinAlgError as error:
        raise DataError(
            "no event happened while a case of each group was followed", "put such a group to another one"
        ) from error
    return LogRank(float(statistic), len(names) - 1, float(p))


def _counts(y: Any) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return distinct times, and of each the cases at risk, the events and the cases censored."""
    outcome = read_survival(y, least_events=0)
    times, place = np.unique(outcome.values, return_inverse=True)
    leaving = np.bincount(place)
    events = np.bincount(place[outcome.event], minlength=len(times))
    at_risk = len(outcome.values) - np.cumsum(leaving) + leaving
    return times, at_risk, events, leaving - events


def _step(known: NDArray[np.float64], values: NDArray[np.float64], times: Any) -> NDArray[np.float64]:
    """Return at other times what is 1 at first and `values` from each known time on."""
    times = np.asarray(times, dtype=np.float64)
    require_finite(times, "times")
    if np.any(times > known[-1]):
        raise DataError(
            f"a time of {times.max():g} is after the follow-up in training, which ends at {known[-1]:g}",
            "ask for earlier times",
        )
    place = np.searchsorted(known, times, side="right")
    return np.asarray(np.concatenate([[1.0], values])[place], dtype=np.float64)
