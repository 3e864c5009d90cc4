"""Calibration and net benefit against statsmodels, R, scikit-learn, definitions and simulation."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from voxelome.errors import DataError
from voxelome.modelling.calibration import EPSILON, brier, recalibration
from voxelome.modelling.calibration_curve import calibration_error, calibration_groups, smooth_calibration
from voxelome.modelling.metrics import wilson
from voxelome.modelling.net_benefit import decision_curve

PREDICTED = np.array(
    [
        *(0.05, 0.1, 0.12, 0.2, 0.22, 0.3, 0.33, 0.4, 0.45, 0.5),
        *(0.55, 0.6, 0.61, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97),
    ]
)
POSITIVE = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1], dtype=bool)


def cases(rng: np.random.Generator, n: int, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    odds = rng.normal(size=n)
    return rng.random(n) < expit(shift + slope * odds), expit(odds)


def test_the_coefficients_of_another_program_are_reproduced() -> None:
    # R 4.2.2: glm(z ~ qlogis(p)) and glm(z ~ offset(qlogis(p))), binomial, epsilon = 1e-15.
    found = recalibration(POSITIVE, PREDICTED)
    expected = [
        (found.intercept, 0.182894110278088, 0.527229478938840),
        (found.slope, 0.834199071967140, 0.416434139639736),
        (found.in_the_large, 0.196068790612090, 0.549982570173162),
    ]
    for estimate, value, error in expected:
        assert (estimate.value, estimate.standard_error) == pytest.approx((value, error), abs=1e-9)
        reach = 1.959963984540054 * error
        assert (estimate.low, estimate.high) == pytest.approx((value - reach, value + reach), abs=1e-6)


@pytest.mark.parametrize(
    ("n", "slope", "shift"), [(40, 1.0, 0.0), (200, 0.3, -2.0), (500, 2.5, 1.0), (90, -1.0, 0)]
)
def test_slope_and_intercepts_are_those_of_logistic_regressions(n: int, slope: float, shift: float) -> None:
    positive, probability = cases(np.random.default_rng(n), n, slope, shift)
    # Predictions of exactly 0 and 1, on the wrong side too.
    probability[:3], positive[:3] = [0.0, 1.0, 0.0], [False, True, True]
    odds = logit(np.clip(probability, EPSILON, 1 - EPSILON))
    both = sm.Logit(positive * 1.0, sm.add_constant(odds)).fit(disp=0, tol=1e-12)
    large = sm.Logit(positive * 1.0, np.ones(n), offset=odds).fit(disp=0, tol=1e-12)
    found = recalibration(positive, probability, level=0.9)
    for estimate, model, place in (
        (found.intercept, both, 0),
        (found.slope, both, 1),
        (found.in_the_large, large, 0),
    ):
        low, high = model.conf_int(0.1)[place]
        ours = (estimate.value, estimate.standard_error, estimate.low, estimate.high)
        assert ours == pytest.approx((model.params[place], model.bse[place], low, high), abs=1e-6)


def test_the_interval_of_the_slope_holds_the_true_slope() -> None:
    rng = np.random.default_rng(1)
    found = [recalibration(*cases(rng, 200)) for _ in range(500)]
    # Three standard errors of the simulation are 0.03.
    assert np.mean([f.slope.low <= 1 <= f.slope.high for f in found]) == pytest.approx(0.95, abs=0.03)
    large = np.mean([f.in_the_large.low <= 0 <= f.in_the_large.high for f in found])
    assert large == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("probability", "slope"),
    [
        ([0.1, 0.2, 0.8, 0.9], np.inf),
        ([0.1, 0.5, 0.5, 0.9], np.inf),
        ([0.0, 0.0, 1.0, 1.0], np.inf),
        ([0.9, 0.8, 0.2, 0.1], -np.inf),
        ([0.3, 0.3, 0.3, 0.3], np.nan),
    ],
)
def test_perfect_separation_and_constant_predictions_have_no_slope(
    probability: list[float], slope: float
) -> None:
    found = recalibration(np.array([False, False, True, True]), np.array(probability))
    np.testing.assert_equal(found.slope.value, slope)
    assert np.isnan([found.slope.low, found.slope.high, found.intercept.value]).all()
    assert np.isfinite(found.in_the_large.value)
    expected = logit(0.5) - logit(0.3)
    assert slope == slope or found.in_the_large.value == pytest.approx(expected, abs=1e-9)


def test_extreme_predictions_that_are_wrong_do_not_break_the_fit() -> None:
    positive = np.arange(40) % 2 == 0
    found = recalibration(positive, np.zeros(40))
    assert found.in_the_large.value == pytest.approx(-logit(EPSILON), abs=1e-6)
    wrong = recalibration(positive, np.where(np.arange(40) < 36, ~positive, positive) * 1.0)
    assert wrong.slope.value == pytest.approx(logit(0.1) / logit(1 - EPSILON), rel=1e-6)


def test_one_class_or_numbers_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match="0 positive"):
        recalibration(np.zeros(3, dtype=bool), np.full(3, 0.2))
    for wrong in (1.2, -0.1, np.nan):
        with pytest.raises(DataError, match="between 0 and 1"):
            brier(np.array([True, False]), np.array([0.5, wrong]))
    with pytest.raises(DataError, match="0 classes"):
        calibration_groups(np.zeros(0, dtype=bool), np.zeros(0))


def test_the_brier_score_is_that_of_another_library() -> None:
    found = brier(POSITIVE, PREDICTED)
    assert found.value == pytest.approx(brier_score_loss(POSITIVE, PREDICTED), abs=1e-12)
    naive = brier_score_loss(POSITIVE, np.full(20, POSITIVE.mean()))
    assert found.scaled == pytest.approx(1 - found.value / naive, abs=1e-12)
    assert brier(POSITIVE, POSITIVE * 1.0).scaled == 1
    assert np.isnan(brier(np.ones(3, dtype=bool), np.full(3, 0.9)).scaled)


@pytest.mark.parametrize("groups", [1, 5, 10])
def test_groups_are_those_of_another_library_with_wilson_intervals(groups: int) -> None:
    positive, probability = cases(np.random.default_rng(3), 237)
    found = calibration_groups(positive, probability, groups)
    observed, predicted = calibration_curve(positive, probability, n_bins=groups, strategy="quantile")
    np.testing.assert_allclose(found.observed, observed, atol=1e-12)
    np.testing.assert_allclose(found.predicted, predicted, atol=1e-12)
    assert found.cases.sum() == 237
    for share, low, high, n in zip(found.observed, found.low, found.high, found.cases, strict=True):
        expected = wilson(round(share * n), int(n))
        assert (low, high) == (expected.low, expected.high)


def test_equal_predictions_are_in_one_group() -> None:
    found = calibration_groups(np.array([0, 1, 0, 1, 1, 1], dtype=bool), np.repeat([0.2, 0.7], [3, 3]))
    assert found.predicted == pytest.approx([0.2, 0.7])
    assert found.observed == pytest.approx([1 / 3, 1])
    assert found.cases.tolist() == [3, 3]


def test_the_smooth_curve_of_another_program_is_reproduced() -> None:
    # R 4.2.2: lowess(p, z, f = 0.75, iter = 0, delta = 0).
    expected = [
        *(0.156344313048419, 0.194012384646263, 0.209523903768980, 0.274495013521786, 0.290979485282634),
        *(0.354710770642326, 0.376805793447402, 0.422775567078266, 0.481146295777581, 0.539954319509051),
        *(0.590833319728885, 0.618800270829640, 0.625434126531029, 0.701715111744245, 0.752129305295313),
        *(0.801036318734915, 0.848216206165060, 0.895364861737219, 0.943571778246463, 0.963250922820612),
    ]
    np.testing.assert_allclose(smooth_calibration(POSITIVE, PREDICTED, PREDICTED), expected, atol=1e-9)


@pytest.mark.parametrize("span", [0.3, 2 / 3, 1.0])
def test_the_smooth_curve_is_the_lowess_of_statsmodels(span: float) -> None:
    positive, probability = cases(np.random.default_rng(4), 301, 0.7)
    # With equal predictions, of which some fill a neighbourhood.
    probability[:100] = np.round(probability[:100], 1)
    theirs = sm.nonparametric.lowess(
        positive * 1.0, probability, frac=span, it=0, delta=0, return_sorted=False
    )
    ours = smooth_calibration(positive, probability, probability, span)
    np.testing.assert_allclose(ours, np.clip(theirs, 0, 1), atol=1e-6)


def test_calibration_errors_are_distances_from_the_curve_and_from_groups() -> None:
    positive, probability = cases(np.random.default_rng(5), 400, 0.5)
    found = calibration_error(positive, probability)
    curve = sm.nonparametric.lowess(
        positive * 1.0, probability, frac=0.75, it=0, delta=0, return_sorted=False
    )
    distance = np.abs(curve - probability)
    expected = (distance.mean(), np.median(distance), np.percentile(distance, 90))
    assert (found.ici, found.e50, found.e90) == pytest.approx(expected, abs=1e-6)
    edges = np.quantile(probability, np.linspace(0, 1, 11))
    total = 0.0
    for low, high in pairwise(edges):
        inside = (probability > low) & (probability <= high) | (probability == low) & (low == edges[0])
        total += abs(np.sum(positive[inside]) - np.sum(probability[inside]))
    assert found.expected == pytest.approx(total / 400, abs=1e-12)


def test_a_calibrated_model_has_a_small_error_and_an_overfitted_one_a_large_one() -> None:
    rng = np.random.default_rng(6)
    right, extreme = (calibration_error(*cases(rng, 3000, slope)) for slope in (1.0, 0.3))
    assert right.ici < 0.02
    assert extreme.ici == pytest.approx(0.12, abs=0.02)
    assert extreme.expected == pytest.approx(extreme.ici, abs=0.02)


def test_a_constant_prediction_is_compared_with_the_prevalence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calibration_error(np.arange(10) < 3, np.full(10, 0.5))
    assert (found.ici, found.e50, found.e90, found.expected) == pytest.approx((0.2, 0.2, 0.2, 0.2))
    with pytest.raises(DataError, match="span of 0"):
        smooth_calibration(POSITIVE, PREDICTED, PREDICTED, span=0)


def test_the_net_benefit_is_what_is_counted_by_hand() -> None:
    positive = np.array([True, True, False, False, False])
    probability = np.array([0.9, 0.4, 0.5, 0.2, 0.1])
    found = decision_curve(positive, probability, np.array([0.0, 0.2, 0.4, 0.5, 0.6]))
    # True positives less odds of the threshold times false positives, of five.
    expected = [(2 - 0) / 5, (2 - 2 * 0.25) / 5, (2 - 1 * 2 / 3) / 5, (1 - 1 * 1) / 5, (1 - 0) / 5]
    np.testing.assert_allclose(found.model, expected, atol=1e-12)
    everybody = [0.4, 0.4 - 0.6 * 0.25, 0.4 - 0.6 * 2 / 3, 0.4 - 0.6, 0.4 - 0.6 * 1.5]
    np.testing.assert_allclose(found.treat_all, everybody, atol=1e-12)
    assert found.treat_none.tolist() == [0] * 5


def test_a_threshold_of_one_has_no_net_benefit() -> None:
    with pytest.raises(DataError, match="thresholds"):
        decision_curve(POSITIVE, PREDICTED, np.array([0.5, 1.0]))
    with pytest.raises(DataError, match="not finite"):
        decision_curve(POSITIVE, np.full(20, np.nan), np.array([0.5]))
