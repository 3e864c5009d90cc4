"""Repeated nested cross-validation in which everything is learned inside the folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.estimators import KeepColumns
from voxelome.modelling.families import Choice, Family, families
from voxelome.modelling.harmonise import ComBat
from voxelome.modelling.importance import Importance, importance_of
from voxelome.modelling.reliable import reliable
from voxelome.modelling.settings import AnalysisSettings

# Within-class variance, and with it the choice of features, needs two.
FEWEST_TO_LEARN_FROM = 2
Steps = list[tuple[str, Any]]


@dataclass(frozen=True)
class Cohort:
    """Visits with their features and their participants.

    Attributes
    ----------
    kind : str
        ``binary``, ``continuous`` or ``survival``.
    values : ndarray, shape (n_visits, n_features)
        Features, NaN where missing.
    participant : ndarray of int, shape (n_visits,)
        Index of each visit's participant.
    target : ndarray, shape (n_participants,)
        Outcome: bool, float, or events and times.
    group : ndarray of int, shape (n_participants,)
        Participants with one number are never split between training and test.
    site : int, optional
        Column with the number of the site, the last; without it nothing is harmonised.
    keep : tuple of int
        Columns whose effects harmonisation keeps.
    repeated : ndarray, shape (n_features, n_visits, n_measurements), optional
        The features measured again; NaN in those that were not.
    """

    kind: str
    values: NDArray[np.float64]
    participant: NDArray[np.intp]
    target: NDArray[Any]
    group: NDArray[np.intp]
    site: int | None = None
    keep: tuple[int, ...] = ()
    repeated: NDArray[np.float32] | None = None

    @property
    def features(self) -> int:
        """Number of features, without the column of the site."""
        return int(self.values.shape[1]) - (self.site is not None)

    def visits(self, participants: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the indices of the visits of some participants."""
        return np.flatnonzero(np.isin(self.participant, participants))

    def of_visits(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the outcome of the participants of some visits."""
        outcome: NDArray[Any] = self.target[self.participant[rows]]
        return outcome

    def with_columns(self, columns: NDArray[np.intp], *, harmonised: bool = True) -> Cohort:
        """Return the cohort with some of its features, harmonised as all are or not at all."""
        site: int | None = None
        keep: tuple[int, ...] = ()
        taken = columns
        if harmonised and self.site is not None:
            site, taken = len(columns), np.append(columns, self.site)
            keep = tuple(place for place, column in enumerate(columns) if column in self.keep)
        repeated = None if self.repeated is None else self.repeated[taken]
        return replace(self, values=self.values[:, taken], site=site, keep=keep, repeated=repeated)

    def with_target(self, target: NDArray[Any]) -> Cohort:
        """Return the cohort with another outcome."""
        return replace(self, target=target)


@dataclass(frozen=True)
class Split:
    """Participants of training and test of one fold; `repeat` and `fold` count from 1."""

    repeat: int
    fold: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]


@dataclass(frozen=True)
class FoldResult:
    """What one fold's model says of the visits that it has not seen.

    Attributes
    ----------
    split : Split
        Who was trained on and who was held out.
    visits : ndarray of int
        Visits held out.
    prediction : ndarray of float
        Probability of the positive class, the number predicted, or the risk, of each.
    naive : float
        The prediction that needs no features: prevalence or mean in training. For survival the median risk in
        training, which parts low from high.
    importance : Importance
        How much the model makes of each feature.
    """

    split: Split
    visits: NDArray[np.intp]
    prediction: NDArray[np.float64]
    naive: float
    importance: Importance


def outer_splits(cohort: Cohort, settings: AnalysisSettings, folds: int) -> list[Split]:
    """Return the splits of the validation; all models that are compared are given the same.

    Where a group is left out at a time, there is one repeat with as many folds as groups.
    """
    everyone = np.arange(len(cohort.target))
    if settings.validation == "leave_one_group_out":
        splitter = LeaveOneGroupOut().split(everyone, groups=cohort.group)
        return [Split(1, fold, train, test) for fold, (train, test) in enumerate(splitter, 1)]
    return [
        Split(repeat, fold, train, test)
        for repeat in range(1, settings.repeats + 1)
        for fold, (train, test) in enumerate(
            _splits(cohort, everyone, folds, settings.random_seed + repeat), 1
        )
    ]


def validate(
    cohort: Cohort, settings: AnalysisSettings, splits: list[Split], threads: int = 1
) -> list[FoldResult]:
    """Return the held-out predictions of every fold of every repeat.

    Imputation, scaling, the choice of features, of the settings and of the models that are averaged are
    learned from the training part of each fold alone (Varma and Simon 2006, BMC Bioinformatics 7:91).
    """
    run = Parallel(n_jobs=threads, prefer="threads")
    return list(run(delayed(_one_fold)(cohort, settings, split) for split in splits))


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
    return _chosen(cohort, settings, participants).fit(values, cohort.of_visits(rows))


def _one_fold(cohort: Cohort, settings: AnalysisSettings, split: Split) -> FoldResult:
    """Fit on the training participants, predict the others."""
    rows = cohort.visits(split.test)
    try:
        model = fit_model(cohort, settings, split.train)
        prediction = problems.predicted(cohort.kind, model, cohort.values[rows])
    except ValueError as error:
        if cohort.site is None:
            raise
        remedy = "put sites together, leave them out by where, or give unseen_site: keep"
        raise DataError(f"harmonisation of fold {split.fold}: {error}", remedy) from error
    return FoldResult(
        split,
        rows,
        prediction,
        _cut(cohort, model, split),
        importance_of(model, cohort.values.shape[1]),
    )


def _cut(cohort: Cohort, model: Any, split: Split) -> float:
    """Return the prediction that needs no features, or the risk in the middle of training."""
    if cohort.kind != problems.SURVIVAL:
        return problems.naive(cohort.kind, cohort.target[split.train])
    known = cohort.values[cohort.visits(split.train)]
    return float(np.median(problems.predicted(cohort.kind, model, known)))


def _chosen(cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp]) -> Any:
    """Return an unfitted model with the settings that do best in the inner folds."""
    offered = families(cohort.kind, settings.model)
    first = first_steps(cohort, settings, participants)
    inner = list(_inner_splits(cohort, settings, participants))
    best: list[tuple[str, Pipeline]] = []
    better: list[str] = []
    reference = sum(_naive_loss(cohort, *split) for split in inner)
    for name, family in offered.items():
        needed = len(family.grid) > 1 or len(offered) > 1
        losses = (
            _losses(cohort, family, settings, inner, first)
            if needed and inner
            else np.zeros(len(family.grid))
        )
        # Of equals the first, which is the simplest; where there is nothing to choose by, the middle.
        chosen = int(np.argmin(losses)) if inner else len(family.grid) // 2
        made = family.build(family.grid[chosen], choice_of(settings))
        best.append((name, Pipeline([*first, *made.steps])))
        if losses[chosen] < reference:
            better.append(name)
    members = [(name, model) for name, model in best if name in better] or best
    return members[0][1] if len(members) == 1 else problems.average_of(cohort.kind, members)


def choice_of(settings: AnalysisSettings) -> Choice:
    """Return how models that take few features choose them."""
    return Choice(settings.selection, settings.selected_features, settings.random_seed)


def first_steps(cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp]) -> Steps:
    """Return what comes before a family's own steps: harmonisation, and the choice of reliable features."""
    steps: Steps = []
    if cohort.site is not None:
        steps.append(("harmonise", ComBat(cohort.site, cohort.keep, unseen=settings.unseen_site)))
    if settings.minimum_reliability and cohort.repeated is not None:
        kept = reliable(cohort.repeated[:, cohort.visits(participants)], settings.minimum_reliability)
        kept = kept[: cohort.features]
        if not kept.any():
            problem = f"no feature has a reliability of {settings.minimum_reliability} in training"
            raise DataError(problem, "lower minimum_reliability")
        steps.append(("reliable", KeepColumns(tuple(np.flatnonzero(kept).tolist()))))
    return steps


def _losses(
    cohort: Cohort,
    family: Family,
    settings: AnalysisSettings,
    inner: list[tuple[Any, Any]],
    first: Steps,
) -> NDArray[np.float64]:
    """Return the loss in the held-out inner folds for each setting of a family."""
    losses = np.zeros(len(family.grid))
    for train, test in inner:
        rows, held_out = cohort.visits(train), cohort.visits(test)
        known, truth = cohort.of_visits(rows), cohort.of_visits(held_out)
        preparation = clone(Pipeline([*first, *family.prepare(choice_of(settings))]))
        ready = preparation.fit_transform(cohort.values[rows], known)
        unseen = preparation.transform(cohort.values[held_out])
        for index, parameters in enumerate(family.grid):
            model = family.model(parameters, settings.random_seed).fit(ready, known)
            prediction = problems.predicted(cohort.kind, model, unseen)
            losses[index] += problems.loss(cohort.kind, truth, prediction)
    return losses


def _naive_loss(cohort: Cohort, train: NDArray[np.intp], test: NDArray[np.intp]) -> float:
    held_out = cohort.visits(test)
    value = problems.naive(cohort.kind, cohort.of_visits(cohort.visits(train)))
    return problems.loss(cohort.kind, cohort.of_visits(held_out), np.full(len(held_out), value))


def _inner_splits(
    cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    fewest = int(np.bincount(problems.strata(cohort.kind, cohort.target[participants])).min())
    folds = max(2, min(settings.inner_folds, fewest))
    yield from _splits(cohort, participants, folds, settings.random_seed)


def _splits(
    cohort: Cohort, participants: NDArray[np.intp], folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield training and test participants, classes balanced and groups whole.

    Splits that leave too few of a class to learn from are left out.
    """
    classes = problems.strata(cohort.kind, cohort.target[participants])
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(np.zeros((len(classes), 1)), classes, cohort.group[participants]):
        fewest = np.bincount(classes[train], minlength=classes.max() + 1).min()
        if len(test) and fewest >= FEWEST_TO_LEARN_FROM:
            yield participants[train], participants[test]
