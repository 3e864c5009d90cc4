"""Balanced classes: what is drawn, and that probabilities stay true, by simulation and by closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from voxelome.errors import DataError
from voxelome.modelling.balance import HOWS, Balanced, oversampled, smote, undersampled, with_prevalence
from voxelome.modelling.metrics import auc
from voxelome.modelling.ordinal import OrdinalClassifier


def rare(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, classes of which about one in ten is positive, and the true probabilities."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 2))
    probability = expit(-2.8 + 1.5 * values[:, 0])
    return values, (rng.random(n) < probability).astype(int), probability


def three(seed: int, n: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Return features and three classes of unequal size."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(3, n, p=[0.7, 0.22, 0.08])
    return rng.normal(size=(n, 2)) + 1.2 * np.array([[0, 0], [1, 0], [0, 1]])[classes], classes


@parametrize_with_checks([Balanced(LogisticRegression(), how) for how in HOWS])
def test_balanced_models_are_estimators_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("how", HOWS)
def test_probabilities_are_right_on_average_in_cases_not_seen(how: str) -> None:
    values, classes, _ = rare(0, 3000)
    new, truth, _ = rare(1, 20_000)
    model = Balanced(LogisticRegression(C=100), how).fit(values, classes)
    assert model.predict_proba(new)[:, 1].mean() == pytest.approx(truth.mean(), abs=0.015)
    uncorrected = Balanced(LogisticRegression(C=100), how, correct_prevalence=False).fit(values, classes)
    assert uncorrected.predict_proba(new)[:, 1].mean() > 3 * truth.mean()


@pytest.mark.parametrize("how", HOWS)
def test_calibration_in_the_large_is_kept_over_many_tables(how: str) -> None:
    excess = []
    for seed in range(40):
        values, classes, _ = rare(seed, 300)
        found = Balanced(LogisticRegression(), how, seed).fit(values, classes).predict_proba(values)[:, 1]
        excess.append(found.mean() - classes.mean())
    assert abs(np.mean(excess)) < 0.01


@pytest.mark.parametrize("how", HOWS)
def test_the_shares_of_several_classes_are_kept(how: str) -> None:
    values, classes = three(0)
    new, truth = three(1, 20_000)
    model = Balanced(LogisticRegression(), how).fit(values, classes)
    shares = model.predict_proba(new).mean(axis=0)
    assert shares == pytest.approx(np.bincount(truth) / len(truth), abs=0.03)
    assert model.fitted_to_ == pytest.approx(np.full(3, 1 / 3))
    assert model.prevalence_ == pytest.approx(np.bincount(classes) / len(classes))


@pytest.mark.parametrize("how", HOWS)
def test_probabilities_of_a_logistic_model_are_near_the_true_ones(how: str) -> None:
    values, classes, _ = rare(3, 6000)
    new, _, truth = rare(4, 2000)
    found = Balanced(LogisticRegression(C=100), how).fit(values, classes).predict_proba(new)[:, 1]
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.015


@settings(deadline=None, max_examples=60)
@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_two_classes_are_shifted_in_log_odds_by_a_constant(p: float, fitted: float, true: float) -> None:
    pair = np.array([[1 - p, p]])
    found = with_prevalence(pair, np.array([1 - fitted, fitted]), np.array([1 - true, true]))
    assert logit(found[0, 1]) == pytest.approx(logit(p) - logit(fitted) + logit(true), abs=1e-8)
    assert found.sum() == pytest.approx(1)
    back = with_prevalence(found, np.array([1 - true, true]), np.array([1 - fitted, fitted]))
    assert back == pytest.approx(pair, abs=1e-9)


def test_bayes_rule_with_other_shares_is_followed_exactly() -> None:
    rng = np.random.default_rng(5)
    density = rng.random((20, 4))
    one, other = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))

    def posterior(shares: np.ndarray) -> np.ndarray:
        joint = density * shares
        return joint / joint.sum(axis=1, keepdims=True)

    assert with_prevalence(posterior(one), one, other) == pytest.approx(posterior(other), abs=1e-12)


def test_the_order_of_cases_is_that_of_the_balanced_model() -> None:
    values, classes, _ = rare(6)
    model = Balanced(RandomForestClassifier(20, max_depth=3, random_state=0), "undersample").fit(
        values, classes
    )
    balanced = model.estimator_.predict_proba(values)[:, 1]
    corrected = model.predict_proba(values)[:, 1]
    assert auc(classes == 1, corrected) == pytest.approx(auc(classes == 1, balanced), abs=1e-12)


def test_weights_are_those_that_scikit_learn_calls_balanced() -> None:
    values, classes, _ = rare(7)
    found = Balanced(make_pipeline(StandardScaler(), LogisticRegression())).fit(values, classes)
    expected = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")).fit(
        values, classes
    )
    assert found.estimator_.predict_proba(values) == pytest.approx(expected.predict_proba(values), abs=1e-6)


@pytest.mark.parametrize("model", [KNeighborsClassifier(), OrdinalClassifier(KNeighborsClassifier())])
def test_a_model_that_takes_no_weights_is_named(model: Any) -> None:
    values, classes, _ = rare(7, 100)
    with pytest.raises(DataError, match="KNeighborsClassifier takes no weights"):
        Balanced(make_pipeline(StandardScaler(), model)).fit(values, classes)
    with pytest.raises(ValueError, match="how is 'twice'"):
        Balanced(LogisticRegression(), "twice").fit(values, classes)


def test_ordered_classes_can_be_balanced() -> None:
    values, classes = three(8)
    for how in HOWS:
        model = Balanced(OrdinalClassifier(LogisticRegression()), how).fit(values, classes)
        shares = model.predict_proba(values).mean(axis=0)
        assert shares == pytest.approx(model.prevalence_, abs=0.05)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2), min_size=0, max_size=30), st.integers(0, 99))
def test_samples_have_classes_of_one_size(more: list[int], seed: int) -> None:
    codes = np.array([0, 1, 2, *more])
    counts = np.bincount(codes)
    rng = np.random.default_rng(seed)
    fewer, again = undersampled(codes, rng), oversampled(codes, rng)
    np.testing.assert_array_equal(np.bincount(codes[fewer]), np.full(3, counts.min()))
    assert len(set(fewer)) == len(fewer)
    np.testing.assert_array_equal(np.bincount(codes[again]), np.full(3, counts.max()))
    assert set(again) == set(range(len(codes)))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_made_up_cases_lie_between_a_case_and_one_of_its_five_nearest(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(40, 3)) * [1, 100, 0.01]
    cases = np.sort(rng.choice(40, size, replace=False))
    scaled = (values / values.std(axis=0))[cases]
    made_up = smote(values, cases, 25, rng) / values.std(axis=0)
    distance = np.linalg.norm(scaled[:, None] - scaled, axis=2)
    near = np.argsort(distance, axis=1)[:, 1:6]
    for case in made_up:
        # On the way between two points the distances to both add up to that between them.
        to = np.linalg.norm(scaled - case, axis=1)
        gaps = [to[i] + to[j] - distance[i, j] for i in range(size) for j in near[i]]
        assert min(gaps) < 1e-9


def test_made_up_cases_are_spread_evenly_along_the_way() -> None:
    values = np.array([[0.0], [1.0], [50.0]])
    made_up = smote(values, np.array([0, 1]), 4000, np.random.default_rng(9))
    assert np.quantile(made_up, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.03)


def test_missing_values_and_names_are_not_made_up() -> None:
    rng = np.random.default_rng(10)
    values = np.column_stack([rng.normal(size=30), rng.normal(size=30), rng.integers(1, 4, 30)])
    cases = np.arange(8)
    values[0, 0] = values[20, 1] = np.nan
    made_up = smote(values, cases, 400, rng, nominal=(2,))
    assert set(made_up[:, 2]) <= set(values[cases, 2])
    assert np.isnan(made_up[:, 0]).mean() == pytest.approx(1 / 8, abs=0.05)
    assert not np.isnan(made_up[:, 1]).any()
    empty = smote(np.column_stack([values, np.full(30, np.nan)]), cases, 5, rng)
    assert np.isnan(empty[:, 3]).all()


def test_a_case_alone_is_repeated() -> None:
    values = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(smote(values, np.array([3]), 2, np.random.default_rng(0)), values[[3, 3]])


def test_a_table_keeps_its_names_and_its_missing_values_until_the_model_fills_them() -> None:
    values, classes, _ = rare(11)
    values[::7, 1] = np.nan
    table = pd.DataFrame(values, columns=["volume", "age"])
    model = Balanced(make_pipeline(SimpleImputer(), LogisticRegression()), "smote").fit(table, classes)
    assert model.feature_names_in_.tolist() == ["volume", "age"]
    assert model.estimator_.feature_names_in_.tolist() == ["volume", "age"]
    assert model.predict_proba(table)[:, 1].mean() == pytest.approx(classes.mean(), abs=0.03)


@pytest.mark.parametrize("how", HOWS)
def test_the_same_seed_gives_the_same_model(how: str) -> None:
    values, classes, _ = rare(12)
    one, same, other = (
        Balanced(LogisticRegression(), how, seed).fit(values, classes).coef_ for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (how == "weights") == np.array_equal(one, other)
