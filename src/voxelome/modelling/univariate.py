"""A table of what each feature alone tells of the outcome, with the false discovery rate over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm, rankdata

from voxelome.errors import DataError, listed
from voxelome.imageio import Array
from voxelome.modelling import problems
from voxelome.modelling.association import Outcome, blocks, p_values, rounded, unit_columns
from voxelome.modelling.metrics import auc_interval
from voxelome.modelling.survival_outcome import read_survival
from voxelome.modelling.univariate_cox import single_cox

# With fewer (of a class, or with an event) the large-sample p-values of extremes are far too small.
_FEWEST = 10
_FEWEST_OF_A_CLASS = 4
# Effect and test of each kind of outcome.
_NAMES = {
    problems.BINARY: ("AUC", "Mann-Whitney"),
    problems.MULTICLASS: ("epsilon-squared", "Kruskal-Wallis"),
    problems.ORDINAL: ("Spearman's rho", "Spearman"),
    problems.CONTINUOUS: ("Spearman's rho", "Spearman"),
    problems.SURVIVAL: ("hazard ratio per SD", "likelihood ratio (Cox)"),
}


class _Effects(NamedTuple):
    """Effect of each feature with its interval and p-value, shape (n_features,) all."""

    effect: Array
    low: Array
    high: Array
    p: Array


def univariate_table(
    values: NDArray[np.float64],
    names: Sequence[str],
    participant: NDArray[np.intp],
    target: NDArray[Any],
    kind: str,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return effect, p-value and q-value of each feature, the smallest p first.

    Participants are the units: the visits of each that have the feature are averaged. A participant without
    a value is left out for that feature alone.

    ============ ============================== ==================================== ======================
    kind         effect                         interval                             test
    ============ ============================== ==================================== ======================
    binary       AUC; above 0.5 higher in True  Newcombe's method 5                  Mann-Whitney
    multiclass   epsilon-squared                none                                 Kruskal-Wallis
    ordinal      Spearman's rho                 Fisher's z, Bonett and Wright's      Spearman
    continuous   Spearman's rho                 standard error                       Spearman
    survival     hazard ratio per SD            Wald                                 likelihood ratio (Cox)
    ============ ============================== ==================================== ======================

    Tests are two-sided in their large-sample form, without correction for continuity. Without ties Newcombe's
    interval excludes 0.5 exactly where the test of Mann and Whitney rejects: its variance there is that of
    the test. Bounds are NaN where the effect is at its limit (a rho of 1, a hazard ratio of 0 or infinity).

    Parameters
    ----------
    values : ndarray, shape (n_visits, n_features)
        Features, NaN where missing.
    names : sequence of str
        Names of the features.
    participant : ndarray of int, shape (n_visits,)
        Index of each visit's participant.
    target : ndarray, shape (n_participants,)
        Outcome: bool for binary, number of the class for multiclass and ordinal, float for continuous,
        events and times for survival.
    kind : str
        ``binary``, ``multiclass``, ``ordinal``, ``continuous`` or ``survival``.
    level : float
        Confidence of the intervals.

    Returns
    -------
    DataFrame
        ``feature``; ``n``, the participants with a value; ``missing``, the share of those without;
        ``effect`` and its ``effect_name``; ``low`` and ``high``; ``test``; ``p``; ``q`` by Benjamini and
        Hochberg over all features that have a p. A feature has neither effect nor p where it does not vary
        or too few have a value: at least 4 of each of two classes are needed, or else 10 participants, and
        for survival 4 events among them.

    Raises
    ------
    DataError
        A feature is infinite, or the events and times cannot be worked with.

    References
    ----------
    Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57:289-300.
    Bonett and Wright (2000), Psychometrika 65:23-28.
    Newcombe (2006), Statistics in Medicine 25:559-573.
    Tomczak and Tomczak (2014), Trends in Sport Sciences 21:19-25; epsilon-squared.
    """
    outcome = _outcome(target, kind)
    refuse_infinite(values, names)
    n = np.empty(values.shape[1], dtype=np.intp)
    found = _Effects(*np.full((4, values.shape[1]), np.nan))
    for block in blocks(*values.shape):
        means = participant_means(values[:, block], participant, len(target))
        n[block] = np.isfinite(means).sum(axis=0)
        for rows, columns in missing_patterns(means):
            effects = _effects(means[np.ix_(rows, columns)], outcome.take(rows), kind, level)
            for part, of_pattern in zip(found, effects, strict=True):
                part[block.start + columns] = of_pattern
    effect_name, test = _NAMES[kind]
    table = pd.DataFrame(
        {
            "feature": list(names),
            "n": n,
            "missing": 1 - n / len(target),
            "effect": found.effect,
            "effect_name": effect_name,
            "low": found.low,
            "high": found.high,
            "test": test,
            "p": found.p,
            "q": q_values(found.p),
        }
    )
    return table.sort_values(["p", "feature"], kind="stable", ignore_index=True)


def refuse_infinite(values: NDArray[np.float64], names: Sequence[str]) -> None:
    """Raise a DataError that names the features with a value that is infinite."""
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        problem = f"{listed(np.asarray(names)[infinite])} is infinite in some visits"
        raise DataError(problem, "make it missing there, or leave it out")


def participant_means(
    values: NDArray[np.float64], participant: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """Return the mean over the visits with a value, shape (count, n_features); NaN where there are none.

    It has 11 digits, so that a feature that is the same in all visits is the same in all participants.
    """
    known = np.isfinite(values)
    total, times = np.zeros((2, count, values.shape[1]))
    np.add.at(total, participant, np.where(known, values, 0))
    np.add.at(times, participant, known)
    mean = np.divide(total, times, out=np.full_like(total, np.nan), where=times > 0)
    return np.asarray(rounded(mean), dtype=np.float64)


def missing_patterns(values: NDArray[np.float64]) -> Iterator[tuple[Array, Array]]:
    """Give the rows that have a value and the columns for which it is these, for each pattern there is."""
    known = np.isfinite(values).T
    patterns, of_column = np.unique(np.packbits(known, axis=1), axis=0, return_inverse=True)
    order = np.argsort(of_column, kind="stable")
    for columns in np.split(order, np.cumsum(np.bincount(of_column, minlength=len(patterns)))[:-1]):
        yield np.flatnonzero(known[columns[0]]), columns


def q_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values adjusted as by Benjamini and Hochberg, shape (n,); those that are NaN do not count."""
    adjusted = np.full(len(p), np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested])
    return adjusted


def _outcome(target: NDArray[Any], kind: str) -> Outcome:
    """Return the outcome as the tests take it: an ordered one by its ranks."""
    if kind not in _NAMES:
        raise ValueError(f"kind is {kind!r}, but must be one of {', '.join(_NAMES)}")
    if kind == problems.SURVIVAL:
        return read_survival(target, name="the outcome")
    tested = problems.CONTINUOUS if kind == problems.ORDINAL else kind
    return Outcome(tested, np.asarray(target, dtype=np.float64), np.ones(len(target), dtype=bool))


def _effects(X: Array, outcome: Outcome, kind: str, level: float) -> _Effects:
    """Return the effects of features without missing values; NaN where nothing can be told."""
    found = _Effects(*np.full((4, X.shape[1]), np.nan))
    if len(X) == 0 or not _enough(outcome):
        return found
    varies = X.max(axis=0) > X.min(axis=0)
    if varies.any():
        function = {problems.BINARY: _binary, problems.MULTICLASS: _classes, problems.SURVIVAL: _survival}
        effects = function.get(kind, _monotone)(X[:, varies], outcome, level)
        for part, of_varying in zip(found, effects, strict=True):
            part[varies] = of_varying
    return found


def _enough(outcome: Outcome) -> bool:
    """Return whether there are cases enough for the tests."""
    if outcome.kind == problems.SURVIVAL:
        return len(outcome.event) >= _FEWEST and int(outcome.event.sum()) >= _FEWEST_OF_A_CLASS
    if outcome.kind == problems.CONTINUOUS:
        return len(outcome.values) >= _FEWEST and bool(np.ptp(outcome.values) > 0)
    _, counts = np.unique(outcome.values, return_counts=True)
    return int(np.sum(counts >= _FEWEST_OF_A_CLASS)) > 1


def _binary(X: Array, outcome: Outcome, level: float) -> _Effects:
    positive = outcome.values > 0
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(X, axis=0)[positive].sum(axis=0)
    area = (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
    bounds = np.array([auc_interval(value, n_positive, n_negative, level) for value in area])
    return _Effects(area, bounds[:, 0], bounds[:, 1], p_values(X, outcome, by_rank=True))


def _classes(X: Array, outcome: Outcome, _: float) -> _Effects:
    # H is n - 1 times the share of the variance of the ranks that the classes explain: epsilon-squared.
    member = np.equal.outer(np.unique(outcome.values), outcome.values).astype(np.float64)
    unit = unit_columns(rankdata(X, axis=0))
    share = np.sum((member @ unit) ** 2 / member.sum(axis=1, keepdims=True), axis=0)
    nothing = np.full(X.shape[1], np.nan)
    return _Effects(np.minimum(share, 1), nothing, nothing, p_values(X, outcome, by_rank=True))


def _monotone(X: Array, outcome: Outcome, level: float) -> _Effects:
    ranks = unit_columns(rankdata(outcome.values)[:, None])[:, 0]
    rho = np.clip(ranks @ unit_columns(rankdata(X, axis=0)), -1, 1)
    inside = np.abs(rho) < 1 - 1e-12
    middle = np.arctanh(np.where(inside, rho, np.nan))
    reach = norm.ppf((1 + level) / 2) * np.sqrt((1 + rho**2 / 2) / (len(X) - 3))
    p = p_values(X, outcome, by_rank=True)
    return _Effects(rho, np.tanh(middle - reach), np.tanh(middle + reach), p)


def _survival(X: Array, outcome: Outcome, level: float) -> _Effects:
    fit = single_cox((X - X.mean(axis=0)) / X.std(axis=0, ddof=1), outcome)
    reach = norm.ppf((1 + level) / 2) * fit.standard_error
    # A hazard ratio beyond the largest number is infinite.
    with np.errstate(over="ignore"):
        low, effect, high = np.exp(fit.coefficient + np.multiply.outer([-1, 0, 1], reach))
    effect = np.where(np.isfinite(fit.coefficient), effect, np.exp(fit.coefficient))
    return _Effects(effect, low, high, fit.p)
