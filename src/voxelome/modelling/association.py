"""What single features tell of an outcome, for thousands of features at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.stats import chi2, f, rankdata

from voxelome.imageio import Array, MaskArray

Kind = Literal["auto", "binary", "multiclass", "continuous", "survival"]

# Values worked on at a time: a few copies of so many are all the memory needed beside the input.
_BLOCK = 2**21


@dataclass(frozen=True)
class Outcome:
    """What the features are to tell of each of n cases.

    Attributes
    ----------
    kind : str
        "binary", "multiclass", "continuous" or "survival".
    values : ndarray, shape (n,)
        Number of the class, from 0; or the continuous value; or the time of the event or of censoring.
    event : ndarray of bool, shape (n,)
        Whether the event was seen; true for all where the kind is not survival.
    """

    kind: str
    values: Array
    event: MaskArray

    def take(self, cases: Array) -> Outcome:
        """Return the outcome of some cases; classes keep their numbers."""
        return Outcome(self.kind, self.values[cases], self.event[cases])


def read_outcome(y: Any, kind: Kind = "auto") -> Outcome:
    """Return what `y` holds.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Classes, continuous values, or a structured array of scikit-survival with the fields event (bool)
        and time (float).
    kind : str
        "auto" takes a structured array for survival, floats for continuous and all else for classes.

    Raises
    ------
    ValueError
        `y` does not fit the kind, or is the same for all cases.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}, but must be one of {', '.join(get_args(Kind))}")
    structured = y.dtype.names is not None
    if kind == "auto":
        kind = "survival" if structured else "continuous" if y.dtype.kind == "f" else "multiclass"
    elif structured != (kind == "survival"):
        raise ValueError(f"kind is {kind!r}, which y of type {y.dtype} does not fit")
    if kind == "survival":
        from sksurv.util import check_y_survival

        event, time = check_y_survival(y)
        return Outcome(kind, time, event)
    everywhere = np.ones(len(y), dtype=bool)
    labels, codes = np.unique(y, return_inverse=True)
    if len(labels) < 2:
        raise ValueError("y holds 1 class or value, but at least 2 are needed")
    if kind == "continuous":
        return Outcome(kind, y.astype(np.float64), everywhere)
    if len(labels) == len(y) or (kind == "binary" and len(labels) > 2):
        raise ValueError(f"kind is {kind!r}, but y holds {len(labels)} classes in {len(y)} cases")
    return Outcome("binary" if len(labels) == 2 else "multiclass", codes, everywhere)


def best(score: Array, count: int) -> MaskArray:
    """Return the mask of the `count` largest scores; of those that tie, the first."""
    mask = np.zeros(len(score), dtype=bool)
    mask[np.argsort(-rounded(score), kind="stable")[:count]] = True
    return mask


def unit_columns(values: Array) -> Array:
    """Return columns with mean 0 and length 1, so that products are correlations; 0 where constant."""
    deviation = values - values.mean(axis=0)
    # Of a constant there is left what rounding made of its mean.
    deviation[:, values.max(axis=0) == values.min(axis=0)] = 0
    length = np.sqrt((deviation**2).sum(axis=0))
    unit: Array = np.divide(deviation, length, out=deviation, where=length > 0)
    return unit


def p_values(X: Array, outcome: Outcome, by_rank: bool) -> Array:
    """Return the p-value of the association of each feature with the outcome, shape (n_features,)."""
    n, p = len(X), np.empty(X.shape[1])
    if by_rank and outcome.kind == "continuous":
        outcome = Outcome(outcome.kind, rankdata(outcome.values), outcome.event)
    for block in blocks(*X.shape):
        values = rankdata(X[:, block], axis=0) if by_rank else X[:, block]
        if outcome.kind == "survival":
            p[block] = chi2.sf(_cox_score(values, outcome), 1)
            continue
        share, free = _explained(values, outcome)
        if by_rank and outcome.kind != "continuous":
            p[block] = chi2.sf((n - 1) * share, free)  # the H of Kruskal and Wallis, ties and all
        else:
            p[block] = f.sf(_f_ratio(share, free, n), free, n - 1 - free)
    return p


def martingale_residuals(outcome: Outcome) -> Array:
    """Return events seen less events expected of each case, without a model; shape (n,).

    They are the derivative of Cox's partial likelihood by the log hazard of each case (Therneau, Grambsch
    and Fleming 1990, Biometrika 77:147-160).
    """
    times, deaths, at_risk = _risk_sets(outcome)
    hazard = np.concatenate([[0.0], np.cumsum(deaths / at_risk)])
    residuals: Array = outcome.event - hazard[np.searchsorted(times, outcome.values, side="right")]
    return residuals


def relevance(X: Array, outcome: Outcome) -> Array:
    """Return F of each feature, or for survival the chi-squared of the score test."""
    relevance = np.empty(X.shape[1])
    for block in blocks(*X.shape):
        if outcome.kind == "survival":
            relevance[block] = _cox_score(X[:, block], outcome)
        else:
            relevance[block] = _f_ratio(*_explained(X[:, block], outcome), len(X))
    return relevance


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Give slices of columns that hold about `_BLOCK` values each."""
    step = max(1, _BLOCK // rows)
    return (slice(start, start + step) for start in range(0, columns, step))


def rounded(values: Array) -> Array:
    """Return values to 11 digits: those that differ by less tie, and differ by the order of sums alone."""
    mantissa, exponent = np.frexp(values)
    rounded: Array = np.ldexp(np.round(mantissa, 11), exponent)
    return rounded


def _explained(values: Array, outcome: Outcome) -> tuple[Array, int]:
    """Return the share of each column's variance that the outcome explains, by how many parameters."""
    unit = unit_columns(values)
    if outcome.kind == "continuous":
        return np.minimum((unit_columns(outcome.values[:, None])[:, 0] @ unit) ** 2, 1), 1
    member = np.equal.outer(np.unique(outcome.values), outcome.values).astype(float)
    share = np.sum((member @ unit) ** 2 / member.sum(axis=1, keepdims=True), axis=0)
    return np.minimum(share, 1), len(member) - 1


def _f_ratio(share: Array, free: int, n: int) -> Array:
    """Return F of shares of variance explained; it stays finite where all is."""
    ratio: Array = share / np.maximum(1 - share, 1e-15) * (n - 1 - free) / free
    return ratio


def _risk_sets(outcome: Outcome) -> tuple[Array, Array, Array]:
    """Return the distinct times of events, ascending, and the events and the cases at risk at each."""
    times, deaths = np.unique(outcome.values[outcome.event], return_counts=True)
    at_risk = len(outcome.values) - np.searchsorted(np.sort(outcome.values), times, side="left")
    return times, deaths, at_risk


def _cox_score(values: Array, outcome: Outcome) -> Array:
    """Return the chi-squared of the score test of a Cox model with each column alone (Breslow's ties)."""
    values = unit_columns(values) * np.sqrt(len(values))
    _, deaths, at_risk = _risk_sets(outcome)
    latest_first = values[np.argsort(-outcome.values, kind="stable")]
    size = at_risk[:, None]
    mean = np.cumsum(latest_first, axis=0)[at_risk - 1] / size
    square = np.cumsum(latest_first**2, axis=0)[at_risk - 1] / size
    variance = deaths @ (square - mean**2)
    slope = martingale_residuals(outcome) @ values
    # A feature that varies in no set at risk has no information, but for rounding.
    informed = variance > 1e-10 * deaths.sum()
    score: Array = np.divide(slope**2, variance, out=np.zeros(len(slope)), where=informed)
    return score
