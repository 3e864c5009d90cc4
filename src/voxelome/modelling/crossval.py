"""Repeated nested cross-validation in which everything is learned inside the folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.choosing import chosen_model
from voxelome.modelling.families import STACKED
from voxelome.modelling.folds import Split
from voxelome.modelling.importance import Importance, importance_of
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.survival import predicted_survival
from voxelome.modelling.visits import Cohort


@dataclass(frozen=True)
class FoldResult:
    """What one fold's model says of the visits that it has not seen.

    Attributes
    ----------
    split : Split
        Who was trained on and who was held out.
    visits : ndarray of int
        Visits held out.
    prediction : ndarray of float, shape (n,) or (n, n_classes)
        Probability of the positive class or of each of several, the number predicted, or the risk.
    naive : float or ndarray, shape (n_classes,)
        The prediction that needs no features: prevalence, shares of the classes or mean in training. For
        survival the median risk in training, which parts low from high.
    importance : Importance
        How much the model makes of each feature.
    survival : ndarray, shape (n, n_times), optional
        Probability that the event has not come by each time.
    explained : mapping of str to ndarray
        What was found when the model was looked into, see :mod:`voxelome.modelling.insight`.
    """

    split: Split
    visits: NDArray[np.intp]
    prediction: NDArray[np.float64]
    naive: Any
    importance: Importance
    survival: NDArray[np.float64] | None = None
    explained: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def validate(cohort: Cohort, settings: AnalysisSettings, splits: list[Split]) -> list[FoldResult]:
    """Return the held-out predictions of every fold of every repeat."""
    return [fit_fold(cohort, settings, split) for split in splits]


def fit_model(
    cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp], names: Any = None
) -> Any:
    """Return the model fitted on all visits of `participants`, its settings chosen by inner folds.

    Of the members of an ensemble, those that predict the inner folds no better than the prevalence (or the
    mean) are left out, unless that is all of them.

    Parameters
    ----------
    names : sequence of str, optional
        Names of the columns, which the model then asks for.
    """
    rows = cohort.visits(participants)
    values: Any = cohort.values[rows]
    if names is not None:
        values = pd.DataFrame(values, columns=names)
    outcome = cohort.of_visits(rows)
    with _harmonising(cohort):
        model = chosen_model(cohort, settings, participants)
        if settings.model == STACKED:
            return model.fit(values, outcome, groups=cohort.group[cohort.participant[rows]])
        return model.fit(values, outcome)


@contextmanager
def _harmonising(cohort: Cohort) -> Iterator[None]:
    """Raise what harmonisation finds wrong with the sites as a DataError."""
    try:
        yield
    except ValueError as error:
        if cohort.site is None:
            raise
        remedy = "put sites together, leave them out by where, or give unseen_site: keep"
        raise DataError(f"harmonisation: {error}", remedy) from error


def fit_fold(
    cohort: Cohort,
    settings: AnalysisSettings,
    split: Split,
    times: NDArray[np.float64] | None = None,
    look: Callable[[Any, Split], Mapping[str, NDArray[Any]]] | None = None,
) -> FoldResult:
    """Fit on the training participants, predict the others.

    Imputation, scaling, the choice of features, of the settings and of the models that are averaged are
    learned from the training part alone (Varma and Simon 2006, BMC Bioinformatics 7:91).

    Parameters
    ----------
    cohort, settings, split
        What is fitted, how, and to whom.
    times : ndarray, optional
        Times at which to tell the probability of survival.
    look : callable, optional
        Gets the fitted model and the split, and returns what it finds.

    Raises
    ------
    DataError
        A class or a site is not in training.
    """
    rows = cohort.visits(split.test)
    _require_all_classes(cohort, settings, split)
    model = fit_model(cohort, settings, split.train)
    with _harmonising(cohort):
        prediction = problems.predicted(cohort.kind, model, cohort.values[rows])
    return FoldResult(
        split,
        rows,
        prediction,
        _cut(cohort, model, split),
        importance_of(model, cohort.values.shape[1]),
        None if times is None else predicted_survival(model, cohort.values[rows], times),
        {} if look is None else look(model, split),
    )


def _require_all_classes(cohort: Cohort, settings: AnalysisSettings, split: Split) -> None:
    """Raise a DataError where a class is in no participant of training."""
    if cohort.kind == problems.CONTINUOUS:
        return
    classes = problems.strata(cohort.kind, cohort.target)
    if len(np.unique(classes[split.train])) < len(np.unique(classes)):
        problem = f"without the {settings.groups} left out in fold {split.fold} a class has no participant"
        raise DataError(problem, "choose other groups, or put classes together")


def _cut(cohort: Cohort, model: Any, split: Split) -> Any:
    """Return the prediction that needs no features, or the risk in the middle of training."""
    if cohort.kind != problems.SURVIVAL:
        return problems.naive(cohort.kind, cohort.target[split.train], cohort.classes)
    known = cohort.values[cohort.visits(split.train)]
    return float(np.median(problems.predicted(cohort.kind, model, known)))
