"""Selectors of features against scipy, direct definitions, planted effects and pure noise."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import (
    chi2,
    f_oneway,
    false_discovery_control,
    kruskal,
    mannwhitneyu,
    pearsonr,
    rankdata,
    spearmanr,
    ttest_ind,
)
from sklearn.base import clone
from sklearn.feature_selection import f_classif, f_regression
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from voxelome.modelling.association import martingale_residuals, read_outcome
from voxelome.modelling.selection import (
    MRMR,
    CorrelationFilter,
    NearZeroVariance,
    UnivariateFDR,
)
from voxelome.modelling.wrappers import Boruta, SelectByPenalty, StabilitySelection

KINDS = ("binary", "multiclass", "continuous", "survival")
PLANTED = np.arange(5)


def table(n: int = 80, features: int = 30, seed: int = 0) -> np.ndarray:
    """Give features of which neighbours correlate, one with ties and one constant at the end."""
    rng = np.random.default_rng(seed)
    values = np.exp(
        rng.normal(size=(n, features)) + np.repeat(rng.normal(size=(n, features // 3)), 3, axis=1)
    )
    values[:, -2] = rng.integers(0, 4, n)
    values[:, -1] = 0.1
    return values


def outcome(kind: str, risk: np.ndarray, seed: int = 1) -> np.ndarray:
    """Give an outcome that `risk`, shape (n,), has a part in; times of events tie."""
    rng = np.random.default_rng(seed)
    noisy = risk + 0.5 * rng.normal(size=len(risk))
    if kind == "continuous":
        return noisy
    if kind == "survival":
        times = np.ceil(20 * rng.exponential(size=len(risk)) * np.exp(-risk))
        return Surv.from_arrays(rng.random(len(risk)) < 0.7, times)
    return np.digitize(noisy, np.quantile(noisy, [0.6] if kind == "binary" else [0.3, 0.7]))


def planted(
    kind: str, n: int = 160, features: int = 200, effect: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Give noise of which the first five features have a part in the outcome."""
    values = np.random.default_rng(3).normal(size=(n, features))
    return values, outcome(kind, effect * values[:, PLANTED] @ [1, -1, 1, -1, 1])


def score_test(x: np.ndarray, event: np.ndarray, times: np.ndarray) -> float:
    """Return chi-squared of the score test of a Cox model, event by event."""
    slope = information = 0.0
    for index in np.flatnonzero(event):
        at_risk = x[times >= times[index]]
        slope += x[index] - at_risk.mean()
        information += at_risk.var()
    return slope**2 / information if information > 1e-12 else 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_an_outcome_is_derived_from_its_values(kind: str) -> None:
    y = outcome(kind, table()[:, 0])
    assert read_outcome(y).kind == kind
    if kind in ("binary", "multiclass"):
        assert read_outcome(y.astype(str)).kind == kind


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (np.zeros(9, int), "auto", "1 class"),
        (np.arange(9) % 3, "binary", "3 classes"),
        (np.arange(9), "auto", "9 classes in 9"),
        (np.arange(9.0), "survival", "does not fit"),
        (Surv.from_arrays(np.ones(9, bool), np.ones(9)), "binary", "does not fit"),
        (Surv.from_arrays(np.zeros(9, bool), np.ones(9)), "auto", "censored"),
        (np.arange(9.0), "ordinal", "must be one of"),
    ],
)
def test_an_outcome_that_does_not_fit_its_kind_is_refused(y: np.ndarray, kind: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnivariateFDR(kind).fit(table(9), y)


def test_near_zero_variance_follows_the_definition_of_caret() -> None:
    rng = np.random.default_rng(0)
    values = np.floor(rng.exponential(size=(100, 400)) ** 3 * rng.uniform(0.01, 2, size=400))
    values[:, 0] = 7
    values[:, 1] = np.arange(100) % 2
    expected = []
    for column in values.T:
        counts = [count for _, count in Counter(column).most_common()]
        rare = len(counts) > 1 and counts[0] / counts[1] > 19 and len(counts) <= 10
        expected.append(len(counts) > 1 and not rare)
    assert 5 < np.sum(~np.array(expected)) < 200
    np.testing.assert_array_equal(NearZeroVariance().fit(values).get_support(), expected)


def test_near_zero_variance_keeps_what_dominates_exactly_at_its_limits() -> None:
    values = np.zeros((200, 3))
    values[:10, 0] = 1  # 190 to 10, the ratio 19
    values[:9, 1] = 1
    values[:, 2] = np.r_[np.arange(1, 22), np.zeros(179)]  # 22 values are more than a tenth
    assert NearZeroVariance().fit(values).get_support().tolist() == [True, False, True]


def test_tables_without_a_feature_that_varies_are_refused() -> None:
    values, y = np.ones((20, 3)), np.arange(20) % 2
    for selector in (NearZeroVariance(), MRMR(), SelectByPenalty()):
        with pytest.raises(ValueError, match="no feature"):
            selector.fit(values, y)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("maximum", [0.3, 0.6, 0.9])
def test_the_correlation_filter_does_what_a_naive_one_does(method: Any, maximum: float) -> None:
    values = table(60, 1200)[:, :-1]
    correlation = np.abs(
        np.corrcoef(rankdata(values, axis=0) if method == "spearman" else values, rowvar=False)
    )
    np.fill_diagonal(correlation, 0)
    kept: list[int] = []
    for index in np.argsort(correlation.sum(axis=0)):
        if np.all(correlation[index, kept] <= maximum):
            kept.append(index)
    selector = CorrelationFilter(maximum, method).fit(values)
    np.testing.assert_array_equal(selector.get_support(indices=True), np.sort(kept))
    np.testing.assert_allclose(
        selector.mean_correlation_, correlation.sum(axis=0) / (values.shape[1] - 1), rtol=1e-10
    )


def test_no_two_features_that_the_correlation_filter_keeps_correlate_and_all_others_do_with_one() -> None:
    values = table(200, 300)[:, :-1]
    selector = CorrelationFilter(0.5).fit(values)
    correlation = np.abs(spearmanr(values).statistic)
    np.fill_diagonal(correlation, 0)
    kept = selector.get_support()
    assert 20 < kept.sum() < 290
    assert correlation[np.ix_(kept, kept)].max() <= 0.5
    assert correlation[np.ix_(~kept, kept)].max(axis=1).min() > 0.5


def test_of_equal_features_the_first_is_kept() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(50, 40))
    copies = np.hstack([values, -values, values**3])
    assert np.all(CorrelationFilter(0.99).fit(copies).get_support(indices=True) < 40)
    y = outcome("binary", values[:, 3])
    assert UnivariateFDR(minimum=1, maximum=1).fit(copies, y).get_support(indices=True)[0] < 40
    chosen = MRMR(3).fit(np.hstack([values, 2 * values]), y).ranking_
    assert chosen[0] < 40


@pytest.mark.parametrize("kind", ["binary", "multiclass", "continuous"])
def test_p_values_of_ranks_are_those_of_scipy(kind: str) -> None:
    values = table()
    y = outcome(kind, np.log(values[:, 0]))
    found = UnivariateFDR(kind).fit(values, y).p_values_
    varying = values[:, :-1].T
    if kind == "continuous":
        expected = [spearmanr(x, y).pvalue for x in varying]
    elif kind == "binary":
        expected = [
            mannwhitneyu(x[y == 0], x[y == 1], use_continuity=False, method="asymptotic").pvalue
            for x in varying
        ]
    else:
        expected = [kruskal(*(x[y == label] for label in range(3))).pvalue for x in varying]
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-9)
    assert found[-1] == 1


@pytest.mark.parametrize("kind", ["binary", "multiclass", "continuous"])
def test_p_values_of_values_are_those_of_scipy(kind: str) -> None:
    values = table()
    y = outcome(kind, values[:, 0])
    found = UnivariateFDR(test="t").fit(values, y).p_values_
    varying = values[:, :-1].T
    if kind == "continuous":
        expected = [pearsonr(x, y).pvalue for x in varying]
    elif kind == "binary":
        expected = [ttest_ind(x[y == 0], x[y == 1]).pvalue for x in varying]
    else:
        expected = [f_oneway(*(x[y == label] for label in range(3))).pvalue for x in varying]
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-9)
    assert found[-1] == 1


@pytest.mark.parametrize("test", ["rank", "t"])
def test_p_values_of_survival_are_those_of_a_score_test_event_by_event(test: Any) -> None:
    values = table()
    y = outcome("survival", np.log(values[:, 0]))
    assert len(np.unique(y["time"])) < len(y) - 10
    compared = rankdata(values, axis=0) if test == "rank" else values
    expected = [chi2.sf(score_test(x, y["event"], y["time"]), 1) for x in compared.T]
    found = UnivariateFDR(test=test).fit(values, y).p_values_
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_the_score_test_agrees_with_the_wald_test_of_a_cox_model_of_scikit_survival() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(600, 4))
    y = Surv.from_arrays(rng.random(600) < 0.7, rng.exponential(size=600) * np.exp(-0.15 * values[:, 0]))
    found = chi2.isf(UnivariateFDR(test="t").fit(values, y).p_values_, 1)
    for x, chi_squared in zip(values.T, found, strict=True):
        coefficient = CoxPHSurvivalAnalysis().fit(x[:, None], y).coef_[0]
        # To first order the estimate is the slope by the information, both without an effect.
        slope = martingale_residuals(read_outcome(y)) @ x
        assert coefficient * slope == pytest.approx(chi_squared, rel=0.1)


def test_martingale_residuals_sum_to_zero_and_are_events_less_hazard() -> None:
    y = outcome("survival", np.zeros(60))
    residuals = martingale_residuals(read_outcome(y))
    hazard = [
        sum(1 / np.sum(y["time"] >= when) for when in y["time"][y["event"]] if when <= last)
        for last in y["time"]
    ]
    np.testing.assert_allclose(residuals, y["event"] - np.array(hazard), atol=1e-12)
    assert residuals.sum() == pytest.approx(0, abs=1e-10)


def test_the_false_discovery_rate_is_that_of_benjamini_and_hochberg() -> None:
    values, y = planted("binary", effect=0.7)
    selector = UnivariateFDR(level=0.1, minimum=0).fit(values, y)
    p = selector.p_values_
    np.testing.assert_allclose(selector.q_values_, false_discovery_control(p))
    # The step-up procedure as published.
    passing = np.flatnonzero(np.sort(p) <= 0.1 * np.arange(1, len(p) + 1) / len(p))
    assert len(passing) > 0
    np.testing.assert_array_equal(selector.get_support(), p <= np.sort(p)[passing[-1]])


def test_numbers_of_features_are_bounded_by_minimum_and_maximum() -> None:
    values, y = planted("continuous")
    order = np.argsort(UnivariateFDR().fit(values, y).p_values_)
    for bounds, expected in (((8, None), 8), ((1, 3), 3), ((8, 2), 2), ((500, None), 200)):
        chosen = UnivariateFDR(minimum=bounds[0], maximum=bounds[1]).fit(values, y).get_support(indices=True)
        assert set(chosen) == set(order[:expected])


@pytest.mark.parametrize("kind", KINDS)
def test_in_pure_noise_the_false_discovery_rate_is_nominal(kind: str) -> None:
    rng = np.random.default_rng(11)
    selector = UnivariateFDR(level=0.2, minimum=0)
    found = []
    for seed in range(300):
        y = outcome(kind, np.zeros(60), seed)
        found.append(selector.fit(rng.normal(size=(60, 40)), y).get_support().any())
    # All discoveries are false: their rate is that of tables with any. Three standard errors are 0.07.
    assert 0.1 < np.mean(found) < 0.27


@pytest.mark.parametrize("kind", KINDS)
def test_mrmr_does_what_a_naive_one_does(kind: str) -> None:
    values = table(features=60)[:, :-1]
    y = outcome(kind, np.log(values[:, 0]) + np.log(values[:, 10]))
    if kind == "survival":
        relevance = np.array([score_test(x, y["event"], y["time"]) for x in values.T])
    else:
        relevance = (f_regression if kind == "continuous" else f_classif)(values, y)[0]
    taken = [int(np.argmax(relevance))]
    while len(taken) < 12:
        quotient = {
            index: relevance[index]
            / np.mean([abs(np.corrcoef(values[:, index], values[:, other])[0, 1]) for other in taken])
            for index in range(values.shape[1])
            if index not in taken
        }
        taken.append(max(quotient, key=lambda index: quotient[index]))
    selector = MRMR(12).fit(values, y)
    np.testing.assert_allclose(selector.relevance_, relevance, rtol=1e-8)
    assert selector.ranking_.tolist() == taken
    np.testing.assert_array_equal(selector.get_support(indices=True), np.sort(taken))


def test_mrmr_leaves_out_copies_and_constants() -> None:
    rng = np.random.default_rng(4)
    signals = rng.normal(size=(400, 3))
    copies = signals[:, [0]] + 0.05 * rng.normal(size=(400, 10))
    values = np.hstack([copies, signals[:, 1:], rng.normal(size=(400, 20)), np.full((400, 1), 0.3)])
    y = outcome("continuous", signals @ [1.5, 1, 1])
    chosen = MRMR(3).fit(values, y).ranking_
    assert chosen[0] < 10
    assert set(chosen[1:]) == {10, 11}
    assert MRMR(100).fit(values, y).get_support().sum() == values.shape[1] - 1


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_continuous_outcome_has_the_elastic_net_of_scikit_learn(l1_ratio: float) -> None:
    values, y = planted("continuous", n=100)
    selector = SelectByPenalty(l1_ratio=l1_ratio, max_features=8).fit(values, y)
    scaled = StandardScaler().fit_transform(values)
    strongest = np.abs(scaled.T @ (y - y.mean())).max() / len(y) / l1_ratio
    counts = []
    for penalty in strongest * np.geomspace(1, 0.01, 100)[1:]:
        model = ElasticNet(alpha=penalty, l1_ratio=l1_ratio, tol=1e-10, max_iter=100000).fit(scaled, y)
        counts.append(np.count_nonzero(model.coef_))
        if counts[-1] > 8:
            break
        last = model.coef_
        if counts[-1] == 8:
            break
    np.testing.assert_allclose(selector.coef_[0], last, atol=1e-4)
    assert set(PLANTED) <= set(selector.get_support(indices=True))


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_binary_outcome_has_the_logistic_regression_of_scikit_learn(l1_ratio: float) -> None:
    values, y = planted("binary", n=100, features=60)
    selector = SelectByPenalty(l1_ratio=l1_ratio, max_features=8).fit(values, y)
    scaled = StandardScaler().fit_transform(values)
    strongest = np.abs(scaled.T @ (y - y.mean())).max() / len(y) / l1_ratio
    # The penalty that was chosen is the one under which the features in the model are at the margin.
    margin = scaled @ selector.coef_[0]
    intercept = min(np.linspace(-2, 2, 4001), key=lambda b: abs(np.sum(y - 1 / (1 + np.exp(-margin - b)))))
    slope = scaled.T @ (y - 1 / (1 + np.exp(-margin - intercept))) / len(y)
    active = selector.get_support()
    coefficients = selector.coef_[0][active]
    penalties = slope[active] / (l1_ratio * np.sign(coefficients) + (1 - l1_ratio) * coefficients)
    penalty = penalties.mean()
    np.testing.assert_allclose(penalties, penalty, rtol=0.02)
    grid = strongest * np.geomspace(1, 0.01, 100)
    assert np.min(np.abs(np.log(grid / penalty))) < 0.005
    model = LogisticRegression(
        C=1 / (penalty * len(y)), l1_ratio=l1_ratio, solver="saga", max_iter=100000, tol=1e-8
    ).fit(scaled, y)
    np.testing.assert_allclose(selector.coef_[0], model.coef_[0], atol=0.005)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_penalty_finds_planted_features_within_its_number(kind: str, l1_ratio: float) -> None:
    values, y = planted(kind)
    chosen = SelectByPenalty(l1_ratio=l1_ratio, max_features=15).fit(values, y).get_support(indices=True)
    assert len(chosen) <= 15
    assert len(set(PLANTED) & set(chosen)) >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_outcomes_that_features_tell_without_error_do_not_stop_a_penalty(kind: str) -> None:
    values = np.random.default_rng(7).normal(size=(20, 2000))
    risk = values[:, 2]
    y = {
        "binary": risk > 0,
        "multiclass": np.digitize(risk, [-0.5, 0.5]),
        "continuous": risk,
        "survival": Surv.from_arrays(np.arange(20) % 2 == 0, np.exp(-3 * risk)),
    }[kind]
    assert SelectByPenalty().fit(values, y).get_support()[2]
    # Halves of ten cases may miss the feature among 2000, but are not to fail.
    assert StabilitySelection(n_subsamples=4, random_state=0).fit(values, y).get_support().any()


def test_of_copies_that_enter_a_model_together_no_more_than_the_number_are_kept() -> None:
    rng = np.random.default_rng(6)
    signal = rng.normal(size=80)
    values = signal[:, None] + 1e-6 * rng.normal(size=(80, 10))
    selector = SelectByPenalty(l1_ratio=0.1, max_features=3).fit(values, outcome("continuous", signal))
    assert selector.get_support().sum() == 3


@pytest.mark.parametrize("kind", KINDS)
def test_few_features_may_all_be_kept(kind: str) -> None:
    values, y = planted(kind, features=6, effect=0.3)
    for selector in (SelectByPenalty(), StabilitySelection(random_state=0, n_subsamples=10)):
        assert 1 <= selector.fit(values, y).get_support().sum() <= 6


@pytest.mark.parametrize("kind", KINDS)
def test_stability_selection_finds_planted_features_and_little_else(kind: str) -> None:
    values, y = planted(kind, effect=1.5)
    selector = StabilitySelection(max_features=10, random_state=0).fit(values, y)
    chosen = selector.get_support(indices=True)
    assert len(set(PLANTED) & set(chosen)) >= 4
    assert len(set(chosen) - set(PLANTED)) <= 1
    np.testing.assert_array_equal(selector.get_support(), selector.frequencies_ >= 0.6)
    assert selector.expected_false_ <= 10**2 / (0.2 * 200)


def test_stability_selection_keeps_few_features_of_pure_noise() -> None:
    rng = np.random.default_rng(8)
    passing = []
    for seed in range(8):
        selector = StabilitySelection(max_features=10, random_state=seed, minimum=2)
        selector.fit(rng.normal(size=(80, 200)), outcome("binary", np.zeros(80), seed))
        passing.append(np.sum(selector.frequencies_ >= 0.6))
        assert selector.get_support().sum() == max(2, passing[-1])
        assert np.all(selector.frequencies_[selector.get_support()] >= np.sort(selector.frequencies_)[-2])
    assert np.mean(passing) <= 10**2 / (0.2 * 200)


def test_stability_selection_goes_on_where_half_the_cases_lack_a_class() -> None:
    values = table(30)
    y = np.r_[np.zeros(15, int), np.ones(14, int), 2]
    assert StabilitySelection(random_state=0, n_subsamples=4).fit(values, y).get_support().any()


@pytest.mark.parametrize("kind", KINDS)
def test_boruta_finds_planted_features_and_little_else(kind: str) -> None:
    values, y = planted(kind, n=300, features=40, effect=2)
    selector = Boruta(n_estimators=50, random_state=0).fit(values, y)
    chosen = selector.get_support(indices=True)
    assert len(set(PLANTED) & set(chosen)) >= 3
    assert len(set(chosen) - set(PLANTED)) <= 1


def test_boruta_confirms_nothing_in_pure_noise_and_keeps_the_best() -> None:
    rng = np.random.default_rng(9)
    confirmed = 0
    for seed in range(4):
        selector = Boruta(n_estimators=20, random_state=seed, minimum=2)
        selector.fit(rng.normal(size=(60, 20)), outcome("binary", np.zeros(60), seed))
        confirmed += selector.confirmed_.sum()
        assert selector.get_support().sum() == 2
    assert confirmed <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "selector",
    [
        NearZeroVariance(),
        CorrelationFilter(0.4),
        UnivariateFDR(minimum=7),
        UnivariateFDR(test="t", minimum=7),
        MRMR(8),
        SelectByPenalty(max_features=8),
        StabilitySelection(n_subsamples=6, threshold=0.5, random_state=0),
        Boruta(n_estimators=10, max_iter=8, random_state=0, minimum=6),
    ],
    ids=lambda selector: type(selector).__name__,
)
def test_a_choice_depends_neither_on_the_order_of_rows_nor_of_columns(selector: Any, kind: str) -> None:
    values = table()
    y = outcome(kind, np.log(values[:, 0]) + np.log(values[:, 12]))
    expected = clone(selector).fit(values, y).get_support()
    np.testing.assert_array_equal(clone(selector).fit(values, y).get_support(), expected)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(values.shape[0]), rng.permutation(values.shape[1])
    moved = clone(selector).fit(values[np.ix_(rows, columns)], y[rows]).get_support()
    np.testing.assert_array_equal(moved, expected[columns])


def test_selectors_work_in_a_pipeline_and_name_their_features() -> None:
    values, y = planted("survival")
    selection = make_pipeline(
        NearZeroVariance(), CorrelationFilter(), UnivariateFDR(maximum=50), SelectByPenalty(max_features=6)
    )
    reduced = selection.fit_transform(values, y)
    names = selection.get_feature_names_out([f"feature{index}" for index in range(200)])
    assert reduced.shape == (len(values), len(names))
    for column, name in zip(reduced.T, names, strict=True):
        np.testing.assert_array_equal(column, values[:, int(name.removeprefix("feature"))])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "selector",
    [NearZeroVariance(), CorrelationFilter(), UnivariateFDR(), UnivariateFDR(test="t"), MRMR()],
    ids=lambda selector: type(selector).__name__,
)
def test_a_filter_of_two_thousand_features_takes_less_than_a_second(selector: Any, kind: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 2000)) + rng.normal(size=(200, 1)) * rng.uniform(0, 4, 2000)
    y = outcome(kind, values[:, 0])
    start = time.process_time()
    selector.fit(values, y)
    assert time.process_time() - start < 1


@parametrize_with_checks(
    [
        NearZeroVariance(),
        CorrelationFilter(),
        UnivariateFDR(),
        MRMR(),
        SelectByPenalty(),
        StabilitySelection(n_subsamples=2, max_features=2),
        Boruta(n_estimators=5, max_iter=3),
    ]
)
def test_selectors_are_estimators_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
