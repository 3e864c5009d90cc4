"""Who is trained on and who is held out: groups whole, classes balanced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.visits import Cohort

# Within-class variance, and with it the choice of features, needs two.
FEWEST_TO_LEARN_FROM = 2
LEAVE_OUT = "leave_one_group_out"
# Fewer of a class, or of a site, are too few for the folds inside of some models, or for harmonisation.
_FEWEST_OF_A_PART = 4


@dataclass(frozen=True)
class Split:
    """Participants of training and test of one fold; `repeat` and `fold` count from 1."""

    repeat: int
    fold: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def outer_splits(cohort: Cohort, settings: AnalysisSettings, folds: int) -> list[Split]:
    """Return the splits of the validation; all models that are compared are given the same.

    Where a group is left out at a time, there is one repeat with as many folds as groups.
    """
    everyone = np.arange(len(cohort.target))
    if settings.validation == LEAVE_OUT:
        splitter = LeaveOneGroupOut().split(everyone, groups=cohort.group)
        return [Split(1, fold, train, test) for fold, (train, test) in enumerate(splitter, 1)]
    return [
        Split(repeat, fold, train, test)
        for repeat in range(1, settings.repeats + 1)
        for fold, (train, test) in enumerate(
            _splits(cohort, everyone, folds, settings.random_seed + repeat), 1
        )
    ]


def compares_within(cohort: Cohort, splits: list[Split]) -> bool:
    """Return whether most participants are held out together with one of another class.

    Only predictions of one model have a common scale. Where this is False, as each participant is left out
    alone or groups are of one class, those of several would be compared, which finds less than chance in
    noise: leaving out a case of one class leans all scores to the other, and the penalty is chosen without
    the case that contradicts the others.

    References
    ----------
    Parker, Gunter and Bedo (2007), BMC Bioinformatics 8:326. Austin, Pe'er and Korem (2025), Science Advances
    11:eadx6976.
    """
    if cohort.kind == problems.CONTINUOUS:
        return True
    classes = problems.strata(cohort.kind, cohort.target)
    mixed = sum(len(split.test) for split in splits if len(np.unique(classes[split.test])) > 1)
    return 2 * mixed >= sum(len(split.test) for split in splits)


def smallest_class(cohort: Cohort) -> int:
    """Return the number of groups of the class that fewest have."""
    classes = problems.strata(cohort.kind, cohort.target)
    return min(len(np.unique(cohort.group[classes == kind])) for kind in np.unique(classes))


def rarest(cohort: Cohort, participants: NDArray[np.intp]) -> int:
    """Return how many participants the class has that fewest have; where the outcome is a number, all."""
    if cohort.kind == problems.CONTINUOUS:
        return len(participants)
    return int(np.bincount(problems.strata(cohort.kind, cohort.target[participants])).min())


def unsplittable(groups: str, kind: str) -> DataError:
    """Return the error that groups cannot be split into folds that can be learned from and tested in."""
    folds = {
        problems.CONTINUOUS: "folds that leave enough participants to learn from",
        problems.SURVIVAL: "folds with events in each",
    }.get(kind, "folds with both classes")
    return DataError(
        f"the groups of {groups} cannot be split into {folds}", "choose other groups, or fewer outer_folds"
    )


def part_of(
    cohort: Cohort, participants: NDArray[np.intp], share: float, seed: int | tuple[int, ...]
) -> NDArray[np.intp]:
    """Return a share of participants, drawn by lot, of each class (and site); at least four of each."""
    classes = problems.strata(cohort.kind, cohort.target[participants])
    if cohort.site is not None:
        site = np.zeros(len(cohort.target))
        site[cohort.participant] = cohort.values[:, cohort.site]
        classes = np.unique(np.stack([classes, site[participants]]), axis=1, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    kept = []
    for kind in np.unique(classes):
        members = participants[classes == kind]
        kept.append(rng.permutation(members)[: max(_FEWEST_OF_A_PART, round(share * len(members)))])
    return np.sort(np.concatenate(kept))


def inner_splits(
    cohort: Cohort, settings: AnalysisSettings, participants: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield training and test participants of the folds that choose a model's settings; none of one group."""
    fewest = rarest(cohort, participants)
    groups = len(np.unique(cohort.group[participants]))
    folds = min(max(2, min(settings.inner_folds, fewest)), groups)
    if folds > 1:
        yield from _splits(cohort, participants, folds, settings.random_seed)


def _splits(
    cohort: Cohort, participants: NDArray[np.intp], folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield training and test participants, classes balanced and groups whole.

    Splits that leave too few of a class to learn from are left out.
    """
    classes = problems.strata(cohort.kind, cohort.target[participants], folds)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(np.zeros((len(classes), 1)), classes, cohort.group[participants]):
        fewest = np.bincount(classes[train], minlength=classes.max() + 1).min()
        if len(test) and fewest >= FEWEST_TO_LEARN_FROM:
            yield participants[train], participants[test]
