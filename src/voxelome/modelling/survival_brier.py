"""Whether predicted probabilities of survival come true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling.resampling import require_finite
from voxelome.modelling.survival_curves import kaplan_meier, still_followed
from voxelome.modelling.survival_metrics import ascending
from voxelome.modelling.survival_outcome import read_survival


@dataclass(frozen=True)
class BrierScore:
    """Squared error of predicted survival, of which less is better.

    Attributes
    ----------
    times, scores, baseline : ndarray, shape (t,)
        Times, the score at each, and that of predicting what training survived for every case.
    integrated, integrated_baseline : float
        Means over the times, by the trapezoidal rule.
    """

    times: NDArray[np.float64]
    scores: NDArray[np.float64]
    baseline: NDArray[np.float64]
    integrated: float
    integrated_baseline: float

    @property
    def explained(self) -> float:
        """Share of the baseline's integrated score that the model saves; below 0 it does worse."""
        return 1 - self.integrated / self.integrated_baseline if self.integrated_baseline else float("nan")


def brier_score(training: Any, y: Any, survival: Any, times: Any) -> BrierScore:
    """Return the Brier score of predicted survival at times and over them.

    Cases that are censored are made up for by weights: the inverse probability, in training, of being
    followed until the event, or until the time.

    Parameters
    ----------
    training : structured ndarray, shape (m,)
        Events and times of training, for the weights and the baseline (Kaplan and Meier's curve).
    y : structured ndarray, shape (n,)
        Events and times of cases that the model has not seen. There may be no event.
    survival : array_like, shape (n, t)
        Probability of each case that its event comes after each time.
    times : array_like, shape (t,)
        At least two, ascending, before the end of the follow-up in training.

    Raises
    ------
    DataError
        Shapes do not fit, probabilities are none, or training tells nothing of a time.

    References
    ----------
    Graf, Schmoor, Sauerbrei and Schumacher (1999), Statistics in Medicine 18:2529-2545.
    """
    outcome, times = read_survival(y, least_events=0), ascending(times)
    survival = np.asarray(survival, dtype=np.float64)
    if len(times) < 2 or survival.shape != (len(outcome.values), len(times)):
        raise DataError(
            f"survival of shape {survival.shape} at {len(times)} times of {len(outcome.values)} cases",
            "give at least two times, and the probability of each case at each",
        )
    require_finite(survival, "probabilities")
    if survival.min() < 0 or survival.max() > 1:
        raise DataError("survival is not within 0 and 1", "give probabilities")
    read_survival(training, name="the training outcome")
    happened = outcome.event[:, None] & (outcome.values[:, None] <= times)
    goes_on = outcome.values[:, None] > times
    weight = goes_on / still_followed(training, times)
    seen = happened.any(axis=1)
    weight[seen] += happened[seen] / still_followed(training, outcome.values[seen])[:, None]
    expected = kaplan_meier(training).at(times)
    scores, baseline = (
        np.mean(weight * (goes_on - predicted) ** 2, axis=0) for predicted in (survival, expected)
    )
    span = times[-1] - times[0]
    integrals = (float(np.trapezoid(each, times) / span) for each in (scores, baseline))
    return BrierScore(times, scores, baseline, *integrals)
