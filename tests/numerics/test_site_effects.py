"""What lies between sites is measured as analysis of variance has it, and is less after harmonisation."""

import numpy as np
import pytest
from scipy import stats

from tests.numerics.test_modelling import analyse
from tests.numerics.test_sites_and_reliability import sites
from voxelome.interfaces.analysis_figures import figures_of
from voxelome.modelling.site_effects import explained_by_site


def test_the_share_between_sites_is_that_of_a_one_way_analysis_of_variance():
    rng = np.random.default_rng(0)
    site = rng.integers(0, 3, 60)
    values = rng.normal(size=(60, 4)) + site[:, None] * np.array([0, 0.5, 1, 3])
    values[5:9, 1] = np.nan
    for column, share in enumerate(explained_by_site(values, site)):
        known = np.isfinite(values[:, column])
        groups = [values[known & (site == number), column] for number in range(3)]
        between, within = 2, int(known.sum()) - 3
        f = stats.f_oneway(*groups).statistic
        assert share == pytest.approx(f * between / (f * between + within))


def test_a_feature_of_one_value_has_no_share():
    assert np.isnan(explained_by_site(np.ones((6, 1)), np.array([0, 0, 0, 1, 1, 1]))).all()


def test_an_analysis_shows_features_by_site_before_and_after_harmonisation():
    table, people = sites()
    found = analyse(table, people, repeats=1, harmonise="scanner").metrics
    effects = found["sites"]
    assert effects["features"] == 30
    assert effects["median_before"] > 0.4
    assert effects["median_after"] < 0.02
    first = effects["shown"][0]
    assert first["share_before"] > first["share_after"]
    assert [len(first["before"][name]) for name in "AB"] == [len(first["after"][name]) for name in "AB"]
    titles = [figure.title for figure in figures_of(found)]
    assert f"{first['feature']} by site" in titles


def test_without_harmonisation_there_is_nothing_to_show():
    table, people = sites()
    found = analyse(table, people, repeats=1).metrics
    assert found["sites"] is None
    assert not any("by site" in figure.title for figure in figures_of(found))
