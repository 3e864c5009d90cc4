"""Ordered classes: a classifier that keeps their order, and how good predictions of several classes are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
    validate_data,
)

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc_interval
from voxelome.modelling.resampling import UNKNOWN, Estimate, bootstrap, by_participant, require_finite
from voxelome.modelling.survival_metrics import cross_validated_concordance
from voxelome.modelling.survival_outcome import survival_outcome

# Participants held out by one model, the number of their class from 0, and what the model says of them.
Fold = tuple[NDArray[Any], NDArray[np.intp], NDArray[np.float64]]


def read_classes(y: Any) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the classes in order, and the number of that of each case, shape (n,).

    Raises
    ------
    ValueError
        `y` does not hold classes, or only one.
    """
    y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds {len(classes)} class in {len(y)} sample(s), but at least 2 are needed")
    return classes, np.asarray(codes, dtype=np.intp)


class OrdinalClassifier(ClassifierMixin, BaseEstimator):
    """Classify into ordered classes by a model of "above class k" for each class k but the last.

    The probabilities of being above the classes must not rise with k. Where those of a row do, they become
    the nearest ones that do not (least squares; isotonic regression by pooling adjacent violators).

    Parameters
    ----------
    estimator : estimator
        A classifier of two classes with `predict_proba`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Classes, ascending: the order of the labels is that of the classes.
    estimators_ : list of estimator, of length n_classes - 1
        Fitted; the k-th tells whether a case is above class k.
    feature_names_in_ : ndarray of str
        Columns, where it was fitted on a DataFrame.

    References
    ----------
    Frank and Hall (2001), ECML, Lecture Notes in Computer Science 2167:145-156.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> OrdinalClassifier:
        """Fit to `X` (n_samples, n_features) and the classes `y`; weights go to the models.

        Raises
        ------
        ValueError
            There are weights, which the model does not take.
        """
        X, y = validate_data(self, X, y, skip_check_array=True)
        self.classes_, codes = read_classes(y)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if weights and not has_fit_parameter(self.estimator, "sample_weight"):
            raise ValueError(f"{type(self.estimator).__name__} takes no weights of cases")
        above = range(len(self.classes_) - 1)
        self.estimators_ = [clone(self.estimator).fit(X, codes > k, **weights) for k in above]
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n_samples, n_classes)."""
        check_is_fitted(self)
        above = falling(np.stack([model.predict_proba(X)[:, 1] for model in self.estimators_], axis=1))
        return np.asarray(-np.diff(above, axis=1, prepend=1.0, append=0.0), dtype=np.float64)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, shape (n_samples,); of equals the lowest."""
        most = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[most])

    @property
    def coef_(self) -> Any:
        """Coefficients averaged over the models, shape (1, n_features), where these are linear."""
        return np.mean([model.coef_ for model in self.estimators_], axis=0)

    @property
    def feature_importances_(self) -> Any:
        """Importances averaged over the models, shape (n_features,), where these are trees."""
        return np.mean([model.feature_importances_ for model in self.estimators_], axis=0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def falling(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows that never rise and are nearest to the given ones (least squares), shape (n, m).

    References
    ----------
    Robertson, Wright and Dykstra (1988), Order Restricted Statistical Inference, theorem 1.4.4 (the min-max
    formula, which works on all rows at once and is exactly monotone whatever the rounding).
    """
    m = values.shape[1]
    mean = {(a, b): values[:, a : b + 1].mean(axis=1) for a in range(m) for b in range(a, m)}
    return np.stack(
        [
            np.min([np.max([mean[a, b] for b in range(k, m)], axis=0) for a in range(k + 1)], axis=0)
            for k in range(m)
        ],
        axis=1,
    )


def expected_class(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean number of the class under the probabilities (n, n_classes): a score, shape (n,)."""
    return np.asarray(probability @ np.arange(probability.shape[1]), dtype=np.float64)


def ordinal_concordance(target: NDArray[np.intp], score: NDArray[np.float64]) -> float:
    """Return the share of pairs of different classes that the score orders rightly; a tie counts half.

    For two classes it is the AUC.

    Parameters
    ----------
    target : ndarray of int, shape (n,)
        Number of the class, from 0.
    score : ndarray, shape (n,)
        Larger means a higher class; see :func:`expected_class`.

    Raises
    ------
    DataError
        There is one class alone, or scores are not finite.
    """
    return cross_validated_ordinal([(np.arange(len(target)), target, score)]).value


def cross_validated_ordinal(folds: Sequence[Fold], level: float = 0.95) -> Estimate:
    """Return the concordance with ordered classes over pairs that were held out together.

    That is Harrell's C of an event that all cases have, the earlier the higher their class; the interval is
    that of :func:`voxelome.modelling.survival_metrics.cross_validated_concordance`. There the cases that
    lead a pair count. Here either end of the order may lead: the end that gives the wider interval does.

    Parameters
    ----------
    folds : sequence of (who, target, score)
        Participants held out, shape (n,), the numbers of their classes, and their scores, in folds of all
        repeats.
    level : float
        Confidence.

    Raises
    ------
    DataError
        No two cases of different classes were held out together, a participant is in a fold twice, or
        scores are not finite.
    """
    for _, _, score in folds:
        require_finite(score, "scores")
    if not any(len(np.unique(target)) > 1 for _, target, _ in folds):
        raise DataError("no two cases of different classes were held out together", "make fewer folds")
    highest = max(int(target.max(initial=0)) for _, target, _ in folds)
    down = [(who, _events(highest - target), score) for who, target, score in folds]
    up = [(who, _events(target), -score) for who, target, score in folds]
    found, turned = (cross_validated_concordance(each, level) for each in (down, up))
    low, high = np.minimum(found.low, turned.low), np.maximum(found.high, turned.high)
    return Estimate(found.value, float(low), float(high), found.standard_error)


def _events(time: NDArray[np.intp]) -> NDArray[Any]:
    """Return a survival outcome in which all have the event."""
    return survival_outcome(np.ones(len(time), dtype=bool), time)


def quadratic_kappa(
    who: NDArray[Any],
    target: NDArray[np.intp],
    decided: NDArray[np.intp],
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return the weighted kappa of classes with squared distances, and its interval over participants.

    It is 1 less the squared distance between classes and decisions, relative to that of decisions dealt out
    at random. NaN where all classes and decisions are the same.

    Parameters
    ----------
    who, target, decided : ndarray, shape (rows,)
        Participant, number of the class, and that of the class that was decided on. Participants are drawn
        with all of their rows.
    resamples, level, seed
        As in :func:`voxelome.modelling.resampling.bootstrap`.

    References
    ----------
    Cohen (1968), Psychological Bulletin 70:213-220.
    """
    target, decided = (np.asarray(classes, dtype=np.intp) for classes in (target, decided))
    people = by_participant(who, target)
    n = len(people.truth)

    def kappa(drawn: NDArray[np.intp]) -> float:
        weight = np.bincount(drawn, minlength=n)[people.of_row]
        mean = np.average([target, decided], axis=1, weights=weight)
        spread = np.average([(target - mean[0]) ** 2, (decided - mean[1]) ** 2], axis=1, weights=weight)
        by_chance = spread.sum() + (mean[0] - mean[1]) ** 2
        distance = np.average((target - decided) ** 2, weights=weight)
        return float(1 - distance / by_chance) if by_chance > 0 else float("nan")

    return bootstrap(kappa, people.truth, resamples, level, seed)


def cross_validated_multiclass_auc(
    folds: Sequence[Fold], resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Return Hand and Till's AUC of several classes over pairs of cases that were held out together.

    For each two classes it is the share of pairs in order, over all folds, by the probabilities of either;
    then the mean over the pairs of classes. The
    interval is a percentile bootstrap that draws as many participants of each class as there are, with all
    of their rows. Where all pairs or none are in order all draws are the same: it is then the mean of
    Newcombe's intervals of the pairs of classes.

    Parameters
    ----------
    folds : sequence of (who, target, probability)
        Participants held out, shape (n,), the numbers of their classes, and the probability of each class,
        shape (n, n_classes), in folds of all repeats.
    resamples, level, seed
        Draws, confidence, seed of the draws.

    Raises
    ------
    DataError
        Of two classes no cases were held out together, a participant has two classes or is in a fold twice,
        or probabilities are not finite.
    """
    for who, _, probability in folds:
        require_finite(probability, "probabilities")
        if len(np.unique(who)) < len(who):
            raise DataError("a participant is in a fold twice", "average the probabilities of their visits")
    people = by_participant(*(np.concatenate([fold[part] for fold in folds]) for part in (0, 1)))
    ends = np.cumsum([len(fold[0]) for fold in folds])[:-1]
    rows = [(who, fold[2]) for who, fold in zip(np.split(people.of_row, ends), folds, strict=True)]
    members = [np.flatnonzero(people.truth == k) for k in range(folds[0][2].shape[1])]
    drawn = _draws([len(own) for own in members], resamples, seed)
    pairs = list(combinations(range(len(members)), 2))
    found = np.mean([_pair_of_classes(rows, members, drawn, *pair) for pair in pairs], axis=0)
    value, draws = float(found[0]), found[1:][np.isfinite(found[1:])]
    if value in (0.0, 1.0):
        bounds = [auc_interval(value, len(members[one]), len(members[other]), level) for one, other in pairs]
        low, high = np.mean(bounds, axis=0)
    elif len(draws) == 0:
        low, high = UNKNOWN.low, UNKNOWN.high
    else:
        low, high = np.percentile(draws, [50 * (1 - level), 50 * (1 + level)])
    return Estimate(value, float(low), float(high))


def _draws(sizes: Sequence[int], resamples: int, seed: int) -> list[NDArray[np.float64]]:
    """Return how often each member of each class is drawn, shapes (1 + resamples, size); at first, once."""
    if min(sizes) == 0:
        raise DataError(f"no case of class {np.argmin(sizes)} was held out", "put classes together")
    rng = np.random.default_rng(seed)
    return [
        np.vstack([np.ones(size), rng.multinomial(size, np.full(size, 1 / size), resamples)])
        for size in sizes
    ]


def _pair_of_classes(
    rows: Sequence[tuple[NDArray[np.intp], NDArray[np.float64]]],
    members: Sequence[NDArray[np.intp]],
    drawn: Sequence[NDArray[np.float64]],
    one: int,
    other: int,
) -> NDArray[np.float64]:
    """Return the share of pairs of two classes in order in each draw, shape (draws,); NaN without a pair."""
    shape = (len(members[one]), len(members[other]))
    right, together = np.zeros(shape), np.zeros(shape)
    for who, probability in rows:
        first, second = (np.flatnonzero(np.isin(who, members[k])) for k in (one, other))
        cells = np.ix_(
            np.searchsorted(members[one], who[first]), np.searchsorted(members[other], who[second])
        )
        # Twice the share that is won, once for the probability of each class.
        won = sum(
            1.0 + np.sign(sign * (probability[first, k][:, None] - probability[second, k]))
            for k, sign in ((one, 1), (other, -1))
        )
        right[cells] += won / 4
        together[cells] += 1
    if not together.any():
        problem = f"no case of class {one} was held out together with one of class {other}"
        raise DataError(problem, "make fewer folds, or put classes together")
    won, of = (np.sum((drawn[one] @ pairs) * drawn[other], axis=1) for pairs in (right, together))
    return np.asarray(np.divide(won, of, out=np.full(len(of), np.nan), where=of > 0), dtype=np.float64)
