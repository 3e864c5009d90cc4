"""Participants drawn again and again, each with all of their rows, and the intervals that this gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError


@dataclass(frozen=True)
class Estimate:
    """A number and the bounds of its confidence interval.

    Attributes
    ----------
    value, low, high : float
        NaN where the method gives none.
    standard_error : float
        NaN where the interval is not made of one.
    """

    value: float
    low: float
    high: float
    standard_error: float = float("nan")


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Participants:
    """Rows (visits, repeats) put together by participant.

    Attributes
    ----------
    of_row : ndarray of int, shape (rows,)
        Participant of each row, counted from 0.
    truth : ndarray, shape (participants,)
        Outcome of each participant.
    """

    of_row: NDArray[np.intp]
    truth: NDArray[Any]

    def mean(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean over the rows of each participant, shape (participants,); NaN if a row has NaN."""
        total = np.bincount(self.of_row, np.asarray(values, dtype=np.float64))
        return np.asarray(total / np.bincount(self.of_row), dtype=np.float64)


def by_participant(who: NDArray[Any], truth: NDArray[Any]) -> Participants:
    """Return the participants, in the order of their names.

    Parameters
    ----------
    who : ndarray, shape (rows,)
        Names of the participants.
    truth : ndarray, shape (rows,)
        Outcome.

    Raises
    ------
    DataError
        There are no rows, or a participant has several outcomes.
    """
    if len(who) == 0 or len(who) != len(truth):
        raise DataError(
            f"{len(who)} names of participants and {len(truth)} outcomes", "give one of each for every row"
        )
    names, first, of_row = np.unique(who, return_index=True, return_inverse=True)
    differs = np.flatnonzero(truth != truth[first][of_row])
    if len(differs):
        raise DataError(
            f"participant {names[of_row[differs[0]]]} has more than one outcome",
            "give each participant one outcome, the same in all of its rows",
        )
    return Participants(np.asarray(of_row, dtype=np.intp), truth[first])


def require_both_classes(positive: NDArray[np.bool_], least: int = 1) -> None:
    """Raise a DataError unless each class has at least `least` cases."""
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(positive) - n_positive
    if min(n_positive, n_negative) < least:
        raise DataError(
            f"{n_positive} positive and {n_negative} negative cases do not tell two classes apart",
            f"give at least {least} of each class",
        )


def require_finite(values: NDArray[Any], name: str) -> None:
    """Raise a DataError that calls the values `name` if one of them is NaN or infinite."""
    if not np.all(np.isfinite(values)):
        raise DataError(f"some {name} are not finite", f"leave out the cases without {name}")


def draw(truth: NDArray[Any], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return as many participants as there are, drawn with replacement, shape (participants,).

    Where the outcome is boolean, a draw of one class alone is drawn again: no model and no AUC can be had
    of it. Both classes must then occur.
    """
    while True:
        drawn = rng.integers(len(truth), size=len(truth))
        if truth.dtype != np.bool_ or 0 < np.count_nonzero(truth[drawn]) < len(truth):
            return drawn


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    truth: NDArray[Any],
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return a statistic of all participants with its percentile interval (Efron 1979).

    Parameters
    ----------
    statistic : callable
        Gets the participants drawn, shape (participants,), and returns a number. Draws for which it is
        not finite are left out of the interval.
    truth : ndarray, shape (participants,)
        Outcome; where it is boolean, both classes are in every draw.
    resamples : int
        Draws.
    level : float
        Confidence.
    seed : int
        Of the draws.

    Raises
    ------
    DataError
        The outcome is boolean, and one class does not occur.
    """
    if truth.dtype == np.bool_:
        require_both_classes(truth)
    rng = np.random.default_rng(seed)
    value = float(statistic(np.arange(len(truth), dtype=np.intp)))
    found = np.array([statistic(draw(truth, rng)) for _ in range(resamples)], dtype=np.float64)
    found = found[np.isfinite(found)]
    if len(found) == 0:
        return Estimate(value, UNKNOWN.low, UNKNOWN.high)
    low, high = np.percentile(found, [50 * (1 - level), 50 * (1 + level)])
    return Estimate(value, float(low), float(high))
