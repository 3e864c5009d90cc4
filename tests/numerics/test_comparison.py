"""Tests of two models against pROC, definitions over pairs, and their level in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from voxelome.errors import DataError
from voxelome.modelling.comparison import (
    corrected_t_test,
    delong_covariance,
    delong_interval,
    delong_test,
)
from voxelome.modelling.metrics import auc
from voxelome.modelling.resampling import bootstrap, by_participant

POSITIVE = np.repeat([True, False], [9, 13])
FIRST = np.array([9, 7, 7, 6, 8, 4, 9, 5, 3, 1, 2, 4, 5, 2, 6, 3, 7, 1, 0, 2, 4, 3], float)
SECOND = np.array([5, 8, 6, 3, 7, 4, 8, 6, 2, 3, 2, 5, 4, 1, 6, 5, 8, 2, 4, 1, 3, 6], float)


def covariance_by_pairs(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """DeLong et al. (1988), equations 2 to 8, as they write them."""
    m, n = int(positive.sum()), int((~positive).sum())
    kernel = [
        [[1.0 if x > y else 0.5 if x == y else 0.0 for y in row[~positive]] for x in row[positive]]
        for row in scores
    ]
    table = np.array(kernel)
    theta, v10, v01 = table.mean(axis=(1, 2)), table.mean(axis=2), table.mean(axis=1)
    s10 = (v10 - theta[:, None]) @ (v10 - theta[:, None]).T / (m - 1)
    s01 = (v01 - theta[:, None]) @ (v01 - theta[:, None]).T / (n - 1)
    return s10 / m + s01 / n


def two_scores(rng: np.random.Generator, m: int, n: int, effect: float) -> tuple[np.ndarray, ...]:
    positive = np.repeat([True, False], [m, n])
    common = rng.normal(size=m + n)
    return positive, *(common + rng.normal(size=m + n) + effect * positive for _ in range(2))


def test_the_numbers_of_another_program_are_reproduced() -> None:
    # pROC 1.18.0: auc, var, cov, roc.test and ci.auc with method "delong".
    aucs, covariance = delong_covariance(POSITIVE, np.stack([FIRST, SECOND]))
    np.testing.assert_allclose(aucs, [0.871794871794872, 0.709401709401709], atol=1e-12)
    expected = [[0.00542710692283342, 0.00661647429809823], [0.00661647429809823, 0.01328469330606083]]
    np.testing.assert_allclose(covariance, expected, atol=1e-12)
    found = delong_test(POSITIVE, FIRST, SECOND)
    assert (found.first, found.second) == pytest.approx(tuple(aucs))
    assert found.statistic == pytest.approx(2.19393102292058, abs=1e-10)
    assert found.p == pytest.approx(0.0282403687333003, abs=1e-10)
    assert found.difference.low == pytest.approx(0.0173180682808328, abs=1e-10)
    assert found.difference.high == pytest.approx(0.3074682565054921, abs=1e-10)
    interval = delong_interval(POSITIVE, FIRST, level=0.9)
    assert (interval.low, interval.high) == pytest.approx((0.750620313368823, 0.992969430220920), abs=1e-10)


@pytest.mark.parametrize(("m", "n", "decimals"), [(2, 2, 2), (17, 40, 1), (60, 25, 0), (30, 30, 8)])
def test_ranks_give_the_covariance_that_pairs_give(m: int, n: int, decimals: int) -> None:
    rng = np.random.default_rng(m)
    order = rng.permutation(m + n)
    positive, *scores = (column[order] for column in two_scores(rng, m, n, 1.0))
    table = np.round(np.stack([*scores, rng.normal(size=m + n)]), decimals)
    aucs, covariance = delong_covariance(positive, table)
    np.testing.assert_allclose(covariance, covariance_by_pairs(positive, table), atol=1e-14)
    assert aucs == pytest.approx([auc(positive, row) for row in table])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert delong_test(positive, *table[:2]).difference.standard_error == pytest.approx(np.sqrt(variance))


def test_the_logit_interval_is_symmetric_in_log_odds() -> None:
    found = delong_interval(POSITIVE, FIRST, on_logit_scale=True)
    value, reach = 0.871794871794872, 1.959963984540054 * np.sqrt(0.00542710692283342)
    odds = np.log(value / (1 - value)) + np.array([-1, 1]) * reach / (value * (1 - value))
    assert (found.low, found.high) == pytest.approx(tuple(1 / (1 + np.exp(-odds))), abs=1e-10)


def test_delong_intervals_hold_the_true_auc_and_the_test_its_level() -> None:
    rng = np.random.default_rng(2)
    runs, truth = 1000, norm.cdf(1.2 / 2)
    plain = logit = found = 0
    for _ in range(runs):
        positive, first, second = two_scores(rng, 40, 60, 1.2)
        ours, theirs = delong_interval(positive, first), delong_interval(positive, first, on_logit_scale=True)
        plain += ours.low <= truth <= ours.high
        logit += theirs.low <= truth <= theirs.high
        found += delong_test(positive, first, second).p < 0.05
    # Three standard errors of the simulation are 0.021.
    assert 0.92 < plain / runs < 0.97
    assert 0.93 < logit / runs < 0.97
    assert 0.03 < found / runs < 0.075


def test_models_that_order_all_cases_alike_have_no_test() -> None:
    found = delong_test(POSITIVE, FIRST, np.exp(FIRST))
    assert found.difference.value == 0
    assert np.isnan([found.statistic, found.p, found.difference.low, found.difference.high]).all()
    opposite = delong_test(POSITIVE, POSITIVE / 3, -(POSITIVE / 3))
    assert opposite.difference.value == 1
    assert np.isnan(opposite.p)


@pytest.mark.parametrize("score", [POSITIVE * 1.0, np.zeros(22)])
def test_an_auc_that_does_not_vary_has_no_delong_interval(score: np.ndarray) -> None:
    found = delong_interval(POSITIVE, score)
    assert found.value in {1.0, 0.5}
    assert np.isnan([found.low, found.high]).all()


def test_one_case_of_a_class_or_a_missing_score_is_refused() -> None:
    with pytest.raises(DataError, match="1 positive and 21 negative"):
        delong_test(np.arange(22) == 3, FIRST, SECOND)
    with pytest.raises(DataError, match="0 positive"):
        delong_interval(np.zeros(22, dtype=bool), FIRST)
    with pytest.raises(DataError, match="not finite"):
        delong_test(POSITIVE, FIRST, np.where(SECOND == 8, np.nan, SECOND))


def test_the_corrected_t_test_is_that_of_the_published_formula() -> None:
    # Nadeau and Bengio (2003), section 5.1, with ten-fold cross-validation.
    first = np.array([0.81, 0.77, 0.90, 0.85, 0.79, 0.88, 0.83, 0.80, 0.86, 0.91])
    second = np.array([0.78, 0.79, 0.85, 0.80, 0.80, 0.84, 0.79, 0.78, 0.83, 0.86])
    change = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(change) / 10
    variance = sum((x - mean) ** 2 for x in change) / 9
    statistic = mean / np.sqrt((1 / 10 + 1 / 9) * variance)
    found = corrected_t_test(first, second, n_train=90, n_test=10)
    assert found.statistic == pytest.approx(statistic, rel=1e-12)
    assert found.p == pytest.approx(2 * (1 - t.cdf(statistic, 9)), rel=1e-9)
    reach = 2.2621571628540993 * np.sqrt((1 / 10 + 1 / 9) * variance)
    assert (found.difference.low, found.difference.high) == pytest.approx((mean - reach, mean + reach))
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))


def test_the_corrected_t_test_holds_its_level_where_folds_correlate_as_it_supposes() -> None:
    # A correlation of n_test / (n_test + n_train) between folds makes the statistic exactly Student's.
    rng = np.random.default_rng(4)
    runs, folds, correlation = 2000, 15, 0.2
    own = rng.normal(scale=np.sqrt(1 - correlation), size=(runs, folds))
    change = own + rng.normal(scale=np.sqrt(correlation), size=(runs, 1))
    p = np.array([corrected_t_test(row, np.zeros(folds), n_train=80, n_test=20).p for row in change])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.035)


def test_repeated_folds_of_equally_good_models_seldom_differ_but_seem_to_without_correction() -> None:
    # Two features with the same effect: lines on either predict new cases equally well.
    rng = np.random.default_rng(5)
    runs, n, folds, repeats = 300, 60, 5, 4
    corrected = usual = 0
    for _ in range(runs):
        x = rng.normal(size=(2, n))
        y = x.sum(axis=0) + rng.normal(size=n)
        errors = []
        for _ in range(repeats):
            for out in np.array_split(rng.permutation(n), folds):
                rest = np.setdiff1d(np.arange(n), out)
                errors.append(
                    [np.mean((y[out] - np.polyval(np.polyfit(f[rest], y[rest], 1), f[out])) ** 2) for f in x]
                )
        first, second = np.array(errors).T
        corrected += corrected_t_test(first, second, n_train=48, n_test=12).p < 0.05
        usual += corrected_t_test(first, second, n_train=48, n_test=1e-9).p < 0.05
    assert corrected / runs < 0.09
    assert usual / runs > 0.2


def test_scores_that_differ_by_the_same_everywhere_have_no_test() -> None:
    found = corrected_t_test(np.ones(5), np.zeros(5), n_train=4, n_test=1)
    assert found.difference.value == 1
    assert np.isnan([found.p, found.statistic, found.difference.low]).all()


@pytest.mark.parametrize("scores", [np.ones(1), np.array([0.5, np.nan])])
def test_too_few_or_missing_scores_of_folds_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(DataError, match="scores"):
        corrected_t_test(scores, scores, n_train=4, n_test=1)


def test_a_participant_with_two_outcomes_is_refused() -> None:
    with pytest.raises(DataError, match="participant b has more than one outcome"):
        by_participant(np.array(["b", "b", "c"]), np.array([True, False, False]))
    with pytest.raises(DataError, match="0 positive"):
        bootstrap(lambda drawn: float(len(drawn)), np.zeros(3, dtype=bool))
