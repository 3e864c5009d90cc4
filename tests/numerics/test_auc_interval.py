"""The AUC, its interval and the ROC curve against definitions, published behaviour and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc, auc_interval, cross_validated_auc, mean_roc, wilson


def binormal(
    rng: np.random.Generator, n_positive: int, n_negative: int, theta: float
) -> tuple[np.ndarray, np.ndarray]:
    positive = np.r_[np.ones(n_positive, dtype=bool), np.zeros(n_negative, dtype=bool)]
    return positive, rng.normal(size=len(positive)) + positive * np.sqrt(2) * norm.ppf(theta)


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(40) < 0.3
    score = np.round(rng.normal(size=40) + positive, 1)
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auc(positive, score) == pytest.approx(np.mean(pairs))
    assert auc(positive, score) == pytest.approx(roc_auc_score(positive, score))


@pytest.mark.parametrize(("value", "m", "n"), [(0.95, 8, 8), (0.7, 30, 50), (0.5, 12, 9), (0.02, 20, 20)])
def test_the_bounds_are_where_the_value_lies_on_the_edge_of_the_score_interval(
    value: float, m: int, n: int
) -> None:
    middle = (m + n) / 2 - 1
    for theta in auc_interval(value, m, n):
        variance = (
            theta
            * (1 - theta)
            * (1 + middle * (1 - theta) / (2 - theta) + middle * theta / (1 + theta))
            / (m * n)
        )
        assert abs(value - theta) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)


def test_the_interval_of_a_perfect_separation_in_few_cases_is_not_a_point() -> None:
    low, high = auc_interval(1.0, 8, 8)
    assert high == 1.0
    assert 0.6 < low < 0.85
    assert auc_interval(0.0, 8, 8) == pytest.approx((1 - high, 1 - low))
    assert auc_interval(1.0, 80, 80)[0] > low


def test_the_interval_of_a_strong_effect_in_eight_against_eight_lies_above_chance() -> None:
    low, high = auc_interval(0.95, 8, 8)
    assert low > 0.5
    assert low < 0.95 < high <= 1.0


def test_the_interval_is_the_mirror_image_where_the_classes_change_places() -> None:
    low, high = auc_interval(0.8, 11, 17)
    assert auc_interval(0.2, 11, 17) == pytest.approx((1 - high, 1 - low))
    assert auc_interval(0.8, 17, 11) == pytest.approx((low, high))


@pytest.mark.parametrize(("theta", "m", "n"), [(0.6, 8, 8), (0.8, 10, 20), (0.95, 8, 8), (0.9, 30, 30)])
def test_the_interval_covers_the_true_auc_of_binormal_data_about_nineteen_times_in_twenty(
    theta: float, m: int, n: int
) -> None:
    rng = np.random.default_rng(7)
    runs = 1500
    covered = 0
    for _ in range(runs):
        low, high = auc_interval(auc(*binormal(rng, m, n, theta)), m, n)
        covered += low <= theta <= high
    # Three standard errors of the simulation are 0.017; the method errs on the safe side near 1.
    assert 0.93 < covered / runs < 0.995


def test_pairs_scored_by_different_models_are_not_compared() -> None:
    # Each fold is ranked perfectly, with an offset that pooling would take for error.
    truth = np.array([False, True])
    folds = [(truth, np.array([0.1, 0.2])), (truth, np.array([0.8, 0.9]))]
    assert cross_validated_auc(folds) == 1.0
    pooled = auc(np.tile(truth, 2), np.concatenate([score for _, score in folds]))
    assert pooled == 0.75


def test_a_prediction_of_the_training_prevalence_is_not_below_chance() -> None:
    # Leave two out: the prevalence in training orders pooled cases wrongly; within a fold all tie.
    truth = np.arange(20) % 2 == 0
    folds = []
    for fold in np.array_split(np.random.default_rng(0).permutation(20), 5):
        rest = np.setdiff1d(np.arange(20), fold)
        folds.append((truth[fold], np.full(len(fold), truth[rest].mean())))
    assert cross_validated_auc(folds) == 0.5
    assert auc(*(np.concatenate(column) for column in zip(*folds, strict=True))) < 0.5


def test_the_area_under_the_mean_curve_is_the_cross_validated_auc() -> None:
    rng = np.random.default_rng(3)
    folds = []
    for size in (6, 7, 11, 11, 5):
        positive = rng.permutation(np.arange(size) % 3 == 0)
        folds.append((positive, np.round(rng.normal(size=size) + positive, 1)))
    folds.append((np.ones(4, dtype=bool), rng.normal(size=4)))
    fpr, tpr = mean_roc(folds)
    assert np.trapezoid(tpr, fpr) == pytest.approx(cross_validated_auc(folds), abs=1e-12)
    assert (fpr[0], tpr[0]) == (0.0, 0.0)
    assert (fpr[-1], tpr[-1]) == (1.0, 1.0)
    assert np.all(np.diff(fpr) >= 0)
    assert np.all(np.diff(tpr) >= -1e-12)


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
