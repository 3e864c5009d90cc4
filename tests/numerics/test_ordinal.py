"""Ordered and several classes against scikit-learn, brute force and simulation."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc, auc_interval, cross_validated_auc
from voxelome.modelling.ordinal import (
    OrdinalClassifier,
    cross_validated_multiclass_auc,
    cross_validated_ordinal,
    expected_class,
    falling,
    ordinal_concordance,
    quadratic_kappa,
)
from voxelome.modelling.resampling import Estimate


def hand_till(target: np.ndarray, probability: np.ndarray) -> float:
    """Give the AUC of several classes by scikit-learn, which asks for probabilities that sum to 1."""
    return float(
        roc_auc_score(target, probability / probability.sum(axis=1, keepdims=True), multi_class="ovo")
    )


def ordered(seed: int, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Return features, and a class of four that the first feature pushes up."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3))
    return values, np.digitize(values[:, 0] + rng.logistic(scale=0.5, size=n), [-1, 0, 1])


def folds_of(seed: int, n: int = 45, repeats: int = 3, noise: float = 1.0) -> list[tuple]:
    """Return three folds for each repeat with classes of unequal size, and probabilities with ties."""
    rng = np.random.default_rng(seed)
    truth = np.array([0, 1, 2, 0, 1, 0])[np.arange(n) % 6]
    folds = []
    for _ in range(repeats):
        for who in np.array_split(rng.permutation(n), 3):
            weight = np.exp(np.round(np.eye(3)[truth[who]] + noise * rng.normal(size=(len(who), 3)), 1))
            folds.append((who, truth[who], weight / weight.sum(axis=1, keepdims=True)))
    return folds


@parametrize_with_checks([OrdinalClassifier(LogisticRegression())])
def test_the_ordinal_classifier_is_an_estimator_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 7)), elements=st.floats(0, 1)))
def test_falling_rows_are_those_of_an_isotonic_regression(values: np.ndarray) -> None:
    found = falling(values)
    places = np.arange(values.shape[1])
    expected = [IsotonicRegression(increasing=False).fit_transform(places, row) for row in values]
    assert found == pytest.approx(np.array(expected), abs=1e-12)
    assert (np.diff(found, axis=1) <= 0).all()
    assert falling(found) == pytest.approx(found, abs=1e-12)


def test_probabilities_that_cross_are_averaged_and_sum_to_one() -> None:
    values, classes = ordered(0)
    # Few trees: coarse probabilities, and those of the separate models often cross.
    model = OrdinalClassifier(RandomForestClassifier(5, random_state=0)).fit(values, classes)
    new = ordered(1)[0]
    above = np.stack([each.predict_proba(new)[:, 1] for each in model.estimators_], axis=1)
    assert (np.diff(above, axis=1) > 0).any()
    probability = model.predict_proba(new)
    assert probability.shape == (150, 4)
    assert (probability >= 0).all()
    assert probability.sum(axis=1) == pytest.approx(np.ones(150), abs=1e-12)
    # Averaging keeps the mean number of the class that the separate models tell; clipping would not.
    assert expected_class(probability) == pytest.approx(above.sum(axis=1), abs=1e-12)


def test_two_classes_are_those_of_the_model_itself() -> None:
    values, classes = ordered(0)
    labels = np.where(classes > 1, "yes", "no")
    found = OrdinalClassifier(LogisticRegression()).fit(values, labels)
    expected = LogisticRegression().fit(values, labels)
    assert found.predict_proba(values) == pytest.approx(expected.predict_proba(values), abs=1e-9)
    np.testing.assert_array_equal(found.predict(values), expected.predict(values))
    assert found.coef_ == pytest.approx(expected.coef_)


def test_probabilities_of_proportional_odds_are_found_again() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(20_000, 1))
    cuts = np.array([-1.0, 0.5, 2.0])
    classes = np.digitize(1.5 * values[:, 0] + rng.logistic(size=20_000), cuts)
    new = np.linspace(-2, 2, 9)[:, None]
    above = 1 / (1 + np.exp(cuts - 1.5 * new))
    expected = -np.diff(above, axis=1, prepend=1, append=0)
    found = OrdinalClassifier(LogisticRegression(C=1e6)).fit(values, classes).predict_proba(new)
    assert np.abs(found - expected).max() < 0.02


def test_columns_keep_their_names_and_classes_are_in_the_order_of_their_labels() -> None:
    values, classes = ordered(2)
    table = pd.DataFrame(values, columns=["a", "b", "c"])
    model = OrdinalClassifier(LogisticRegression()).fit(table, np.array(list("ABCD"))[classes])
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.classes_.tolist() == list("ABCD")
    assert model.estimators_[0].feature_names_in_.tolist() == ["a", "b", "c"]


def test_a_model_that_takes_no_weights_is_named() -> None:
    values, classes = ordered(2)
    with pytest.raises(ValueError, match="KNeighborsClassifier takes no weights"):
        OrdinalClassifier(KNeighborsClassifier()).fit(values, classes, np.ones(150))


def concordance_by_loops(folds: list[tuple]) -> float:
    right = total = 0.0
    for _, target, score in folds:
        for i, j in combinations(range(len(target)), 2):
            if target[i] != target[j]:
                total += 1
                product = (target[i] - target[j]) * (score[i] - score[j])
                right += 0.5 if product == 0 else float(product > 0)
    return right / total


def test_the_concordance_is_the_share_of_pairs_of_different_classes_in_order() -> None:
    folds = [(who, target, np.round(expected_class(found), 1)) for who, target, found in folds_of(0)]
    assert cross_validated_ordinal(folds).value == pytest.approx(concordance_by_loops(folds), abs=1e-12)
    _, target, score = folds[0]
    expected = concordance_by_loops(folds[:1])
    assert ordinal_concordance(target, score) == pytest.approx(expected, abs=1e-12)
    assert ordinal_concordance(target, -score) == pytest.approx(1 - expected, abs=1e-12)


def test_the_concordance_of_two_classes_is_the_auc() -> None:
    rng = np.random.default_rng(1)
    folds = [
        (np.arange(30), np.arange(30) % 2, np.round(rng.normal(size=30) + np.arange(30) % 2, 1))
        for _ in range(4)
    ]
    expected = cross_validated_auc([(target == 1, score) for _, target, score in folds])
    assert cross_validated_ordinal(folds).value == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_the_concordance_does_not_depend_on_which_end_is_called_high() -> None:
    truth = np.repeat([0, 1, 2], [3, 20, 30])
    score = truth + 0.01 * np.arange(53)
    found = cross_validated_ordinal([(np.arange(53), truth, score)])
    turned = cross_validated_ordinal([(np.arange(53), 2 - truth, -score)])
    assert (found.value, found.low, found.high) == (turned.value, turned.low, turned.high)
    assert found.value == found.high == 1
    # Two classes, of one only three cases: no more can be known than of three.
    assert cross_validated_ordinal([(np.arange(53), truth > 0, score)]).low < 0.5


def test_the_interval_of_the_concordance_mostly_holds_the_true_one() -> None:
    rng = np.random.default_rng(4)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        score = rng.normal(size=n)
        return np.digitize(score + rng.normal(size=n), [-0.5, 1.0]), score

    truth = ordinal_concordance(*drawn(3000))
    runs = [cross_validated_ordinal([(np.arange(50), *drawn(50))]) for _ in range(150)]
    held = sum(found.low <= truth <= found.high for found in runs)
    assert held / 150 > 0.9
    width = np.mean([found.high - found.low for found in runs])
    assert width < 0.3


def test_one_class_alone_has_no_concordance() -> None:
    with pytest.raises(DataError, match="different classes"):
        ordinal_concordance(np.zeros(5, dtype=int), np.arange(5.0))
    with pytest.raises(DataError, match="not finite"):
        ordinal_concordance(np.arange(3), np.array([0, 1, np.nan]))


def test_the_quadratic_kappa_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    target = rng.integers(5, size=80)
    decided = np.clip(target + rng.integers(-1, 3, size=80), 0, 4)
    found = quadratic_kappa(np.arange(80), target, decided, resamples=300)
    expected = cohen_kappa_score(target, decided, weights="quadratic")
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high
    twice = quadratic_kappa(np.tile(np.arange(80), 2), np.tile(target, 2), np.tile(decided, 2), 300)
    assert (twice.value, twice.low, twice.high) == pytest.approx((found.value, found.low, found.high))
    assert np.isnan(quadratic_kappa(np.arange(3), np.ones(3, int), np.ones(3, int), 10).value)


def test_one_fold_has_the_auc_of_hand_and_till() -> None:
    who, target, probability = folds_of(1, n=60, repeats=1)[0]
    found = cross_validated_multiclass_auc([(who, target, probability)], resamples=10)
    assert found.value == pytest.approx(hand_till(target, probability), abs=1e-12)


def pooled_by_loops(folds: list[tuple]) -> float:
    values = []
    for one, other in combinations(range(3), 2):
        right = total = 0.0
        for _, target, probability in folds:
            for i in np.flatnonzero(target == one):
                for j in np.flatnonzero(target == other):
                    total += 1
                    gains = probability[i] - probability[j]
                    for better in (gains[one], -gains[other]):
                        right += 0.25 if better == 0 else 0.5 * float(better > 0)
        values.append(right / total)
    return float(np.mean(values))


def test_the_auc_over_folds_counts_pairs_held_out_together() -> None:
    folds = folds_of(2)
    found = cross_validated_multiclass_auc(folds, resamples=200)
    assert found.value == pytest.approx(pooled_by_loops(folds), abs=1e-12)
    assert found.low < found.value < found.high


def test_the_draws_take_participants_with_all_their_rows() -> None:
    folds = folds_of(3, repeats=1)
    once = cross_validated_multiclass_auc(folds, resamples=300)
    again = cross_validated_multiclass_auc(folds * 4, resamples=300)
    assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high))


def test_the_interval_of_two_classes_is_near_that_of_newcombe() -> None:
    rng = np.random.default_rng(6)
    truth = np.arange(120) % 2
    score = 1 / (1 + np.exp(-rng.normal(size=120) - truth))
    found = cross_validated_multiclass_auc([(np.arange(120), truth, np.stack([1 - score, score], axis=1))])
    assert found.value == pytest.approx(auc(truth == 1, score), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(auc_interval(found.value, 60, 60), abs=0.03)


def test_the_interval_of_the_auc_of_three_classes_mostly_holds_the_true_one() -> None:
    def drawn(rng: np.random.Generator, each: int) -> tuple[np.ndarray, np.ndarray]:
        target = np.repeat([0, 1, 2], each)
        weight = np.exp(np.eye(3)[target] + rng.normal(size=(3 * each, 3)))
        return target, weight / weight.sum(axis=1, keepdims=True)

    truth = hand_till(*drawn(np.random.default_rng(7), 20_000))

    def interval(run: int) -> Estimate:
        target, found = drawn(np.random.default_rng(run), 25)
        return cross_validated_multiclass_auc([(np.arange(75), target, found)], 200, seed=run)

    held = [found.low <= truth <= found.high for found in map(interval, range(150))]
    assert np.mean(held) > 0.88


def test_classes_that_are_told_apart_without_error_do_not_have_an_interval_of_a_point() -> None:
    truth = np.repeat([0, 1, 2], 6)
    found = cross_validated_multiclass_auc([(np.arange(18), truth, np.eye(3)[truth])], resamples=20)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(auc_interval(1.0, 6, 6)[0])


def test_two_classes_that_never_meet_are_named() -> None:
    flat = np.full((4, 3), 1 / 3)
    folds = [(np.arange(4), np.array([0, 0, 1, 1]), flat), (np.array([5]), np.array([2]), flat[:1])]
    with pytest.raises(DataError, match="class 0 was held out together with one of class 2"):
        cross_validated_multiclass_auc(folds)
    with pytest.raises(DataError, match="no case of class 2 was held out"):
        cross_validated_multiclass_auc(folds[:1])


def test_a_participant_who_is_in_a_fold_twice_is_refused() -> None:
    fold = (np.array([0, 0, 1]), np.array([0, 0, 1]), np.full((3, 2), 0.5))
    with pytest.raises(DataError, match="in a fold twice"):
        cross_validated_multiclass_auc([fold])
    with pytest.raises(DataError, match="2 participants in 3 rows"):
        cross_validated_ordinal([(fold[0], fold[1], fold[2][:, 0])])
