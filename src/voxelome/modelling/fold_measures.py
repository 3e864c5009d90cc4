"""Measures of held-out predictions of all folds, for participants with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.modelling.resampling import Participants, by_participant, require_both_classes, require_finite
from voxelome.modelling.scoring import Scored

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Held-out predictions of all folds and repeats; a row is a participant in one fold.

    Attributes
    ----------
    people : Participants
        Participant of each row, and the outcome of each participant.
    target, prediction, naive : ndarray, shape (rows,)
        Outcome, prediction, and the prevalence or mean in the training part of the row's fold.
    """

    people: Participants
    target: Floats
    prediction: Floats
    naive: Floats

    @property
    def truth(self) -> Floats:
        """Outcome of each participant, 0 and 1 for classes, shape (participants,)."""
        return np.asarray(self.people.truth, dtype=np.float64)

    def mean(self, values: NDArray[Any]) -> Floats:
        """Return the mean over the rows of each participant, shape (participants,)."""
        return self.people.mean(values)


# Gets weights of the participants, shape (draws, participants), and returns a number for each draw.
Statistic = Callable[[HeldOut, Floats], Floats]


@dataclass(frozen=True)
class Measure:
    """A statistic of held-out predictions.

    Attributes
    ----------
    of : callable
        Returns it for each draw, shape (draws,), NaN where the draw does not tell; see `Statistic`.
    cases : callable, optional
        For a share, the number of participants that it is a share of. Where all draws give 0 or 1 they do
        not tell how sure that is, and Wilson's interval for so many cases does.
    """

    of: Statistic
    cases: Callable[[HeldOut], int] | None = None


def held_out(scored: list[Scored]) -> HeldOut:
    """Return the rows of all folds; DataError unless predictions are finite and both classes there."""
    who, target, prediction = (
        np.concatenate([getattr(fold, name) for fold in scored]) for name in ("who", "target", "prediction")
    )
    require_finite(prediction, "predictions")
    people = by_participant(who, target)
    if target.dtype == np.bool_:
        require_both_classes(people.truth)
    naive = np.repeat([float(fold.naive) for fold in scored], [len(fold.who) for fold in scored])
    return HeldOut(people, target.astype(np.float64), prediction, naive)


def _ratio(weights: Floats, top: Floats, bottom: Floats) -> Floats:
    """Return the ratio of two weighted sums over participants in each draw, NaN where the lower is 0."""
    total = weights @ bottom
    unknown = np.full(len(weights), np.nan)
    return np.asarray(np.divide(weights @ top, total, out=unknown, where=total > 0), dtype=np.float64)


def sensitivity(held: HeldOut, weights: Floats) -> Floats:
    """Return the share of positive participants above the prevalence in training, over their repeats."""
    return _ratio(weights, held.mean((held.prediction > held.naive) * held.target), held.truth)


def specificity(held: HeldOut, weights: Floats) -> Floats:
    """Return the share of negative participants not above the prevalence in training."""
    return _ratio(weights, held.mean((held.prediction <= held.naive) * (1 - held.target)), 1 - held.truth)


def balanced_accuracy(held: HeldOut, weights: Floats) -> Floats:
    """Return the mean of sensitivity and specificity."""
    return (sensitivity(held, weights) + specificity(held, weights)) / 2


def mean_squared_error(held: HeldOut, weights: Floats) -> Floats:
    """Return the mean squared error; of probabilities that is the Brier score."""
    return _ratio(weights, held.mean((held.prediction - held.target) ** 2), np.ones_like(held.truth))


def root_mean_squared_error(held: HeldOut, weights: Floats) -> Floats:
    """Return the root of the mean squared error, in the unit of the outcome."""
    return np.sqrt(mean_squared_error(held, weights))


def mean_absolute_error(held: HeldOut, weights: Floats) -> Floats:
    """Return the mean absolute error, in the unit of the outcome."""
    return _ratio(weights, held.mean(np.abs(held.prediction - held.target)), np.ones_like(held.truth))


def skill(held: HeldOut, weights: Floats) -> Floats:
    """Return the share of the squared error of the prevalence or mean in training that is done away with.

    Of probabilities that is the Brier skill score, of numbers R2; below 0 the mean would have been better.
    """
    error, spread = ((held.target - told) ** 2 for told in (held.prediction, held.naive))
    return np.asarray(1 - _ratio(weights, held.mean(error), held.mean(spread)), dtype=np.float64)


def expected_to_observed(held: HeldOut, weights: Floats) -> Floats:
    """Return the sum of the probabilities over the number of positive participants; 1 is right."""
    return _ratio(weights, held.mean(held.prediction), held.truth)


def average_precision(held: HeldOut, weights: Floats) -> Floats:
    """Return the average precision of the mean probability; tied participants are called together."""
    score = held.mean(held.prediction)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    called = np.cumsum(weights[:, order], axis=1)[:, last]
    found = np.cumsum((weights * held.truth)[:, order], axis=1)[:, last]
    # As long as nobody is called, nobody is found either.
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return np.asarray(np.sum(np.diff(found, prepend=0, axis=1) * precision, axis=1) / found[:, -1])


def _positive(held: HeldOut) -> int:
    return int(held.truth.sum())


def _negative(held: HeldOut) -> int:
    return int((1 - held.truth).sum())


def _rarer(held: HeldOut) -> int:
    return min(_positive(held), _negative(held))


OF_CLASSES: Mapping[str, Measure] = {
    "sensitivity": Measure(sensitivity, _positive),
    "specificity": Measure(specificity, _negative),
    "balanced_accuracy": Measure(balanced_accuracy, _rarer),
    "brier": Measure(mean_squared_error),
    "brier_skill": Measure(skill),
    "average_precision": Measure(average_precision),
    "expected_to_observed": Measure(expected_to_observed),
}
OF_NUMBERS: Mapping[str, Measure] = {
    "r2": Measure(skill),
    "rmse": Measure(root_mean_squared_error),
    "mae": Measure(mean_absolute_error),
}
