"""The choice of a model and of its settings, by folds inside the training participants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.balance import Balanced
from voxelome.modelling.estimators import KeepColumns
from voxelome.modelling.families import STACKED, Choice, Family, Parameters, families
from voxelome.modelling.folds import inner_splits, part_of
from voxelome.modelling.harmonise import ComBat
from voxelome.modelling.nyul import scale_for
from voxelome.modelling.reliable import reliable
from voxelome.modelling.search import Budget, draw_settings, search
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.stacking import stacked
from voxelome.modelling.visits import Cohort

# Steps that need columns beside the features, and take them away.
SCALE, HARMONISE = "standard_scale", "harmonise"
Steps = list[tuple[str, Any]]
# Training and test participants of the inner folds.
Inner = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def chosen_model(cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp]) -> Any:
    """Return an unfitted model with the settings that do best in the inner folds.

    Of the members of an average, those that predict the inner folds no better than the prevalence (or the
    mean) are left out, unless that is all of them.

    Parameters
    ----------
    cohort : Cohort
        All participants; only those of training are looked at.
    settings : AnalysisSettings
        The models to choose among.
    participants : ndarray of int
        Of training.
    """
    offered = families(cohort.kind, settings.model)
    first = first_steps(cohort, settings, participants)
    inner = list(inner_splits(cohort, settings, participants))
    best: Steps = []
    better: list[str] = []
    reference = sum(_naive_loss(cohort, *split) for split in inner)
    for name, family in offered.items():
        candidates = candidates_of(family, settings)
        needed = bool(inner) and (len(candidates) > 1 or len(offered) > 1)
        # Of equals the first, which is the simplest; where there is nothing to choose by, the middle.
        chosen, loss = len(candidates) // 2 if settings.search == "grid" else 0, 0.0
        if needed:
            chosen, loss = _best(cohort, family, candidates, settings, inner, first)
        model = _model(family, candidates[chosen], settings)
        best.append((name, Pipeline([*first, *family.prepare(choice_of(settings)), ("model", model)])))
        if loss < reference:
            better.append(name)
    if settings.model == STACKED:
        return stacked(cohort.kind, best, settings.inner_folds, settings.random_seed)
    members = [(name, model) for name, model in best if name in better] or best
    return members[0][1] if len(members) == 1 else problems.average_of(cohort.kind, members)


def candidates_of(family: Family, settings: AnalysisSettings) -> list[Parameters]:
    """Return the settings of a family to choose among: the grid, or its middle and those drawn at random."""
    grid = list(family.grid)
    if settings.search == "grid" or not family.space:
        return grid
    default = grid[len(grid) // 2]
    drawn = draw_settings(family.space, settings.trials, settings.random_seed)
    return [default, *(each for each in drawn if each != default)]


def choice_of(settings: AnalysisSettings) -> Choice:
    """Return how models that take few features choose them."""
    return Choice(settings.selection, settings.selected_features, settings.random_seed, settings.filters)


def first_steps(cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp]) -> Steps:
    """Return what comes before a family's own steps: scale, harmonisation, choice of reliable features."""
    steps: Steps = []
    if cohort.scaled:
        steps.append((SCALE, scale_for(cohort)))
    if cohort.site is not None:
        prior, unseen = settings.harmonise_prior, settings.unseen_site
        # The site comes right after the features, once the landmarks are gone.
        combat = ComBat(cohort.features, cohort.keep, prior=prior, unseen=unseen)
        steps.append((HARMONISE, combat))
    if settings.minimum_reliability and cohort.repeated is not None:
        kept = reliable(cohort.repeated[:, cohort.visits(participants)], settings.minimum_reliability)
        kept = kept[: cohort.features]
        if not kept.any():
            problem = f"no feature has a reliability of {settings.minimum_reliability} in training"
            raise DataError(problem, "lower minimum_reliability")
        steps.append(("reliable", KeepColumns(tuple(np.flatnonzero(kept).tolist()))))
    return steps


def _model(family: Family, parameters: Parameters, settings: AnalysisSettings) -> Any:
    """Return the last step, unfitted; it balances the classes where that is asked for."""
    model = family.model(parameters, settings.random_seed)
    return model if settings.balance == "none" else Balanced(model, settings.balance, settings.random_seed)


def _best(
    cohort: Cohort,
    family: Family,
    candidates: list[Parameters],
    settings: AnalysisSettings,
    inner: Inner,
    first: Steps,
) -> tuple[int, float]:
    """Return the number of the best settings, and their loss in the held-out inner folds."""

    def evaluate(numbers: list[int], share: float) -> NDArray[np.float64]:
        asked = [candidates[number] for number in numbers]
        return _losses(cohort, family, asked, settings, inner, first, share)

    if settings.search == "grid":
        losses = evaluate(list(range(len(candidates))), 1.0)
        return int(np.argmin(losses)), float(losses.min())
    budget = Budget(seconds=settings.search_seconds) if settings.search_seconds else Budget()
    found = search([dict(each) for each in candidates], evaluate, budget, settings.search)
    return found.chosen, float(found.losses[found.chosen])


def _losses(
    cohort: Cohort,
    family: Family,
    candidates: list[Parameters],
    settings: AnalysisSettings,
    inner: Inner,
    first: Steps,
    share: float,
) -> NDArray[np.float64]:
    """Return the loss in the held-out inner folds of each setting, fitted to a share of the others."""
    losses = np.zeros(len(candidates))
    for train, test in inner:
        taken = train if share == 1 else part_of(cohort, train, share, settings.random_seed)
        rows, held_out = cohort.visits(taken), cohort.visits(test)
        known, truth = cohort.of_visits(rows), cohort.of_visits(held_out)
        preparation = clone(Pipeline([*first, *family.prepare(choice_of(settings))]))
        ready = preparation.fit_transform(cohort.values[rows], known)
        unseen = preparation.transform(cohort.values[held_out])
        for index, parameters in enumerate(candidates):
            model = _model(family, parameters, settings).fit(ready, known)
            prediction = problems.predicted(cohort.kind, model, unseen)
            losses[index] += problems.loss(cohort.kind, truth, prediction)
    return losses


def _naive_loss(cohort: Cohort, train: NDArray[np.intp], test: NDArray[np.intp]) -> float:
    held_out = cohort.visits(test)
    value = np.asarray(problems.naive(cohort.kind, cohort.of_visits(cohort.visits(train)), cohort.classes))
    same = np.broadcast_to(value, (len(held_out), *value.shape))
    return problems.loss(cohort.kind, cohort.of_visits(held_out), same)
