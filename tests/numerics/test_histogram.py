"""Histograms of regions against simulated truth, SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from voxelome.radiomics.histogram import (
    RELATIVE,
    descriptions,
    fit_mixture,
    histogram_features,
    reference_level,
    smooth_density,
)


def draw(*groups, seed=0):
    """Values of normal distributions: number, mean, deviation."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(mean, deviation, count) for count, mean, deviation in groups])


def by_name(values, *args, **settings):
    return {item.feature: item for item in histogram_features(values, *args, **settings)}


def test_percentiles_and_moments_are_those_of_numpy_and_scipy():
    values = draw((3000, 900, 150), (500, 1500, 300))
    found = by_name(values)
    for percent in (1, 5, 25, 50, 75, 99):
        assert found[f"Percentile{percent:02d}"].value == np.percentile(values, percent)
    assert found["Mean"].value == pytest.approx(values.mean(), rel=1e-12)
    assert found["StandardDeviation"].value == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert found["Skewness"].value == pytest.approx(stats.skew(values), rel=1e-12)
    assert found["ExcessKurtosis"].value == pytest.approx(stats.kurtosis(values), rel=1e-12)
    assert all(item.reason == "" for item in found.values())


def test_the_peak_of_a_normal_distribution_has_its_known_place_height_and_width():
    peaks = []
    for seed in range(20):
        found = by_name(draw((20_000, 800, 100), seed=seed))
        peaks.append([found[name].value for name in ("PeakPosition", "PeakHeight", "PeakWidth")])
    position, height, width = np.median(peaks, axis=0)
    assert position == pytest.approx(800, abs=10)
    assert height == pytest.approx(1 / (100 * np.sqrt(2 * np.pi)), rel=0.03)
    assert width == pytest.approx(100 * 2 * np.sqrt(2 * np.log(2)), rel=0.05)


def test_the_curve_is_the_kernel_density_of_scipy():
    values = draw((400, 0.7, 0.1), (300, 1.4, 0.3))
    curve = smooth_density(values)
    lower, upper = np.percentile(values, (25, 75))
    width = 0.9 * min(values.std(ddof=1), (upper - lower) / 1.34) * values.size**-0.2
    peer = stats.gaussian_kde(values, width / values.std(ddof=1))(curve.values)
    assert np.abs(curve.density - peer).max() < 0.01 * peer.max()


def test_fractions_below_and_above_a_threshold_are_counted():
    found = by_name(np.arange(100.0), [19.5, 80])
    assert found["FractionBelow19.5"].value == 0.2
    assert found["FractionAbove19.5"].value == 0.8
    assert found["FractionBelow80"].value == 0.8
    assert found["FractionAbove80"].value == 0.19


def test_every_feature_is_described():
    assert descriptions([2.5]).keys() == by_name(draw((100, 1, 0.2)), [2.5]).keys()


def test_two_tissues_are_found_again_in_their_mixture():
    found = by_name(draw((3000, 700, 80), (7000, 1300, 200)))
    truth = {
        "MixtureLowerMean": (700, 10),
        "MixtureLowerStandardDeviation": (80, 10),
        "MixtureUpperMean": (1300, 15),
        "MixtureUpperStandardDeviation": (200, 10),
        "MixtureLowerFraction": (0.3, 0.02),
    }
    for name, (value, off) in truth.items():
        assert found[name].value == pytest.approx(value, abs=off), name
    assert found["MixtureBicGain"].value > 1000


def test_one_tissue_gives_no_gain_by_a_second():
    assert all(by_name(draw((3000, 700, 80), seed=seed))["MixtureBicGain"].value < 0 for seed in range(10))


def test_the_mixture_is_that_of_scikit_learn():
    values = draw((2000, 0.8, 0.15), (1000, 1.5, 0.3))
    ours = fit_mixture(values)
    peer = GaussianMixture(2, tol=1e-8, max_iter=2000, random_state=0).fit(values[:, None])
    order = np.argsort(peer.means_[:, 0])
    assert np.allclose(ours.means, peer.means_[order, 0], rtol=0.01)
    assert np.allclose(ours.deviations, np.sqrt(peer.covariances_[order, 0, 0]), rtol=0.02)
    assert ours.fraction == pytest.approx(peer.weights_[order[0]], abs=0.01)
    gain = GaussianMixture(1).fit(values[:, None]).bic(values[:, None]) - peer.bic(values[:, None])
    assert ours.gain == pytest.approx(gain, rel=0.02)


def test_a_unit_changes_no_shape():
    values = draw((300, 1, 0.2), (200, 2, 0.2))
    one, thousand = by_name(values), by_name(values * 1000)
    for name in one:
        factor = {"PeakHeight": 1e-3}.get(name, 1000.0 if one[name].unit == "intensity" else 1.0)
        assert thousand[name].value == pytest.approx(one[name].value * factor, rel=1e-6), name


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(0), "The region has 0 voxels, fewer than 10."),
        (np.ones(5), "The region has 5 voxels, fewer than 10."),
        (np.full(50, 3.0), "The image is constant in the region (3)."),
        (np.array([np.nan, *range(20)]), "1 of the region's 21 voxels are not finite."),
    ],
)
def test_what_has_no_histogram_has_a_reason_and_no_number(values, reason):
    found = histogram_features(values, [2])
    assert len(found) == 15 + 5 + 3 + 2 + 6
    assert {(item.value, item.reason) for item in found} == {(None, reason)}


def test_few_voxels_have_percentiles_and_no_mixture():
    found = by_name(draw((30, 5, 1)))
    assert found["Percentile50"].value is not None
    assert found["MixtureLowerMean"].value is None
    assert found["MixtureLowerMean"].reason == "The region has 30 voxels; two distributions take 50."


def test_a_few_values_far_away_do_not_flatten_the_curve():
    values = np.concatenate([draw((5000, 100, 10)), [1e6, 2e6]])
    assert by_name(values)["PeakPosition"].value == pytest.approx(100, abs=3)
    assert by_name(values)["PeakWidth"].value == pytest.approx(23.5, rel=0.1)


def test_whole_numbers_with_few_values_have_a_histogram():
    values = np.random.default_rng(0).integers(0, 3, 500).astype(float)
    found = by_name(values)
    assert found["Percentile50"].value == 1
    assert found["PeakHeight"].value > 0


def test_the_reference_is_a_median_and_refused_where_dividing_by_it_means_nothing():
    normal, inside = draw((101, 50, 5)), draw((200, 80, 10))
    assert reference_level(normal, inside) == (np.median(normal), "")
    for values in ((normal - 50, inside), (normal, inside - 80), (-normal, inside)):
        level, reason = reference_level(*values)
        assert np.isnan(level)
        assert "negative values" in reason
    assert reference_level(np.ones(3), inside)[1] == "Reference: The region has 3 voxels, fewer than 10."
    rows = histogram_features(np.ones(20), feature_class=RELATIVE, unit="1", reason="no reference")
    assert {(item.feature_class, item.value, item.reason) for item in rows} == {
        (RELATIVE, None, "no reference")
    }
