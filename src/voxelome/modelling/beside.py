"""What belongs beside a model: simpler models on its folds, a permutation test, what a leak would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from voxelome.modelling import problems
from voxelome.modelling.cohort import COVARIATE
from voxelome.modelling.comparison import corrected_t_test
from voxelome.modelling.crossval import Cohort, Split, choice_of, first_steps, outer_splits, validate
from voxelome.modelling.families import FAMILIES, SIMPLE
from voxelome.modelling.judge import has_pairs, headline
from voxelome.modelling.scoring import Scored, score_fold, score_rows
from voxelome.modelling.settings import AnalysisSettings

# Size alone: many a radiomic signature is little else (Welch et al. 2019, Radiother Oncol 130:2-9).
SIZE = (
    "*__shape__MeshVolume",
    "*__shape__VoxelVolume",
    "*__shape2D__MeshSurface",
    "*__shape2D__PixelSurface",
)


@dataclass(frozen=True)
class Alternative:
    """A simpler model, validated on the same folds.

    Attributes
    ----------
    name : str
        What it is given.
    features : int
        How many columns that are.
    value : float
        Its AUC or R2.
    difference, low, high, p : float
        How much better the model of the analysis is, averaged over folds, with the interval and the two-sided
        p of the corrected resampled t-test; NaN where the folds do not tell.
    """

    name: str
    features: int
    value: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Permutation:
    """AUC or R2 of the whole pipeline where the outcome was dealt out at random.

    Attributes
    ----------
    observed : float
        With the true outcome.
    null : ndarray
        With permuted ones.
    p : float
        Share of permutations that reach the observed value, the true one counted in.
    """

    observed: float
    null: NDArray[np.float64]
    p: float


@dataclass(frozen=True)
class LeakProbe:
    """A simple model with ten features chosen inside the folds, and once on all participants before.

    The second value is what an analysis would report that leaks its test data into the selection.
    """

    inside: float
    outside: float


def alternatives(
    cohort: Cohort,
    names: Sequence[str],
    settings: AnalysisSettings,
    splits: list[Split],
    scored: list[Scored],
    threads: int,
) -> list[Alternative]:
    """Return simpler models: of the covariates, of size alone, and of the features without the covariates.

    Where the model's features are harmonised so are those of the others, but for the covariates.

    Parameters
    ----------
    cohort : Cohort
        All that the model of the analysis was given.
    names : sequence of str
        Names of its columns.
    settings : AnalysisSettings
        Of the analysis.
    splits, scored : list
        Its folds, and what it predicts there.
    threads : int
        Folds fitted at a time.
    """
    names = names[: cohort.features]
    covariate = np.array([name.startswith(COVARIATE) for name in names])
    size = np.array([any(fnmatchcase(name, pattern) for pattern in SIZE) for name in names])
    simple = replace(settings, model=SIMPLE[cohort.kind])
    offered = [
        ("clinical covariates alone", covariate, simple, False),
        ("size alone", size, simple, True),
        ("features without covariates", ~covariate, settings, True),
    ]
    found = []
    for name, columns, chosen, harmonised in offered:
        if columns.any() and not columns.all():
            part = cohort.with_columns(np.flatnonzero(columns), harmonised=harmonised)
            results = validate(part, chosen, splits, threads)
            other = [score_fold(cohort, result) for result in results]
            found.append(_compared(cohort.kind, name, int(columns.sum()), splits, scored, other))
    return found


def _compared(
    kind: str, name: str, features: int, splits: list[Split], scored: list[Scored], other: list[Scored]
) -> Alternative:
    """Return an alternative with the test of its difference to the model."""
    pairs = [
        (_of_fold(kind, ours), _of_fold(kind, theirs)) for ours, theirs in zip(scored, other, strict=True)
    ]
    known = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    nothing = (np.nan, np.nan, np.nan, np.nan)
    if len(known) > 1 and np.ptp(known[:, 0] - known[:, 1]) > 0:
        train = float(np.mean([len(split.train) for split in splits]))
        test = float(np.mean([len(split.test) for split in splits]))
        result = corrected_t_test(known[:, 0], known[:, 1], train, test)
        nothing = (result.difference.value, result.difference.low, result.difference.high, result.p)
    return Alternative(name, features, headline(kind, other), *nothing)


def _of_fold(kind: str, fold: Scored) -> float:
    """Return the AUC or R2 of one fold; NaN where it holds one class, or one value, alone."""
    if not has_pairs(kind, [fold]) or (kind == problems.CONTINUOUS and np.ptp(fold.target) == 0):
        return float("nan")
    return headline(kind, [fold])


def permutation_test(
    cohort: Cohort, settings: AnalysisSettings, folds: int, scored: list[Scored], threads: int
) -> Permutation | None:
    """Return what the whole pipeline finds where there is nothing to find; None where it is not asked for.

    Each permutation is validated once, on folds of its own; the observed value is the mean over the repeats,
    which varies less, so that p is on the safe side.

    References
    ----------
    Ojala and Garriga (2010), Journal of Machine Learning Research 11:1833-1863, test 1.
    """
    if not settings.permutations:
        return None
    once = replace(settings, repeats=1)
    null = []
    for number in range(settings.permutations):
        rng = np.random.default_rng((settings.random_seed, number))
        shuffled = cohort.with_target(rng.permutation(cohort.target))
        splits = outer_splits(shuffled, replace(once, random_seed=settings.random_seed + number), folds)
        results = validate(shuffled, once, splits, threads)
        found = [score_fold(shuffled, result) for result in results]
        if any(np.isfinite(_of_fold(cohort.kind, fold)) for fold in found):
            null.append(headline(cohort.kind, found))
    observed = headline(cohort.kind, scored)
    values = np.array(null)
    return Permutation(observed, values, float((1 + np.sum(values >= observed)) / (1 + len(values))))


def leak_probe(cohort: Cohort, settings: AnalysisSettings, splits: list[Split]) -> LeakProbe | None:
    """Return how much a selection of features outside of the folds would flatter a simple model.

    None for survival.

    References
    ----------
    Ambroise and McLachlan (2002), PNAS 99:6562-6566. Demircioglu (2021), Insights into Imaging 12:172.
    """
    if cohort.kind == problems.SURVIVAL:
        return None
    family = FAMILIES[cohort.kind]["elasticnet_logistic" if cohort.kind == problems.BINARY else "elasticnet"]

    def preparation(participants: NDArray[np.intp]) -> Pipeline:
        first = first_steps(cohort, settings, participants)
        return Pipeline([*first, *family.prepare(choice_of(settings))])

    everyone = np.arange(len(cohort.target))
    target = cohort.of_visits(np.arange(len(cohort.values)))
    everybody = preparation(everyone).fit_transform(cohort.values, target)
    model: Any = LogisticRegression(max_iter=5000) if cohort.kind == problems.BINARY else Ridge(1.0)
    inside: list[Scored] = []
    outside: list[Scored] = []
    for split in splits:
        rows, held_out = cohort.visits(split.train), cohort.visits(split.test)
        known = cohort.of_visits(rows)
        learned = preparation(split.train)
        ready = learned.fit_transform(cohort.values[rows], known)
        unseen = learned.transform(cohort.values[held_out])
        for found, train, test in (
            (inside, ready, unseen),
            (outside, everybody[rows], everybody[held_out]),
        ):
            prediction = problems.predicted(cohort.kind, model.fit(train, known), test)
            naive = problems.naive(cohort.kind, cohort.target[split.train])
            found.append(score_rows(cohort, held_out, prediction, naive))
    return LeakProbe(headline(cohort.kind, inside), headline(cohort.kind, outside))
