"""How good held-out probabilities of more than two classes are, in an order or in none."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.modelling import problems
from voxelome.modelling.calibration_curve import calibration_groups
from voxelome.modelling.fold_bootstrap import LEVEL, widened
from voxelome.modelling.metrics import auc_interval, cross_validated_auc, finite, wilson
from voxelome.modelling.ordinal import (
    cross_validated_multiclass_auc,
    cross_validated_ordinal,
    expected_class,
    quadratic_kappa,
)
from voxelome.modelling.resampling import Estimate
from voxelome.modelling.scoring import Scored, mean_of

_RESAMPLES = 1000
HAND_TILL_METHOD = (
    "Hand and Till's M: for each two classes the share of pairs of participants, held out in one fold, that"
    " the fold's model orders rightly, then the mean over the pairs of classes. 95% interval: bootstrap over"
    " participants"
)
ORDINAL_METHOD = (
    "Share of pairs of participants of different classes, held out in one fold, of whom the one of the higher"
    " class has the higher expected class by the fold's model, over all repeats. 95% interval: jackknife over"
    " participants"
)


def separation(
    kind: str, scored: list[Scored], resamples: int = 0, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Return Hand and Till's AUC, or the concordance with the order, over pairs held out together.

    Parameters
    ----------
    kind : str
        ``multiclass`` or ``ordinal``.
    scored : list of Scored
        Every fold of every repeat.
    resamples, seed : int
        Of the bootstrap; without draws the AUC has no interval.
    level : float
        Confidence.
    """
    if kind == problems.ORDINAL:
        return cross_validated_ordinal(
            [(fold.who, fold.target, expected_class(fold.prediction)) for fold in scored], level
        )
    folds = [(fold.who, fold.target, fold.prediction) for fold in scored]
    return cross_validated_multiclass_auc(folds, resamples, level, seed)


def has_pairs_of_classes(scored: list[Scored], kind: str) -> bool:
    """Return whether participants of any two classes (ordered: of some two) were held out together."""
    classes = scored[0].prediction.shape[1]
    seen = [set(fold.target.tolist()) for fold in scored]
    if kind == problems.ORDINAL:
        return any(len(each) > 1 for each in seen)
    return all(any({one, other} <= each for each in seen) for one, other in combinations(range(classes), 2))


def judge_classes(
    kind: str,
    scored: list[Scored],
    target: NDArray[np.intp],
    classes: tuple[str, ...],
    seed: int,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Return the metrics of held-out probabilities of several classes.

    Parameters
    ----------
    kind : str
        ``multiclass`` or ``ordinal``.
    scored : list of Scored
        Every fold of every repeat.
    target : ndarray of int, shape (n_participants,)
        Number of the class.
    classes : tuple of str
        Their names.
    seed : int
        Of the bootstrap.
    level : float
        As of :func:`voxelome.modelling.judge.judge`.
    """
    found = separation(kind, scored, _RESAMPLES, seed, level)
    name, method = ("hand_till", HAND_TILL_METHOD)
    if kind == problems.ORDINAL:
        name, method = "ordinal_concordance", ORDINAL_METHOD
    who, truth, probability, shares = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (fold.who, fold.target, fold.prediction, np.broadcast_to(fold.naive, fold.prediction.shape))
                for fold in scored
            ),
            strict=True,
        )
    )
    decided = probability.argmax(axis=1)
    seen, place = np.unique(who, return_inverse=True)
    mean = mean_of(place, probability)
    chance = "includes" if found.low <= 0.5 <= found.high else "does not include"
    shown = {
        "n_of_class": {label: int(np.sum(target == number)) for number, label in enumerate(classes)},
        name: found.value,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_level": LEVEL,
        f"{name}_method": method + widened(level),
        "accuracy": float(np.mean(decided == truth)),
        "accuracy_of_largest_class": float(np.mean(shares.argmax(axis=1) == truth)),
        "balanced_accuracy": float(
            np.mean([np.mean(decided[truth == number] == number) for number in range(len(classes))])
        ),
        "log_loss": problems.loss(kind, truth, probability) / len(truth),
        "log_loss_of_shares": problems.loss(kind, truth, shares) / len(truth),
        "brier": _brier(truth, probability),
        "brier_of_shares": _brier(truth, shares),
        "confusion": _confusion(truth, decided, len(classes)),
        "one_against_rest": [
            {"class": label, **_one_class(scored, target, target[seen], mean, number, level)}
            for number, label in enumerate(classes)
        ],
        "chance": f"The interval {chance} 0.5, which is chance.",
    }
    if kind == problems.ORDINAL:
        kappa = quadratic_kappa(who, truth, decided, _RESAMPLES, level, seed)
        shown |= {
            "kappa": finite(kappa.value),
            "kappa_low": finite(kappa.low),
            "kappa_high": finite(kappa.high),
        }
        shown["mean_class_error"] = float(np.mean(np.abs(decided - truth)))
    return shown


def _brier(truth: NDArray[np.intp], probability: NDArray[np.float64]) -> float:
    """Return the sum of squared errors over the classes, averaged over cases (Brier 1950)."""
    known = np.eye(probability.shape[1])[truth]
    return float(np.mean(np.sum((probability - known) ** 2, axis=1)))


def _confusion(truth: NDArray[np.intp], decided: NDArray[np.intp], classes: int) -> list[list[float]]:
    """Return the share of each class (row) that was decided to be of each (column)."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, decided), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return [[float(value) for value in row] for row in shares]


def _one_class(
    scored: list[Scored],
    target: NDArray[np.intp],
    seen: NDArray[np.intp],
    mean: NDArray[np.float64],
    number: int,
    level: float,
) -> dict[str, Any]:
    """Return how well a class is told from the others: AUC, sensitivity, and calibration."""
    value = cross_validated_auc([(fold.target == number, fold.prediction[:, number]) for fold in scored])
    count = int(np.sum(target == number))
    low, high = auc_interval(value, count, len(target) - count, level)
    own = seen == number
    found = wilson(int(np.sum(mean[own].argmax(axis=1) == number)), int(np.sum(own)), level)
    groups = calibration_groups(own, mean[:, number], groups=min(10, max(2, len(seen) // 20)))
    return {
        "auc": value,
        "auc_low": low,
        "auc_high": high,
        "sensitivity": found.value,
        "sensitivity_low": found.low,
        "sensitivity_high": found.high,
        "calibration": {
            name: [finite(value) for value in getattr(groups, name)]
            for name in ("predicted", "observed", "low", "high")
        },
    }
