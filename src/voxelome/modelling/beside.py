"""What belongs beside a model: simpler models on its folds, a permutation test, what a leak would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from voxelome.modelling import problems
from voxelome.modelling.choosing import choice_of, first_steps
from voxelome.modelling.comparison import corrected_t_test, delong_test
from voxelome.modelling.families import FAMILIES, SIMPLE
from voxelome.modelling.folds import Split
from voxelome.modelling.judge import has_pairs, headline
from voxelome.modelling.people import COVARIATE
from voxelome.modelling.scoring import Scored, score_rows
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.visits import Cohort

# Size alone: many a radiomic signature is little else (Welch et al. 2019, Radiother Oncol 130:2-9).
SIZE = (
    "*__shape__MeshVolume",
    "*__shape__VoxelVolume",
    "*__shape2D__MeshSurface",
    "*__shape2D__PixelSurface",
)


CLINICAL = "clinical covariates alone"
SIZE_ALONE = "size alone"
WITHOUT_COVARIATES = "features without covariates"


@dataclass(frozen=True)
class Simpler:
    """A model of some of the columns, or of another family, to be validated on the folds of the analysis.

    Attributes
    ----------
    name : str
        What it is given.
    features : int
        How many columns that are.
    cohort : Cohort
        Those columns.
    settings : AnalysisSettings
        How it is fitted.
    columns : tuple of int
        Places of its columns, those of landmarks and the site included, among those of the analysis.
    """

    name: str
    features: int
    cohort: Cohort
    settings: AnalysisSettings
    columns: tuple[int, ...]


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
        Its AUC, concordance or R2.
    difference, low, high, p : float
        How much better the model of the analysis is, averaged over folds, with the interval and the two-sided
        p; NaN where the folds do not tell.
    test : str
        Of what test; empty where there is none.
    """

    name: str
    features: int
    value: float
    difference: float
    low: float
    high: float
    p: float
    test: str


@dataclass(frozen=True)
class LeakProbe:
    """A simple model with ten features chosen inside the folds, and once on all participants before.

    The second value is what an analysis would report that leaks its test data into the selection.
    """

    inside: float
    outside: float


def simpler_models(cohort: Cohort, names: Sequence[str], settings: AnalysisSettings) -> list[Simpler]:
    """Return simpler models: of the covariates, of size alone, and of the features without the covariates.

    Where the model's features are harmonised so are those of the others, but for the covariates.

    Parameters
    ----------
    cohort : Cohort
        All that the model of the analysis is given.
    names : sequence of str
        Names of its columns.
    settings : AnalysisSettings
        Of the analysis.
    """
    names = names[: cohort.features]
    covariate = np.array([name.startswith(COVARIATE) for name in names])
    size = np.array([any(fnmatchcase(name, pattern) for pattern in SIZE) for name in names])
    simple = replace(settings, model=SIMPLE[cohort.kind], search="grid")
    offered = [
        (CLINICAL, covariate, simple, False),
        (SIZE_ALONE, size, simple, True),
        (WITHOUT_COVARIATES, ~covariate, settings, True),
    ]
    found = []
    for name, chosen, own, harmonised in offered:
        if chosen.any() and not chosen.all():
            part, columns = cohort.with_columns(np.flatnonzero(chosen), harmonised=harmonised)
            found.append(Simpler(name, int(chosen.sum()), part, own, tuple(columns.tolist())))
    return found


def compare(
    kind: str, simpler: Simpler, splits: list[Split], scored: list[Scored], other: list[Scored]
) -> Alternative:
    """Return a simpler model with the test of its difference to that of the analysis.

    Over folds that is the corrected resampled t-test; of participants held out once and for all, DeLong's.

    Parameters
    ----------
    kind : str
        Of the outcome.
    simpler : Simpler
        The other model.
    splits, scored, other : list
        Folds, and what both predict there.
    """
    value = headline(kind, other)
    nothing = (np.nan, np.nan, np.nan, np.nan, "")
    if len(scored) == 1 and kind == problems.BINARY and min(np.bincount(scored[0].target, minlength=2)) > 1:
        tested = delong_test(scored[0].target, scored[0].prediction, other[0].prediction)
        found = (
            tested.difference.value,
            tested.difference.low,
            tested.difference.high,
            tested.p,
            "DeLong's test",
        )
        return Alternative(simpler.name, simpler.features, value, *found)
    pairs = [
        (_of_fold(kind, ours), _of_fold(kind, theirs)) for ours, theirs in zip(scored, other, strict=True)
    ]
    known = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    if len(known) > 1 and np.ptp(known[:, 0] - known[:, 1]) > 0:
        train = float(np.mean([len(split.train) for split in splits]))
        test = float(np.mean([len(split.test) for split in splits]))
        result = corrected_t_test(known[:, 0], known[:, 1], train, test)
        difference = result.difference
        nothing = (difference.value, difference.low, difference.high, result.p, "corrected resampled t-test")
    return Alternative(simpler.name, simpler.features, value, *nothing)


def asdict_of(other: Alternative) -> dict[str, Any]:
    """Return a simpler model as JSON holds it: what is not a number is None."""
    return {
        key: None if isinstance(value, float) and np.isnan(value) else value
        for key, value in asdict(other).items()
    }


def _of_fold(kind: str, fold: Scored) -> float:
    """Return the measure of one fold; NaN where it holds one class, or one value, alone."""
    if not has_pairs(kind, [fold]) or (kind == problems.CONTINUOUS and np.ptp(fold.target) == 0):
        return float("nan")
    return headline(kind, [fold])


def p_of_permutations(observed: float, null: Sequence[float]) -> float:
    """Return the share of permuted outcomes that reach the observed value, the true one counted in.

    Each permutation is validated once, on folds of its own; the observed value is the mean over the
    repeats, which varies less, so that p is on the safe side.

    References
    ----------
    Ojala and Garriga (2010), Journal of Machine Learning Research 11:1833-1863, test 1.
    """
    return float((1 + np.sum(np.asarray(null) >= observed)) / (1 + len(null)))


def leak_probe(cohort: Cohort, settings: AnalysisSettings, splits: list[Split]) -> LeakProbe | None:
    """Return how much a selection of features outside of the folds would flatter a simple model.

    None for survival.

    References
    ----------
    Ambroise and McLachlan (2002), PNAS 99:6562-6566. Demircioglu (2021), Insights into Imaging 12:172.
    """
    if cohort.kind == problems.SURVIVAL:
        return None
    number = cohort.kind == problems.CONTINUOUS
    family = FAMILIES[cohort.kind]["elasticnet" if number else "elasticnet_logistic"]

    def preparation(participants: NDArray[np.intp]) -> Pipeline:
        first = first_steps(cohort, settings, participants)
        return Pipeline([*first, *family.prepare(choice_of(settings))])

    everyone = np.arange(len(cohort.target))
    target = cohort.of_visits(np.arange(len(cohort.values)))
    everybody = preparation(everyone).fit_transform(cohort.values, target)
    model: Any = Ridge(1.0) if number else LogisticRegression(max_iter=5000)
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
            naive = problems.naive(cohort.kind, cohort.target[split.train], cohort.classes)
            found.append(score_rows(cohort, held_out, prediction, naive))
    return LeakProbe(headline(cohort.kind, inside), headline(cohort.kind, outside))
