"""The fits of an analysis, one by one: they can be done in any order, in several threads or several jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling.crossval import FoldResult, fit_fold, validate
from voxelome.modelling.explanation import look_into
from voxelome.modelling.folds import Split
from voxelome.modelling.importance import Importance
from voxelome.modelling.judge import has_pairs, headline
from voxelome.modelling.plan import Plan, shuffled, thinned
from voxelome.modelling.scoring import score_fold

MODEL, SIMPLER, CURVE, PERMUTATION = "model", "simpler", "curve", "permutation"
Arrays = Mapping[str, NDArray[Any]]


class Task(NamedTuple):
    """One fit: of what, which of these (a simpler model, a share of the learning curve), and which fold.

    A permutation is one task with all of its folds.
    """

    what: str
    which: int
    fold: int

    def __str__(self) -> str:
        return f"{self.what}-{self.which}-{self.fold}"


def tasks_of(plan: Plan) -> list[Task]:
    """Return all fits of an analysis but that of the final model; the long ones are dealt out evenly."""
    folds = range(len(plan.splits))
    once = range(sum(split.repeat == 1 for split in plan.splits))
    shares = range(len(plan.settings.learning_curve))
    return [
        *(Task(MODEL, 0, fold) for fold in folds),
        *(Task(SIMPLER, which, fold) for which in range(len(plan.simpler)) for fold in folds),
        *(Task(CURVE, which, fold) for which in shares for fold in once),
        *(Task(PERMUTATION, number, 0) for number in range(plan.settings.permutations)),
    ]


def work(plan: Plan, tasks: Sequence[Task], threads: int = 1) -> dict[Task, Arrays]:
    """Return what each task gives, as arrays that a file can hold.

    Parameters
    ----------
    plan : Plan
        Of the analysis.
    tasks : sequence of Task
        Some of :func:`tasks_of`.
    threads : int
        Fits at a time; the results do not depend on it.
    """
    run = Parallel(n_jobs=threads, prefer="threads")
    return dict(zip(tasks, run(delayed(_one)(plan, task) for task in tasks), strict=True))


def _one(plan: Plan, task: Task) -> Arrays:
    cohort, settings = plan.data.cohort, plan.settings
    if task.what == PERMUTATION:
        return {"value": np.array(_of_permutation(shuffled(plan, task.which)))}
    if task.what == SIMPLER:
        other = plan.simpler[task.which]
        return _packed(fit_fold(other.cohort, other.settings, plan.splits[task.fold]))
    if task.what == CURVE:
        split = thinned(plan, settings.learning_curve[task.which])[task.fold]
        return _packed(fit_fold(cohort, settings, split))
    split = plan.splits[task.fold]
    return _packed(fit_fold(cohort, settings, split, plan.times, _look(plan, split)))


def _look(plan: Plan, split: Split) -> Callable[[Any, Split], Mapping[str, NDArray[Any]]] | None:
    """Return what looks into the models of the first repeat, in which each participant is held out once."""
    if plan.clusters is None or split.repeat > 1:
        return None
    clusters = plan.clusters
    return lambda model, here: look_into(plan.data.cohort, model, here, clusters, plan.settings.random_seed)


def _of_permutation(plan: Plan) -> float:
    """Return the measure of the whole pipeline on a plan whose outcome is dealt out at random."""
    cohort = plan.data.cohort
    try:
        scored = [score_fold(cohort, result) for result in validate(cohort, plan.settings, plan.splits)]
    except (
        DataError
    ):  # the permuted outcome is that of one group: nothing can be learned, and nothing is told
        return float("nan")
    return headline(cohort.kind, scored) if has_pairs(cohort.kind, scored) else float("nan")


def results_of(plan: Plan, done: Mapping[Task, Arrays], what: str, which: int = 0) -> list[FoldResult]:
    """Return the folds of the model, of a simpler one, or of a share of the learning curve, in order."""
    splits = plan.splits
    if what == CURVE:
        splits = thinned(plan, plan.settings.learning_curve[which])
    return [_unpacked(split, done[Task(what, which, fold)]) for fold, split in enumerate(splits)]


def permuted(plan: Plan, done: Mapping[Task, Arrays]) -> Iterator[float]:
    """Yield the measure of each permutation in which there was something to judge."""
    for number in range(plan.settings.permutations):
        value = float(done[Task(PERMUTATION, number, 0)]["value"])
        if np.isfinite(value):
            yield value


def _packed(result: FoldResult) -> Arrays:
    found = {
        "visits": result.visits,
        "prediction": result.prediction,
        "naive": np.asarray(result.naive),
        "share": result.importance.share,
        "coefficient": result.importance.coefficient,
    }
    if result.survival is not None:
        found["survival"] = result.survival
    return found | {f"explained-{name}": values for name, values in result.explained.items()}


def _unpacked(split: Split, arrays: Arrays) -> FoldResult:
    naive = arrays["naive"]
    return FoldResult(
        split,
        arrays["visits"],
        arrays["prediction"],
        naive if naive.ndim else float(naive),
        Importance(arrays["share"], arrays["coefficient"]),
        arrays.get("survival"),
        {name.removeprefix("explained-"): arrays[name] for name in arrays if name.startswith("explained-")},
    )
