"""Univariate tables against scipy, statsmodels, R, scikit-learn and simulation, missing values and all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, kruskal, kstest, mannwhitneyu, norm, spearmanr
from sklearn.metrics import roc_auc_score
from statsmodels.duration.hazard_regression import PHReg

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc_interval
from voxelome.modelling.survival_outcome import survival_outcome
from voxelome.modelling.univariate import univariate_table

KINDS = ("binary", "multiclass", "ordinal", "continuous", "survival")


def outcomes(rng: np.random.Generator, n: int) -> dict[str, Any]:
    times = np.ceil(rng.exponential(6.0, size=n))  # rounded up, so that they tie
    return {
        "binary": rng.random(n) < 0.4,
        "multiclass": rng.integers(0, 3, size=n),
        "ordinal": rng.integers(0, 4, size=n),
        "continuous": rng.normal(size=n),
        "survival": survival_outcome(rng.random(n) < 0.7, times),
    }


def features(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    """Some normal, some skewed, some with ties, all with values missing in their own places."""
    values = rng.normal(size=(n, count))
    values[:, ::3] = np.exp(2 * values[:, ::3])
    values[:, 1::3] = np.round(values[:, 1::3])
    values[rng.random(values.shape) < 0.15] = np.nan
    values[:, :2] = rng.normal(size=(n, 2))  # two that share the pattern of none missing
    return values


def names_of(values: np.ndarray) -> list[str]:
    return [f"f{place:03d}" for place in range(values.shape[1])]


def table_of(values: np.ndarray, target: Any, kind: str) -> pd.DataFrame:
    return univariate_table(values, names_of(values), np.arange(len(values)), target, kind)


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("feature", ignore_index=True)


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, dict[str, Any]]:
    rng = np.random.default_rng(3)
    return features(rng, 70, 24), outcomes(rng, 70)


def test_two_classes_have_the_auc_of_scikit_learn_and_the_test_of_scipy(made: Any) -> None:
    values, target = made[0], made[1]["binary"]
    for row, column in zip(in_order(table_of(values, target, "binary")).itertuples(), values.T, strict=True):
        known = ~np.isnan(column)
        x, y = column[known], target[known]
        assert row.n == known.sum()
        assert row.missing == pytest.approx(1 - known.mean())
        assert row.effect == pytest.approx(roc_auc_score(y, x))
        assert (row.low, row.high) == pytest.approx(auc_interval(row.effect, y.sum(), (~y).sum()))
        expected = mannwhitneyu(x[y], x[~y], method="asymptotic", use_continuity=False).pvalue
        assert row.p == pytest.approx(expected, rel=1e-9)


def test_the_interval_of_an_auc_excludes_chance_where_the_test_rejects() -> None:
    rng = np.random.default_rng(4)
    target = np.arange(40) % 3 == 0
    table = table_of(rng.normal(size=(40, 600)) + 0.6 * target[:, None], target, "binary")
    excludes = (table["low"] > 0.5) | (table["high"] < 0.5)
    assert (excludes == (table["p"] < 0.05)).all()
    assert 0.2 < excludes.mean() < 0.8


def test_several_classes_have_the_test_of_kruskal_and_wallis_and_its_share(made: Any) -> None:
    values, target = made[0], made[1]["multiclass"]
    found = in_order(table_of(values, target, "multiclass"))
    for row, column in zip(found.itertuples(), values.T, strict=True):
        known = ~np.isnan(column)
        expected = kruskal(*(column[known & (target == label)] for label in range(3)))
        assert row.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert row.effect == pytest.approx(expected.statistic / (known.sum() - 1))
        assert np.isnan([row.low, row.high]).all()


@pytest.mark.parametrize("kind", ["ordinal", "continuous"])
def test_numbers_and_ordered_classes_have_the_correlation_of_spearman(made: Any, kind: str) -> None:
    values, target = made[0], made[1][kind]
    for row, column in zip(in_order(table_of(values, target, kind)).itertuples(), values.T, strict=True):
        known = ~np.isnan(column)
        expected = spearmanr(column[known], target[known])
        assert (row.effect, row.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
        # Bonett and Wright (2000), equation 4.
        error = np.sqrt((1 + expected.statistic**2 / 2) / (known.sum() - 3))
        bounds = np.tanh(np.arctanh(expected.statistic) + np.array([-1, 1]) * norm.ppf(0.975) * error)
        assert (row.low, row.high) == pytest.approx(tuple(bounds), rel=1e-9)


def test_survival_has_the_hazard_ratio_and_the_tests_of_statsmodels_ties_and_all(made: Any) -> None:
    values, target = made[0], made[1]["survival"]
    found = in_order(table_of(values, target, "survival"))
    for row, column in zip(found.itertuples(), values.T, strict=True):
        known = ~np.isnan(column)
        scaled = column[known] / column[known].std(ddof=1)
        peer = PHReg(target["time"][known], scaled[:, None], status=target["event"][known], ties="efron")
        model = peer.fit()
        assert row.effect == pytest.approx(np.exp(model.params[0]), rel=1e-7)
        assert (row.low, row.high) == pytest.approx(tuple(np.exp(model.conf_int()[0])), rel=1e-7)
        # The test of the likelihood ratio has as its statistic twice the gain.
        gain = 2 * (model.llf - peer.loglike(np.zeros(1)))
        assert row.p == pytest.approx(2 * norm.sf(np.sqrt(gain)), rel=1e-6)


def test_the_hazard_ratio_of_tied_times_is_that_of_r() -> None:
    time = [4, 3, 1, 1, 2, 2, 3, 5, 6, 6, 7, 8]
    event = [True, True, True, False, True, True, False, True, True, True, False, False]
    values = np.array([0.2, 1.1, 1.9, 0.4, 2.2, -0.3, 0.8, -0.6, 0.5, -1.4, -0.9, 0.1])[:, None]
    found = table_of(values, survival_outcome(event, time), "survival").loc[0]
    # R 4.2.2, survival 3.5-3: coxph(Surv(time, event) ~ x / sd(x), ties = "efron") and its likelihood ratio.
    assert found["effect"] == pytest.approx(2.5815291093497, rel=1e-9)
    assert found["low"] == pytest.approx(0.97531799690678, rel=1e-9)
    assert found["high"] == pytest.approx(6.8329432693291, rel=1e-9)
    assert found["p"] == pytest.approx(0.04459874604666, rel=1e-9)


def test_a_feature_that_orders_all_events_has_a_p_value_and_no_interval() -> None:
    n = 12
    target = survival_outcome(np.ones(n, dtype=bool), np.arange(1.0, n + 1))
    values = np.stack([-np.arange(n), np.arange(n) ** 3.0], axis=1)
    found = in_order(table_of(values, target, "survival"))
    assert found["effect"].tolist() == [np.inf, 0]
    assert found[["low", "high"]].isna().all(axis=None)
    # The likelihood tends to 1; without the feature each event falls on any of those at risk alike.
    gain = 2 * np.log(np.arange(1, n + 1)).sum()
    assert found["p"].to_numpy() == pytest.approx(2 * norm.sf(np.sqrt(gain)), rel=1e-6)
    perfect = table_of(values, np.arange(n, dtype=float), "continuous")
    assert np.abs(perfect["effect"]).to_numpy() == pytest.approx(1)
    assert perfect[["low", "high"]].isna().all(axis=None)


def test_a_feature_that_varies_in_no_set_at_risk_tells_nothing_of_survival() -> None:
    time = np.r_[np.ones(5), np.arange(2.0, 12.0)]
    values = np.r_[np.arange(1.0, 6.0), np.zeros(10)][:, None]
    found = table_of(values, survival_outcome(time > 1, time), "survival").loc[0]
    assert found["n"] == 15
    assert np.isnan([found["effect"], found["low"], found["p"], found["q"]]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_p_values_of_nothing_are_uniform(kind: str) -> None:
    rng = np.random.default_rng(6)
    table = table_of(rng.normal(size=(80, 500)), outcomes(rng, 80)[kind], kind)
    assert kstest(table["p"], "uniform").pvalue > 0.01
    assert abs((table["p"] < 0.05).mean() - 0.05) < 0.03


def test_the_share_of_false_discoveries_is_what_was_asked_for() -> None:
    rng = np.random.default_rng(7)
    null, runs, shares, power = 60, 200, [], []
    for _ in range(runs):
        target = rng.normal(size=50)
        values = rng.normal(size=(50, 80))
        values[:, null:] += 0.7 * target[:, None]
        table = in_order(table_of(values, target, "continuous"))
        found = (table["q"] < 0.2).to_numpy()
        shares.append(found[:null].sum() / max(found.sum(), 1))
        power.append(found[null:].mean())
    # Benjamini and Hochberg: the level times the share of features without an effect, 0.2 * 60 / 80.
    assert np.mean(shares) == pytest.approx(0.15, abs=0.025)
    assert np.mean(power) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_cannot_be_tested_stay_in_the_table_and_out_of_the_correction(
    made: Any, kind: str
) -> None:
    values, target = made[0], made[1][kind]
    constant = np.full((70, 1), 0.1)
    few = np.where(np.arange(70) < 3, np.arange(70.0), np.nan)[:, None]
    none = np.full((70, 1), np.nan)
    found = table_of(np.hstack([values, constant, few, none]), target, kind)
    assert found.loc[24:, "feature"].tolist() == ["f024", "f025", "f026"]
    assert found.loc[24:, "n"].tolist() == [70, 3, 0]
    assert found.loc[24:, "missing"].tolist() == pytest.approx([0, 67 / 70, 1])
    assert found.loc[24:, ["effect", "low", "high", "p", "q"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(found.loc[:23], table_of(values, target, kind))
    assert found.loc[:23, "q"].to_numpy() == pytest.approx(false_discovery_control(found.loc[:23, "p"]))


@pytest.mark.parametrize("kind", KINDS)
def test_visits_do_not_make_more_participants(made: Any, kind: str) -> None:
    values, target = made[0], made[1][kind]
    rng = np.random.default_rng(8)
    participant = rng.permutation(np.repeat(np.arange(70), rng.integers(1, 4, size=70)))
    repeated = univariate_table(values[participant], names_of(values), participant, target, kind)
    pd.testing.assert_frame_equal(repeated, table_of(values, target, kind), rtol=1e-7)


def test_the_visits_that_have_a_value_are_averaged() -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=(60, 3))
    values[::2, 1] = np.nan
    values[:2, 2] = np.nan
    participant, target = np.repeat(np.arange(30), 2), rng.normal(size=30)
    means = np.stack([values[:, 0].reshape(30, 2).mean(axis=1), values[1::2, 1], values[::2, 2]], axis=1)
    means[1:, 2] = values[2:, 2].reshape(29, 2).mean(axis=1)
    found = univariate_table(values, names_of(values), participant, target, "continuous")
    pd.testing.assert_frame_equal(found, table_of(means, target, "continuous"))


def test_a_constant_stays_one_when_different_numbers_of_visits_are_averaged() -> None:
    participant = np.repeat(np.arange(20), 1 + np.arange(20) % 3)
    values = np.full((len(participant), 1), 0.1)
    found = univariate_table(values, ["same"], participant, np.arange(20) < 10, "binary").loc[0]
    assert np.isnan([found["effect"], found["p"]]).all()


def test_the_smallest_p_comes_first_and_equals_are_in_the_order_of_names() -> None:
    rng = np.random.default_rng(10)
    values = rng.normal(size=(30, 6))
    target = values[:, 4] > 0
    values[:, 1] = values[:, 4] * 2
    found = univariate_table(values, list("fbdcea"), np.arange(30), target, "binary")
    assert found["feature"].tolist()[:2] == ["b", "e"]
    assert found["p"].is_monotonic_increasing
    assert set(found["effect_name"]) == {"AUC"}
    assert set(found["test"]) == {"Mann-Whitney"}


def test_what_cannot_be_a_feature_or_an_outcome_is_refused() -> None:
    values = np.arange(40.0).reshape(20, 2)
    values[3, 1] = np.inf
    with pytest.raises(DataError, match="f001 is infinite in some visits"):
        table_of(values, np.arange(20) < 10, "binary")
    with pytest.raises(ValueError, match="kind is 'count'"):
        table_of(values[:, :1], np.arange(20), "count")
    with pytest.raises(DataError, match="the outcome holds 0 events"):
        table_of(values[:, :1], survival_outcome(np.zeros(20, dtype=bool), np.arange(20)), "survival")
