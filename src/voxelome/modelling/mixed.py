"""Linear mixed models of repeated visits: what each feature does over time, and in whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from voxelome.errors import DataError, listed
from voxelome.imageio import Array
from voxelome.modelling import problems
from voxelome.modelling.association import blocks
from voxelome.modelling.random_intercept import fit
from voxelome.modelling.univariate import missing_patterns, q_values, refuse_infinite
from voxelome.modelling.visit_sums import estimable, joined, own_share, reduced

INTERCEPT = "intercept"
# Share of a column's length that must be left once the columns before it are taken out.
_LEAST_OWN = 1e-8


class _Models(NamedTuple):
    """Models of m features with k coefficients each; NaN where there is none.

    Attributes
    ----------
    estimate, error, freedom : ndarray, shape (m, k)
        Coefficients, their standard errors and degrees of freedom.
    between, within : ndarray, shape (m,)
        Variance of the participants and of the residuals.
    """

    estimate: Array
    error: Array
    freedom: Array
    between: Array
    within: Array


def mixed_models(
    values: NDArray[np.float64],
    names: Sequence[str],
    participant: NDArray[np.intp],
    design: NDArray[np.float64],
    terms: Sequence[str],
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the linear mixed model of each feature, with a random intercept for each participant.

    By restricted maximum likelihood, with a variance of the participants of at least 0. Degrees of freedom
    are Satterthwaite's as in lmerTest; where the variance of the participants is estimated to be 0 the
    model is ordinary least squares, and they are the visits less the coefficients. Visits without a value
    are left out for that feature alone; participants with one visit stay.

    Parameters
    ----------
    values : ndarray, shape (n_visits, n_features)
        Features, NaN where missing.
    names : sequence of str
        Names of the features.
    participant : ndarray of int, shape (n_visits,)
        Index of each visit's participant.
    design : ndarray, shape (n_visits, k)
        Fixed effects, without the intercept, which is added.
    terms : sequence of str
        Names of the k fixed effects.
    level : float
        Confidence of the intervals.

    Returns
    -------
    DataFrame
        A row for each feature and term, the intercept first, in the order given: ``feature``, ``term``,
        ``visits`` and ``participants`` with a value, ``estimate`` in units of the feature,
        ``standard_error``, ``df``, ``t``, ``p``, ``low``, ``high``, ``q`` by Benjamini and Hochberg over the
        features for each term, ``variance_participants`` and ``variance_residual`` in squared units, and
        ``icc``, the share of the participants in their sum. A feature has no model where it does not vary
        within participants, is told exactly by the design, or has too few visits to tell the variances or
        the terms.

    Raises
    ------
    DataError
        The design is not finite or a term says what others say, a feature is infinite, or no participant
        has two visits.

    References
    ----------
    Laird and Ware (1982), Biometrics 38:963-974.
    Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical Software 82(13).
    """
    X = np.column_stack([np.ones(len(values)), design])
    columns = [INTERCEPT, *terms]
    _check(values, names, participant, X, columns)
    found = _nothing(values.shape[1], len(columns))
    for block in blocks(*values.shape):
        fitted = _fit_block(values[:, block], participant, X)
        for part, of_block in zip(found, fitted, strict=True):
            part[block] = of_block
    known = np.isfinite(values)
    participants = [len(np.unique(participant[rows])) for rows in known.T]
    return _table(found, names, columns, known.sum(axis=0), participants, level)


def visit_design(
    target: NDArray[Any],
    kind: str,
    participant: NDArray[np.intp],
    time: NDArray[np.float64],
    classes: Sequence[str] = (),
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the design that asks whether features change differently by the outcome, and its terms.

    These are the outcome, the time since the participant's first visit, and their product, which is the
    question. The outcome is an indicator for two classes, one for each class but the first for several, the
    number of an ordered class, or a number in standard deviations over participants.

    Parameters
    ----------
    target : ndarray, shape (n_participants,)
        Outcome: bool for binary, number of the class for multiclass and ordinal, float for continuous.
    kind : str
        ``binary``, ``multiclass``, ``ordinal`` or ``continuous``.
    participant : ndarray of int, shape (n_visits,)
        Index of each visit's participant.
    time : ndarray, shape (n_visits,)
        When the visit was; its unit is that of the terms.
    classes : sequence of str
        Names of the classes where there are several, by their numbers; without it their numbers.

    Raises
    ------
    DataError
        The outcome is survival or does not vary, or no participant was seen at two times.
    """
    if kind == problems.SURVIVAL:
        raise DataError(
            "a mixed model cannot ask how features differ by a time to an event",
            "give a binary or a continuous outcome",
        )
    if not np.isfinite(time).all():
        raise DataError("some visits have no time", "fill it in, or leave these visits out")
    first = np.full(len(target), np.inf)
    np.minimum.at(first, participant, time)
    since = time - first[participant]
    if not since.any():
        raise DataError("no participant was seen at two times", "mixed models need repeated visits")
    seen, of_visit = np.unique(participant, return_inverse=True)
    outcome, names = _outcome_columns(target[seen], kind, classes)
    per_visit = outcome[of_visit]
    design = np.column_stack([per_visit, since, per_visit * since[:, None]])
    return design, [*names, "time", *(f"{name} x time" for name in names)]


def _outcome_columns(
    target: NDArray[Any], kind: str, classes: Sequence[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the outcome of each participant as columns of a design, shape (n, columns), and their names."""
    found = np.unique(target)
    if len(found) < 2:
        raise DataError("the outcome is the same in all participants", "give one that varies")
    if kind == problems.MULTICLASS:
        names = [f"outcome {classes[code] if classes else code}" for code in found[1:]]
        return np.equal.outer(target, found[1:]).astype(np.float64), names
    column = np.asarray(target, dtype=np.float64)
    if kind == problems.CONTINUOUS:
        column = (column - column.mean()) / column.std(ddof=1)
    return column[:, None], ["outcome"]


def _check(values: Array, names: Sequence[str], participant: Array, X: Array, columns: Sequence[str]) -> None:
    """Raise a DataError where the models cannot be fitted to any feature."""
    refuse_infinite(values, names)
    if not np.isfinite(X).all():
        told = listed(np.asarray(columns)[~np.isfinite(X).all(axis=0)])
        raise DataError(f"the term {told} is not known for all visits", "leave out the visits without it")
    if len(np.unique(participant)) == len(participant):
        raise DataError("no participant has two visits", "mixed models need repeated visits")
    if len(singular := np.flatnonzero(own_share(X) < _LEAST_OWN)):
        told = f"the term {columns[singular[0]]} says nothing that those before it do not say"
        raise DataError(told, "leave it out")


def _nothing(m: int, k: int) -> _Models:
    """Return models of m features that are not known yet."""
    return _Models(*np.full((3, m, k), np.nan), *np.full((2, m), np.nan))


def _fit_block(values: Array, participant: Array, X: Array) -> _Models:
    """Return the models of some features, those of all patterns of missing values fitted at once."""
    found = _nothing(values.shape[1], X.shape[1])
    most = int(np.unique(participant, return_counts=True)[1].max())
    parts = []
    for rows, columns in missing_patterns(values):
        if len(rows) <= X.shape[1] or (own_share(X[rows]) < _LEAST_OWN).any():
            continue
        varying = columns[np.ptp(values[np.ix_(rows, columns)], axis=0) > 0]
        parts.append(reduced(values[np.ix_(rows, varying)], X[rows], participant[rows], varying, most))
    if not parts:
        return found
    every = joined(parts)
    able = np.flatnonzero(estimable(every.known))
    if len(able):
        columns, start, scale, contrasts, known = every.take(able)
        models = fit(known, contrasts)
        found.estimate[columns] = start + scale[:, None] * models.coefficient
        found.error[columns] = scale[:, None] * np.sqrt(models.variance)
        found.freedom[columns] = models.freedom
        found.between[columns], found.within[columns] = scale**2 * (models.between, models.within)
    return found


def _table(
    found: _Models,
    names: Sequence[str],
    columns: Sequence[str],
    visits: Array,
    participants: Sequence[int],
    level: float,
) -> pd.DataFrame:
    """Return the models as a table, a row for each feature and term."""
    statistic = found.estimate / found.error
    p = 2 * t.sf(np.abs(statistic), found.freedom)
    reach = t.ppf((1 + level) / 2, found.freedom) * found.error
    k = len(columns)
    return pd.DataFrame(
        {
            "feature": np.repeat(np.asarray(names, dtype=object), k),
            "term": np.tile(np.asarray(columns, dtype=object), len(names)),
            "visits": np.repeat(visits, k),
            "participants": np.repeat(participants, k),
            "estimate": found.estimate.ravel(),
            "standard_error": found.error.ravel(),
            "df": found.freedom.ravel(),
            "t": statistic.ravel(),
            "p": p.ravel(),
            "low": (found.estimate - reach).ravel(),
            "high": (found.estimate + reach).ravel(),
            "q": np.column_stack([q_values(column) for column in p.T]).ravel(),
            "variance_participants": np.repeat(found.between, k),
            "variance_residual": np.repeat(found.within, k),
            "icc": np.repeat(found.between / (found.between + found.within), k),
        }
    )
