"""The column of the outcome, read as what the analysis predicts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.errors import DataError, listed
from voxelome.modelling import problems
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.survival_outcome import survival_outcome

MINIMUM_PER_CLASS = 4
MINIMUM_OF_NUMBERS = 10
CLASSES = 2


class Target(NamedTuple):
    """The outcome of every participant, shape (n,), and the names of its classes.

    Of two classes, and of the event of a survival, the positive is the last; a number has none.
    """

    values: Any
    classes: tuple[str, ...]


def read_target(people: pd.DataFrame, settings: AnalysisSettings) -> Target:
    """Return the outcome of participants who have one.

    Parameters
    ----------
    people : DataFrame
        The column ``outcome``, as text, and for survival ``time``.
    settings : AnalysisSettings
        Kind of outcome, positive class, order of classes.

    Raises
    ------
    DataError
        The outcome is not of its kind, or too few participants have one of its classes.
    """
    outcome = people["outcome"]
    if settings.kind == problems.CONTINUOUS:
        return Target(_numbers(outcome, settings), ())
    if settings.kind in problems.SEVERAL:
        return _several(outcome, settings)
    positive, negative = _two(outcome, settings)
    is_positive = (outcome == positive).to_numpy(dtype=bool)
    if settings.kind == problems.SURVIVAL:
        return Target(_survival(people, is_positive, settings), (negative, positive))
    return Target(is_positive, (negative, positive))


def target_of(people: pd.DataFrame, settings: AnalysisSettings, classes: tuple[str, ...]) -> Any:
    """Return the outcome of other participants than those that the classes were learned from, shape (n,).

    Parameters
    ----------
    people : DataFrame
        As :func:`read_target` takes.
    settings : AnalysisSettings
        Of the analysis.
    classes : tuple of str
        As :func:`read_target` gave.

    Raises
    ------
    DataError
        Somebody has a class that was not there.
    """
    outcome = people["outcome"]
    if settings.kind == problems.CONTINUOUS:
        return _as_numbers(outcome, settings)
    if (strange := ~outcome.isin(classes)).any():
        whose = listed(outcome.index[strange])
        raise DataError(f"{settings.outcome} of {whose} is a class that the model has not seen", "mend it")
    place = {label: number for number, label in enumerate(classes)}
    codes = outcome.map(place).to_numpy(dtype=np.intp)
    if settings.kind in problems.SEVERAL:
        return codes
    return _survival(people, codes == 1, settings) if settings.kind == problems.SURVIVAL else codes == 1


def _two(outcome: pd.Series, settings: AnalysisSettings) -> tuple[str, str]:
    """Return the positive and the negative class, or raise a DataError."""
    labels, told = _labels(outcome)
    if len(labels) != CLASSES:
        raise DataError(
            f"{settings.outcome} has {len(labels)} different value(s) where there are features: {told}",
            "name a column that has two, or give kind: multiclass, ordinal or continuous",
        )
    if settings.positive is not None and settings.positive not in labels:
        raise DataError(
            f"no participant has the positive class {settings.positive}", f"the classes are {told}"
        )
    _require_enough(outcome, settings, told)
    positive = settings.positive or labels[-1]
    return positive, next(label for label in labels if label != positive)


def _several(outcome: pd.Series, settings: AnalysisSettings) -> Target:
    """Return the number of each participant's class, in the order given or else of numbers and letters."""
    labels, told = _labels(outcome)
    if len(labels) <= CLASSES:
        raise DataError(
            f"{settings.outcome} has {len(labels)} different value(s) where there are features: {told}",
            f"give kind: binary; {settings.kind} is for more than two classes",
        )
    _require_enough(outcome, settings, told)
    if settings.order:
        if set(settings.order) != set(labels):
            given = ", ".join(settings.order)
            raise DataError(f"order is {given}, but {settings.outcome} has {told}", "name each class once")
        labels = list(settings.order)
    place = {label: number for number, label in enumerate(labels)}
    return Target(outcome.map(place).to_numpy(dtype=np.intp), tuple(labels))


def _labels(outcome: pd.Series) -> tuple[list[str], str]:
    """Return the classes in order, and a text that counts them.

    Texts go to logs: what one alone has may be a name, or a date of birth, and is counted but not told.
    """
    counts = outcome.value_counts()
    labels = sorted(counts.index, key=_numeric_first)
    told = [f"{label} ({counts[label]})" for label in labels if counts[label] > 1]
    single = len(labels) - len(told)
    return labels, listed([*told[:7], *([f"{single} that one alone has"] if single else [])])


def _require_enough(outcome: pd.Series, settings: AnalysisSettings, told: str) -> None:
    if outcome.value_counts().min() < MINIMUM_PER_CLASS:
        remedy = f"at least {MINIMUM_PER_CLASS} participants of each are needed"
        raise DataError(f"{settings.outcome} has the classes {told}", remedy)


def _as_numbers(outcome: pd.Series, settings: AnalysisSettings) -> NDArray[np.float64]:
    """Return the outcome as numbers, or raise a DataError."""
    numbers = pd.to_numeric(outcome, errors="coerce")
    if (wrong := numbers.isna() | np.isinf(numbers)).any():
        whose = listed(outcome.index[wrong])
        raise DataError(f"{settings.outcome} of {whose} is no number", "mend it, or give kind: binary")
    return np.asarray(numbers, dtype=np.float64)


def _numbers(outcome: pd.Series, settings: AnalysisSettings) -> NDArray[np.float64]:
    """Return an outcome of enough different numbers to learn from, or raise a DataError."""
    numbers = _as_numbers(outcome, settings)
    differ = len(np.unique(numbers))
    if len(numbers) < MINIMUM_OF_NUMBERS or differ < CLASSES + 1:
        problem = f"{settings.outcome} has {differ} different value(s) in {len(numbers)} participants"
        raise DataError(problem, f"a number takes {MINIMUM_OF_NUMBERS} participants and more than two values")
    return numbers


def _survival(people: pd.DataFrame, event: NDArray[np.bool_], settings: AnalysisSettings) -> NDArray[Any]:
    """Return events and times, or raise a DataError."""
    time = pd.to_numeric(people["time"], errors="coerce")
    if (lost := time.isna() | np.isinf(time)).any():
        told = listed(people.index[lost])
        raise DataError(f"{told} have no {settings.time}", "fill it in, or leave them out by where")
    if (wrong := time < 0).any():
        raise DataError(f"{settings.time} of {listed(people.index[wrong])} is negative", "mend it")
    return survival_outcome(event, time.to_numpy(dtype=np.float64))


def _numeric_first(label: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then texts."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
