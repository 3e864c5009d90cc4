"""Intraclass correlations and concordance against published numbers, definitions and simulation."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import f, norm, t

from voxelome.errors import DataError
from voxelome.reliability import Estimate, Reliability, reliability

# Shrout and Fleiss (1979), table 2: six targets by four judges.
JUDGED = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
NAMES = ("icc1", "icc2", "icc3", "concordance")


def numbers(estimate: Estimate) -> np.ndarray:
    return np.array([estimate.value, estimate.low, estimate.high])


def table(found: Reliability) -> np.ndarray:
    return np.array([numbers(getattr(found, name)) for name in NAMES])


def simulated(
    rng: np.random.Generator, shape: tuple[int, int, int], subject: float, measurement: float, rest: float
) -> np.ndarray:
    features, subjects, measurements = shape
    return (
        rng.normal(scale=np.sqrt(subject), size=(features, subjects, 1))
        + rng.normal(scale=np.sqrt(measurement), size=(features, 1, measurements))
        + rng.normal(scale=np.sqrt(rest), size=shape)
    )


def held(estimate: Estimate, truth: float) -> float:
    return float(np.mean((estimate.low <= truth) & (truth <= estimate.high)))


def intraclass_by_loops(x: np.ndarray, level: float) -> list[tuple[float, float, float]]:
    """Shrout and Fleiss (1979), pages 422 to 425, as they write it."""
    n, k = x.shape
    mean = sum(x[i, j] for i in range(n) for j in range(k)) / (n * k)
    target = [sum(x[i, j] for j in range(k)) / k for i in range(n)]
    judge = [sum(x[i, j] for i in range(n)) / n for j in range(k)]
    bms = k * sum((m - mean) ** 2 for m in target) / (n - 1)
    jms = n * sum((m - mean) ** 2 for m in judge) / (k - 1)
    wms = sum((x[i, j] - target[i]) ** 2 for i in range(n) for j in range(k)) / (n * (k - 1))
    ems = (n * (k - 1) * wms - (k - 1) * jms) / ((n - 1) * (k - 1))
    results = []
    for noise, freedom in ((wms, n * (k - 1)), (ems, (n - 1) * (k - 1))):
        ratio = bms / noise
        lower = ratio / f.ppf((1 + level) / 2, n - 1, freedom)
        upper = ratio * f.ppf((1 + level) / 2, freedom, n - 1)
        results.append(
            (
                (bms - noise) / (bms + (k - 1) * noise),
                (lower - 1) / (lower + k - 1),
                (upper - 1) / (upper + k - 1),
            )
        )
    rho = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    fj = jms / ems
    scale = n * (1 + (k - 1) * rho) - k * rho
    v = (k - 1) * (n - 1) * (k * rho * fj + scale) ** 2 / ((n - 1) * k**2 * rho**2 * fj**2 + scale**2)
    over, under = f.ppf((1 + level) / 2, n - 1, v), f.ppf((1 + level) / 2, v, n - 1)
    low = n * (bms - over * ems) / (over * (k * jms + (k * n - k - n) * ems) + n * bms)
    high = n * (under * bms - ems) / (k * jms + (k * n - k - n) * ems + n * under * bms)
    return [results[0], (rho, low, high), results[1]]


def lin_as_published(x: np.ndarray, y: np.ndarray, level: float) -> tuple[float, float, float]:
    """Lin (1989), with the variance of the correction of 2000."""
    n = len(x)
    rho = np.corrcoef(x, y)[0, 1]
    rho_c = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    u = (x.mean() - y.mean()) / np.sqrt(x.std() * y.std())
    variance = (
        (1 - rho**2) * rho_c**2 / ((1 - rho_c**2) * rho**2)
        + 2 * rho_c**3 * (1 - rho_c) * u**2 / (rho * (1 - rho_c**2) ** 2)
        - rho_c**4 * u**4 / (2 * rho**2 * (1 - rho_c**2) ** 2)
    ) / (n - 2)
    z, reach = np.arctanh(rho_c), norm.ppf((1 + level) / 2) * np.sqrt(variance)
    return rho_c, np.tanh(z - reach), np.tanh(z + reach)


def overall_concordance(x: np.ndarray) -> float:
    """Barnhart, Haber and Song (2002), by their definition over pairs of measurements."""
    covariance, mean = np.cov(x.T, bias=True), x.mean(axis=0)
    pairs = [(i, j) for i in range(x.shape[1]) for j in range(i)]
    apart = sum(covariance[i, i] + covariance[j, j] + (mean[i] - mean[j]) ** 2 for i, j in pairs)
    return float(2 * sum(covariance[i, j] for i, j in pairs) / apart)


def test_the_published_example_of_shrout_and_fleiss_is_reproduced() -> None:
    found = reliability(JUDGED[None])
    assert [round(float(getattr(found, name).value[0]), 2) for name in NAMES[:3]] == [0.17, 0.29, 0.71]
    assert found.subjects.tolist() == [6]


def test_the_intervals_of_the_published_example_are_those_of_another_program() -> None:
    # pingouin 0.7.0, intraclass_corr, without its rounding.
    expected = [
        [0.1657417684054755, -0.13293232487475096, 0.722560062328121],
        [0.28976377952755916, 0.018786513374712058, 0.7610843696489527],
        [0.7148407148407154, 0.34246476503392614, 0.9458582599553597],
    ]
    np.testing.assert_allclose(table(reliability(JUDGED[None]))[:3, :, 0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(4, 3, 2), (5, 12, 2), (5, 9, 3), (3, 30, 11)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_intraclass_correlations_are_those_of_the_published_formulas(
    shape: tuple[int, int, int], level: float
) -> None:
    x = 1e3 * simulated(np.random.default_rng(1), shape, 1.0, 0.5, 0.3) + 1e5
    found = table(reliability(x, level))[:3]
    for feature, values in enumerate(x):
        expected = intraclass_by_loops(values, level)
        assert expected[1][0] > 0
        np.testing.assert_allclose(found[:, :, feature], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_concordance_of_two_measurements_is_that_of_lin(level: float) -> None:
    rng = np.random.default_rng(2)
    x = simulated(rng, (6, 15, 2), 1.0, 0.3, 0.5) * [1.0, 1.7]
    x[-1, :, 1] *= -1
    found = numbers(reliability(x, level).concordance)
    expected = [lin_as_published(*values.T, level) for values in x]
    assert expected[-1][0] < 0
    np.testing.assert_allclose(found.T, expected, rtol=0, atol=1e-9)


def test_the_concordance_of_more_measurements_is_that_of_all_pairs() -> None:
    x = simulated(np.random.default_rng(3), (5, 14, 6), 1.0, 0.4, 0.7) * np.linspace(0.5, 2, 6)
    expected = [overall_concordance(values) for values in x]
    np.testing.assert_allclose(reliability(x).concordance.value, expected, rtol=0, atol=1e-9)


def test_the_interval_of_the_overall_concordance_comes_from_leaving_out_each_subject() -> None:
    n = 11
    x = simulated(np.random.default_rng(4), (3, n, 4), 1.0, 0.4, 0.7)
    found = reliability(x, 0.9).concordance
    for feature, values in enumerate(x):
        without = np.array([overall_concordance(np.delete(values, i, axis=0)) for i in range(n)])
        error = np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
        value = overall_concordance(values)
        reach = t.ppf(0.95, n - 1) * error / (1 - value**2)
        expected = np.tanh(np.arctanh(value) + np.array([-reach, reach]))
        np.testing.assert_allclose([found.low[feature], found.high[feature]], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "measurement", "truth"), [("icc1", 0.0, 0.6), ("icc2", 0.1, 0.545454545), ("icc3", 2.0, 0.6)]
)
def test_intervals_of_random_effects_hold_the_truth_about_nineteen_times_in_twenty(
    name: str, measurement: float, truth: float
) -> None:
    x = simulated(np.random.default_rng(5), (500, 30, 12), 0.6, measurement, 0.4)
    assert 0.92 < held(getattr(reliability(x), name), truth) < 0.98


def test_a_negative_absolute_agreement_does_not_widen_its_interval() -> None:
    # With a negative estimate in the degrees of freedom, 99 % of these intervals hold the truth.
    x = simulated(np.random.default_rng(6), (2000, 10, 2), 0.0, 20.0, 1.0)
    found = reliability(x).icc2
    assert np.mean(found.value < 0) > 0.4
    assert 0.92 < held(found, 0.0) < 0.985


@pytest.mark.parametrize("measurements", [2, 5])
def test_intervals_of_the_concordance_hold_the_truth_about_nineteen_times_in_twenty(
    measurements: int,
) -> None:
    shift = np.linspace(-0.5, 0.5, measurements)
    x = simulated(np.random.default_rng(7), (500, 60, measurements), 0.8, 0.0, 0.2) + shift
    apart = 1 + measurements * np.sum(shift**2) / (measurements * (measurements - 1))
    assert 0.92 < held(reliability(x).concordance, 0.8 / apart) < 0.98


@pytest.mark.parametrize("measurements", [2, 3])
def test_a_subject_with_a_missing_measurement_is_left_out_for_that_feature_alone(measurements: int) -> None:
    rng = np.random.default_rng(8)
    x = simulated(rng, (30, 12, measurements), 1.0, 0.5, 0.5)
    gone = rng.random(x.shape) < 0.1
    x[gone] = rng.choice([np.nan, np.inf, -np.inf], gone.sum())
    complete = ~gone.any(axis=2)
    found = reliability(x)
    np.testing.assert_array_equal(found.subjects, complete.sum(axis=1))
    assert len(set(found.subjects)) > 2
    for feature, (values, kept) in enumerate(zip(x, complete, strict=True)):
        alone = table(reliability(values[None, kept]))[..., 0]
        np.testing.assert_allclose(table(found)[..., feature], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("measurements", [2, 3])
def test_features_that_tell_no_subjects_apart_are_undefined(measurements: int) -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(6, 5, measurements))
    x[0] = 0.1
    x[1] = rng.normal(size=measurements)
    x[2, 2:, 0] = np.nan
    x[3, :, 1] = np.nan
    x[4, 0, 0], x[4, 1:] = np.nan, 1e9 / 3
    found = reliability(x)
    assert np.isnan(table(found)[..., :5]).all()
    assert np.isfinite(table(found)[..., 5]).all()
    assert found.subjects.tolist() == [5, 5, 2, 0, 4, 5]


@pytest.mark.parametrize("measurements", [2, 3, 7])
def test_perfect_agreement_is_exactly_one_with_bounds_of_one(measurements: int) -> None:
    subject = np.random.default_rng(10).normal(size=(20, 9, 1)) / 3 + 100
    subject[-1] = 0.0
    subject[-1, 4] = 0.1
    assert np.all(table(reliability(np.repeat(subject, measurements, axis=2))) == 1)


@pytest.mark.parametrize("measurements", [2, 4])
def test_a_shift_between_measurements_lowers_agreement_and_not_consistency(measurements: int) -> None:
    x = simulated(np.random.default_rng(11), (8, 20, measurements), 1.0, 0.0, 0.1)
    before, after = reliability(x), reliability(x + np.arange(measurements))
    np.testing.assert_allclose(numbers(after.icc3), numbers(before.icc3), rtol=0, atol=1e-12)
    for name in ("icc1", "icc2", "concordance"):
        assert np.all(getattr(after, name).value < getattr(before, name).value - 0.1)


def test_a_shift_alone_is_consistent() -> None:
    found = reliability(np.arange(8.0)[None, :, None] + np.array([0.0, 16.0, 4.0]))
    assert np.all(numbers(found.icc3) == 1)
    assert np.all(found.icc2.low < found.icc2.value)
    assert np.all(found.concordance.value < 0.2)


def test_the_unit_of_a_feature_does_not_matter() -> None:
    x = simulated(np.random.default_rng(12), (3, 10, 3), 1.0, 0.2, 0.5)
    for unit in (1e-200, 1e200):
        np.testing.assert_allclose(table(reliability(x * unit)), table(reliability(x)), rtol=0, atol=1e-12)


def test_a_measurement_that_is_the_same_for_all_subjects_does_not_agree_with_another() -> None:
    x = np.random.default_rng(13).normal(size=(1, 9, 2))
    x[..., 1] = 0.1
    found = reliability(x).concordance
    assert found.value[0] == pytest.approx(0, abs=1e-12)
    assert np.isnan([found.low[0], found.high[0]]).all()


def test_a_concordance_that_hangs_on_one_subject_has_no_interval() -> None:
    x = np.full((1, 9, 3), 0.3)
    x[0, 4] = [1.3, 1.1, 1.7]
    found = reliability(x).concordance
    assert 0 < found.value[0] < 1
    assert np.isnan([found.low[0], found.high[0]]).all()


def test_counts_are_taken_as_numbers() -> None:
    np.testing.assert_array_equal(
        table(reliability(JUDGED[None].astype(int))), table(reliability(JUDGED[None]))
    )


def test_no_features_have_no_reliability() -> None:
    found = reliability(np.empty((0, 5, 2)))
    assert table(found).shape == (4, 3, 0)
    assert found.subjects.shape == (0,)


@pytest.mark.parametrize("shape", [(5, 4), (3, 5, 1), (3, 5, 0), (3, 0, 2), (2, 3, 4, 5)])
def test_arrays_without_repeated_measurements_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="at least two measurements"):
        reliability(np.zeros(shape))


def test_many_features_take_seconds_and_do_not_depend_on_each_other() -> None:
    x = np.random.default_rng(14).normal(size=(2000, 60, 20))
    x[::3, ::7, 0] = np.nan
    start = time.perf_counter()
    found = table(reliability(x))
    assert time.perf_counter() - start < 5
    for feature in (0, 437, 1999):
        alone = table(reliability(x[feature : feature + 1]))
        np.testing.assert_allclose(found[..., feature], alone[..., 0], rtol=0, atol=1e-12)
