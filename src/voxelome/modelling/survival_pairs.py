"""Pairs of cases of which it is known whose event came first, and how many a risk orders rightly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from voxelome.errors import DataError
from voxelome.modelling.association import Outcome
from voxelome.modelling.resampling import UNKNOWN, Estimate


@dataclass(frozen=True)
class Pairs:
    """Pairs of cases that can be compared, by the one whose event comes first; weighted.

    Attributes
    ----------
    right, compared : ndarray, shape (n,)
        Weight of the pairs of each case, in either role, that the risk orders rightly (a tie counts half),
        and of all of them. Each pair is counted at both of its cases.
    leading : ndarray of bool, shape (n,)
        Whether the case is the earlier one of any pair.
    """

    right: NDArray[np.float64]
    compared: NDArray[np.float64]
    leading: NDArray[np.bool_]


def harrell_pairs(outcome: Outcome, risk: NDArray[np.float64]) -> Pairs:
    """Return the pairs of which it is known whose event came first: each with weight 1."""
    return weighted_pairs(np.asarray(outcome.event, np.float64), later(outcome), risk)


def later(outcome: Outcome) -> NDArray[np.bool_]:
    """Return whether the column's event comes after that of the row, shape (n, n)."""
    time, event = outcome.values, outcome.event
    # A case that was followed until the time of an event, and not beyond, had its own later.
    after = (time[:, None] < time) | ((time[:, None] == time) & event[:, None] & ~event)
    return np.asarray(after, dtype=np.bool_)


def weighted_pairs(
    weight: NDArray[np.float64], comparable: NDArray[np.bool_], risk: NDArray[np.float64]
) -> Pairs:
    """Return the comparable pairs, each with the weight of its earlier case, the row."""
    lead = np.flatnonzero(weight)
    compared = weight[lead, None] * comparable[lead]
    first, second = risk[lead, None], risk[None]
    right = compared * np.where(first > second, 1.0, np.where(first == second, 0.5, 0.0))

    def by_case(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = pairs.sum(axis=0)
        total[lead] += pairs.sum(axis=1)
        return total

    leading = np.zeros(len(risk), dtype=np.bool_)
    leading[lead] = comparable[lead].any(axis=1)
    return Pairs(by_case(right), by_case(compared), leading)


def share_in_order(pairs: Pairs, level: float) -> Estimate:
    """Return the share of pairs in the right order, and its interval by the jackknife over cases."""
    n, leading = len(pairs.right), int(pairs.leading.sum())
    right, compared = pairs.right.sum() / 2, pairs.compared.sum() / 2
    if compared == 0:
        raise DataError(
            "of no two cases is it known whose event came first", "give more cases, followed for longer"
        )
    value = float(right / compared)
    left = compared - pairs.compared
    # Without the only case that leads pairs, or is led, none is left: nothing tells how sure the share is.
    if leading < 2 or np.any(left <= 1e-12 * compared):
        return Estimate(value, UNKNOWN.low, UNKNOWN.high)
    without = (right - pairs.right) / left
    variance = float((n - 1) / n * np.sum((without - without.mean()) ** 2))
    low, high = _wilson(value, variance, leading, float(t.ppf((1 + level) / 2, leading - 1)))
    return Estimate(value, low, high, float(np.sqrt(variance)))


def _wilson(value: float, variance: float, leading: int, critical: float) -> tuple[float, float]:
    """Return Wilson's bounds of a share for as many cases as would give it the variance."""
    # What rounding leaves of the variance of a share of 0 or 1 is no variance.
    varies = variance > 1e-20 and 0 < value < 1
    size = value * (1 - value) / variance if varies else leading
    shrunk = critical**2 / size
    middle = (value + shrunk / 2) / (1 + shrunk)
    reach = np.sqrt(shrunk * value * (1 - value) + shrunk**2 / 4) / (1 + shrunk)
    return max(float(middle - reach), 0.0), min(float(middle + reach), 1.0)
