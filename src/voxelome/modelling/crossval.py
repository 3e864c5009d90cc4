"""Repeated nested cross-validation in which everything is learned inside the folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from voxelome.modelling.estimators import chosen_features, make_classifier, make_preparation
from voxelome.modelling.settings import AnalysisSettings

# C of scikit-learn, strongest penalty first.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
# Where there are too few participants to choose: scikit-learn's own.
DEFAULT_STRENGTH = 1.0
# Within-class variance, and with it the choice of features, needs two.
FEWEST_TO_LEARN_FROM = 2


@dataclass(frozen=True)
class Cohort:
    """Visits with their features and their participants.

    Attributes
    ----------
    values : ndarray, shape (n_visits, n_features)
        Features, NaN where missing.
    participant : ndarray of int, shape (n_visits,)
        Index of each visit's participant.
    positive : ndarray of bool, shape (n_participants,)
        Outcome.
    group : ndarray of int, shape (n_participants,)
        Participants with one number are never split between training and test.
    """

    values: NDArray[np.float64]
    participant: NDArray[np.intp]
    positive: NDArray[np.bool_]
    group: NDArray[np.intp]

    def visits(self, participants: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the indices of the visits of some participants."""
        return np.flatnonzero(np.isin(self.participant, participants))


@dataclass(frozen=True)
class FoldResult:
    """What one fold's model says of the visits that it has not seen.

    Attributes
    ----------
    repeat, fold : int
        Counted from 1.
    visits : ndarray of int
        Visits held out.
    probability : ndarray of float
        Of the positive class, of each.
    prevalence : float
        Share of positive participants in training.
    features, coefficients : ndarray
        Columns in the model and their coefficients, in standard deviations.
    """

    repeat: int
    fold: int
    visits: NDArray[np.intp]
    probability: NDArray[np.float64]
    prevalence: float
    features: NDArray[np.intp]
    coefficients: NDArray[np.float64]


def validate(cohort: Cohort, settings: AnalysisSettings, folds: int, threads: int = 1) -> list[FoldResult]:
    """Return the held-out predictions of every fold of every repeat.

    Imputation, scaling, the choice of features and the penalty are learned from the training part of each
    fold alone (Varma and Simon 2006, BMC Bioinformatics 7:91).
    """
    everyone = np.arange(len(cohort.positive))
    tasks = [
        (repeat, fold, train, test)
        for repeat in range(1, settings.repeats + 1)
        for fold, (train, test) in enumerate(
            _splits(cohort, everyone, folds, settings.random_seed + repeat), 1
        )
    ]
    run = Parallel(n_jobs=threads, prefer="threads")
    return list(run(delayed(_one_fold)(cohort, settings, *task) for task in tasks))


def fit_model(
    cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp], names: Any = None
) -> Pipeline:
    """Return the model fitted on all visits of `participants`, the penalty chosen by inner folds.

    Parameters
    ----------
    names : sequence of str, optional
        Names of the columns, which the model then asks for.
    """
    strength = _choose_strength(cohort, settings, participants)
    rows = cohort.visits(participants)
    target = cohort.positive[cohort.participant[rows]]
    values: Any = cohort.values[rows]
    if names is not None:
        values = pd.DataFrame(values, columns=names)
    preparation = make_preparation(settings.selected_features)
    steps = [*preparation.steps, ("classify", make_classifier(strength, settings.random_seed))]
    return Pipeline(steps).fit(values, target)


def _one_fold(
    cohort: Cohort, settings: AnalysisSettings, repeat: int, fold: int, train: Any, test: Any
) -> FoldResult:
    """Fit on the training participants, predict the others."""
    model = fit_model(cohort, settings, train)
    rows = cohort.visits(test)
    return FoldResult(
        repeat,
        fold,
        rows,
        model.predict_proba(cohort.values[rows])[:, 1],
        float(cohort.positive[train].mean()),
        chosen_features(model),
        model.named_steps["classify"].coef_[0],
    )


def _choose_strength(cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp]) -> float:
    """Return the C with the least log loss in held-out inner folds; of equals the strongest penalty."""
    splits = 0
    positive = cohort.positive[participants]
    folds = max(2, min(settings.inner_folds, int(positive.sum()), int((~positive).sum())))
    losses = np.zeros(len(STRENGTHS))
    for train, test in _splits(cohort, participants, folds, settings.random_seed):
        splits += 1
        rows, held_out = cohort.visits(train), cohort.visits(test)
        target = cohort.positive[cohort.participant[rows]]
        truth = cohort.positive[cohort.participant[held_out]]
        preparation = make_preparation(settings.selected_features).fit(cohort.values[rows], target)
        ready, unseen = (preparation.transform(cohort.values[which]) for which in (rows, held_out))
        for index, strength in enumerate(STRENGTHS):
            model = make_classifier(strength, settings.random_seed).fit(ready, target)
            losses[index] += log_loss(
                truth, model.predict_proba(unseen)[:, 1], normalize=False, labels=[0, 1]
            )
    return STRENGTHS[int(np.argmin(losses))] if splits else DEFAULT_STRENGTH


def _splits(
    cohort: Cohort, participants: NDArray[np.intp], folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield training and test participants, classes balanced and groups whole.

    Splits that leave too few of a class to learn from are left out.
    """
    positive, group = cohort.positive[participants], cohort.group[participants]
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(np.zeros((len(participants), 1)), positive, group):
        if len(test) and np.bincount(positive[train], minlength=2).min() >= FEWEST_TO_LEARN_FROM:
            yield participants[train], participants[test]
