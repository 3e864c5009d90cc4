"""How much better a model looks on its own training data than on others: bootstrap .632 and .632+."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc
from voxelome.modelling.resampling import (
    Participants,
    by_participant,
    draw,
    require_both_classes,
    require_finite,
)

# Gets the rows to train on (repeated as often as their participant was drawn) and the rows to predict, and
# returns the predictions of the latter. All that is learned from data belongs in it: selection, tuning.
FitPredict = Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]
# Gets outcomes and predictions, shape (participants,) each, and returns the loss of each.
Loss = Callable[[NDArray[Any], NDArray[np.float64]], NDArray[Any]]

# Chance that a participant is in a draw: 1 - 1/e, rounded as in the paper.
_IN = 0.632
# Draws that are tried for each that is wanted, where some leave no two classes to be judged.
_TRIES = 100


@dataclass(frozen=True)
class Bootstrap632:
    """A loss (or an AUC) as it appears, and as it may be expected in others.

    Attributes
    ----------
    apparent : float
        Of the model of all participants on themselves.
    out_of_bag : float
        Of models of drawn participants on those who were not drawn; pessimistic, as each has seen but 63 %.
    no_information : float
        Of predictions that have nothing to do with the outcome; 0.5 for an AUC.
    overfitting : float
        Relative overfitting rate: 0 is none, 1 is as bad as no information.
    estimate_632 : float
        .632 x out of bag + .368 x apparent; optimistic where the model fits its training data perfectly.
    estimate_632_plus : float
        The same with more weight on out of bag, the more the model overfits.
    """

    apparent: float
    out_of_bag: float
    no_information: float
    overfitting: float
    estimate_632: float
    estimate_632_plus: float


def zero_one(truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the decision at 1/2 was wrong: the loss whose mean is 1 - accuracy."""
    return np.not_equal(truth, probability > 0.5)


def bootstrap_632(
    fit_predict: FitPredict,
    who: NDArray[Any],
    truth: NDArray[Any],
    loss: Loss,
    resamples: int = 200,
    seed: int = 0,
) -> Bootstrap632:
    """Return the expected loss of a way of making models.

    A participant is drawn with all rows, and judged by the mean prediction over them. The out-of-bag loss
    is averaged over the draws without a participant, then over participants. The no-information rate is
    the mean loss over all pairs of an outcome and a prediction of the model of all participants.

    Parameters
    ----------
    fit_predict : callable
        Makes a model of rows and predicts others.
    who, truth : ndarray, shape (rows,)
        Participant and outcome. Where it is boolean, every draw has both classes.
    loss : callable
        Loss of each participant, such as :func:`zero_one`.
    resamples : int
        Draws, and models.
    seed : int
        Of the draws.

    Raises
    ------
    DataError
        A participant has several outcomes, a class has fewer than two participants, or predictions are
        not finite.

    References
    ----------
    Efron and Tibshirani (1997), Journal of the American Statistical Association 92:548-560.
    """
    people = _participants(who, truth)
    own = _predict(fit_predict, people, np.arange(len(people.truth)), np.arange(len(people.truth)))
    total, times = np.zeros(len(people.truth)), np.zeros(len(people.truth))
    for drawn, out in _draws(people, resamples, np.random.default_rng(seed), both_out=False):
        total[out] += loss(people.truth[out], _predict(fit_predict, people, drawn, out)[out])
        times[out] += 1
    nobody = np.mean([np.mean(loss(people.truth, np.full(len(own), value))) for value in own])
    seen = times > 0
    return _combined(
        float(np.mean(loss(people.truth, own))), float(np.mean(total[seen] / times[seen])), float(nobody)
    )


def bootstrap_632_auc(
    fit_predict: FitPredict,
    who: NDArray[Any],
    positive: NDArray[np.bool_],
    resamples: int = 200,
    seed: int = 0,
) -> Bootstrap632:
    """Return the expected AUC of a way of making models; the error of the paper is 1 - AUC.

    The out-of-bag AUC is that of each draw's model, averaged over draws: scores of different models are not
    compared. Draws that leave out one class alone are drawn again.

    Parameters
    ----------
    fit_predict, who, positive, resamples, seed
        As in :func:`bootstrap_632`.

    Raises
    ------
    DataError
        As there; or draws hardly ever leave out both classes.

    References
    ----------
    Sahiner, Chan and Hadjiiski (2008), Medical Physics 35:1559-1570; of AUCs.
    """
    people = _participants(who, np.asarray(positive, dtype=np.bool_))
    own = _predict(fit_predict, people, np.arange(len(people.truth)), np.arange(len(people.truth)))
    errors = [
        1 - auc(people.truth[out], _predict(fit_predict, people, drawn, out)[out])
        for drawn, out in _draws(people, resamples, np.random.default_rng(seed), both_out=True)
    ]
    found = _combined(1 - auc(people.truth, own), float(np.mean(errors)), 0.5)
    return Bootstrap632(
        apparent=1 - found.apparent,
        out_of_bag=1 - found.out_of_bag,
        no_information=0.5,
        overfitting=found.overfitting,
        estimate_632=1 - found.estimate_632,
        estimate_632_plus=1 - found.estimate_632_plus,
    )


def _participants(who: NDArray[Any], truth: NDArray[Any]) -> Participants:
    people = by_participant(who, truth)
    if people.truth.dtype == np.bool_:
        require_both_classes(people.truth, least=2)
    return people


def _draws(
    people: Participants, resamples: int, rng: np.random.Generator, both_out: bool
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the participants drawn and those left out: somebody, or somebody of each class."""
    everybody, given = np.arange(len(people.truth)), 0
    for _ in range(_TRIES * resamples):
        if given == resamples:
            return
        drawn = draw(people.truth, rng)
        out = np.setdiff1d(everybody, drawn)
        if len(np.unique(people.truth[out])) >= (2 if both_out else 1):
            given += 1
            yield drawn, out
    if given < resamples:
        raise DataError(
            f"{len(everybody)} participants are too few to draw some and judge by the others",
            "give more participants of the rarer class",
        )


def _predict(
    fit_predict: FitPredict, people: Participants, drawn: NDArray[np.intp], out: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the mean prediction of each participant in `out`, NaN for others, shape (participants,)."""
    copies = np.bincount(drawn, minlength=len(people.truth))[people.of_row]
    rows = np.flatnonzero(np.isin(people.of_row, out))
    predictions = np.full(len(people.of_row), np.nan)
    predictions[rows] = fit_predict(np.repeat(np.arange(len(copies)), copies), rows)
    require_finite(predictions[rows], "predictions")
    return people.mean(predictions)


def _combined(apparent: float, out_of_bag: float, no_information: float) -> Bootstrap632:
    """Return equations 24 and 28 to 32 of Efron and Tibshirani.

    The relative overfitting rate is kept between 0 and 1: a model may be worse than no information out of
    bag, and a loss may not get worse without information.
    """
    least = min(out_of_bag, no_information)
    overfitting = (least - apparent) / (no_information - apparent) if least > apparent else 0.0
    plain = (1 - _IN) * apparent + _IN * out_of_bag
    more = (1 - _IN) * _IN * overfitting / (1 - (1 - _IN) * overfitting)
    return Bootstrap632(
        apparent, out_of_bag, no_information, overfitting, plain, plain + (least - apparent) * more
    )
