"""Scores of classifiers against scikit-learn, statsmodels and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc
from voxelome.modelling.scores import (
    average_precision,
    average_precision_interval,
    hand_till,
    sensitivity_and_specificity,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (3, 7), (80, 81), (1, 2000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_intervals_are_those_of_statsmodels(hits: int, n: int, level: float) -> None:
    found = wilson(hits, n, level)
    expected = proportion_confint(hits, n, alpha=1 - level, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert found.value == hits / n


def test_proportions_of_nothing_are_not_known_and_more_hits_than_trials_refused() -> None:
    assert np.isnan([wilson(0, 0).value, wilson(0, 0).low, wilson(0, 0).high]).all()
    with pytest.raises(DataError, match="4 successes in 3 trials"):
        wilson(4, 3)


def test_sensitivity_and_specificity_count_their_own_class() -> None:
    positive = np.repeat([True, False], [10, 4])
    decided = np.array([True] * 8 + [False] * 2 + [True] + [False] * 3)
    sensitivity, specificity = sensitivity_and_specificity(positive, decided)
    assert sensitivity == wilson(8, 10)
    assert specificity == wilson(3, 4)
    assert np.isnan(sensitivity_and_specificity(positive[:10], decided[:10])[1].value)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_average_precision_is_that_of_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    positive = rng.random(80) < 0.2
    score = np.round(rng.normal(size=80) + positive, decimals)
    expected = average_precision_score(positive, score)
    assert average_precision(positive, score) == pytest.approx(expected, abs=1e-12)


def test_a_constant_score_has_the_prevalence_as_average_precision() -> None:
    assert average_precision(np.arange(10) < 3, np.zeros(10)) == pytest.approx(0.3)
    assert np.isnan(average_precision(np.zeros(4, dtype=bool), np.arange(4.0)))


def test_the_interval_of_the_average_precision_draws_participants() -> None:
    rng = np.random.default_rng(1)
    positive = np.arange(60) < 15
    score = rng.normal(size=60) + positive
    found = average_precision_interval(np.arange(60), positive, score, resamples=400)
    assert found.value == average_precision(positive, score)
    assert found.low < found.value < found.high
    visits = average_precision_interval(
        np.tile(np.arange(60), 2), np.tile(positive, 2), np.tile(score, 2), 400
    )
    assert (visits.low, visits.high) == pytest.approx((found.low, found.high))
    with pytest.raises(DataError, match="0 positive"):
        average_precision_interval(np.arange(3), np.zeros(3, dtype=bool), np.arange(3.0))


def test_the_interval_of_the_average_precision_mostly_holds_the_true_one() -> None:
    rng = np.random.default_rng(2)
    many = np.arange(200_000) < 60_000
    truth = average_precision(many, rng.normal(size=200_000) + many)
    positive = np.arange(100) < 30
    held = 0
    for run in range(120):
        found = average_precision_interval(
            np.arange(100), positive, rng.normal(size=100) + positive, resamples=200, seed=run
        )
        held += found.low <= truth <= found.high
    assert held / 120 > 0.87


@pytest.mark.parametrize("classes", [3, 5])
def test_the_auc_of_several_classes_is_that_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    truth = np.append(np.arange(classes), rng.integers(classes, size=70))
    weight = np.round(np.exp(rng.normal(size=(len(truth), classes)) + np.eye(classes)[truth]), 1) + 0.1
    probability = weight / weight.sum(axis=1, keepdims=True)
    expected = roc_auc_score(truth, probability, multi_class="ovo")
    assert hand_till(truth, probability) == pytest.approx(expected, abs=1e-12)


def test_the_auc_of_several_classes_is_the_usual_one_for_two() -> None:
    rng = np.random.default_rng(2)
    truth, score = np.arange(50) % 2, rng.integers(64, size=50) / 64
    found = hand_till(truth, np.stack([1 - score, score], axis=1))
    assert found == pytest.approx(auc(truth == 1, score), abs=1e-12)


def test_a_class_without_cases_has_no_auc() -> None:
    with pytest.raises(DataError, match=r"classes \[0, 1\] in 3 columns"):
        hand_till(np.array([0, 1, 1]), np.full((3, 3), 1 / 3))
    assert hand_till(np.array([0, 1, 2]), np.full((3, 3), 1 / 3)) == 0.5
