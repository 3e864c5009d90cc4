"""Stacks of models: their weights against conditions of an optimum, other solvers, and known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from voxelome.modelling.association import Outcome
from voxelome.modelling.cox import partial_log_likelihood
from voxelome.modelling.ordinal import OrdinalClassifier
from voxelome.modelling.problems import predicted
from voxelome.modelling.stacking import (
    StackedClassifier,
    StackedRegressor,
    StackedRisk,
    balanced_splits,
    convex_weights,
    log_loss_of,
    partial_likelihood_of,
    squared_error_of,
    stacked,
)
from voxelome.modelling.survival import CoxElasticNet
from voxelome.modelling.survival_outcome import survival_outcome

KINDS = ["binary", "multiclass", "ordinal", "continuous", "survival"]


def outcome(kind: str, signal: np.ndarray, rng: np.random.Generator) -> Any:
    """Return an outcome of a kind that follows the signal, with noise."""
    noisy = signal + rng.logistic(scale=0.4, size=len(signal))
    if kind == "continuous":
        return noisy
    if kind == "survival":
        time = rng.exponential(size=len(signal)) * np.exp(-1.5 * signal)
        end = rng.exponential(2.0, size=len(signal))
        return survival_outcome(time <= end, np.minimum(time, end))
    return np.digitize(noisy, [0.0] if kind == "binary" else [-0.5, 0.5])


def of_column(kind: str, column: int) -> Any:
    """Return a model that sees one column."""
    model: Any = LogisticRegression()
    if kind == "continuous":
        model = LinearRegression()
    elif kind == "survival":
        return _RiskOfColumn(column)
    elif kind == "ordinal":
        model = OrdinalClassifier(model)
    return make_pipeline(ColumnTransformer([("one", "passthrough", [column])]), model)


class _RiskOfColumn(BaseEstimator):
    """A risk in a unit of its own."""

    def __init__(self, column: int) -> None:
        self.column = column

    def fit(self, X: Any, y: Any) -> _RiskOfColumn:
        self.sign_ = np.sign(np.corrcoef(X[y["event"], self.column], y["time"][y["event"]])[0, 1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        return -self.sign_ * X[:, self.column] * 10.0**self.column + self.column


def members_of(kind: str, count: int) -> list[tuple[str, Any]]:
    return [(f"of column {column}", of_column(kind, column)) for column in range(count)]


@parametrize_with_checks(
    [
        StackedClassifier([("ridge", LogisticRegression()), ("bayes", GaussianNB())], folds=3),
        StackedRegressor([("strong", Ridge(100.0)), ("weak", Ridge(0.1))], folds=3),
    ]
)
def test_stacks_are_estimators_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_informative_member_gets_the_weight(kind: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(240, 4))
    model = stacked(kind, members_of(kind, 4), 5, 0).fit(values, outcome(kind, values[:, 2], rng))
    assert model.weights_.sum() == pytest.approx(1)
    assert (model.weights_ >= 0).all()
    assert model.weights_[2] > 0.85
    new = rng.normal(size=(50, 4))
    found, alone = predicted(kind, model, new), predicted(kind, model.estimators_[2], new)
    assert np.corrcoef(np.ravel(found), np.ravel(alone))[0, 1] > 0.97


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_know_different_halves_share_the_weight(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(300, 3))
    y = outcome(kind, (values[:, 0] + values[:, 1]) / np.sqrt(2), rng)
    weights = stacked(kind, members_of(kind, 3)).fit(values, y).weights_
    assert weights[:2] == pytest.approx([0.5, 0.5], abs=0.2)
    assert weights[2] < 0.15


def test_a_stack_is_at_least_about_as_good_as_its_best_member() -> None:
    rng = np.random.default_rng(2)
    members = [("linear", Ridge(1.0)), ("near", KNeighborsRegressor(10))]
    for curve in (lambda x: x, lambda x: np.sin(3 * x)):
        values = rng.uniform(-2, 2, size=(200, 1))
        new = np.linspace(-2, 2, 400)[:, None]
        model = StackedRegressor(members).fit(values, curve(values[:, 0]) + 0.3 * rng.normal(size=200))
        truth = curve(new[:, 0])
        errors = [np.mean((each.predict(new) - truth) ** 2) for each in (model, *model.estimators_)]
        assert errors[0] < 1.1 * min(errors[1:]) + 1e-3


@pytest.mark.parametrize("kind", ["binary", "continuous", "survival"])
def test_on_noise_no_member_dominates(kind: str) -> None:
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(60, 3))
        y = outcome(kind, rng.normal(size=60), rng)
        found.append(stacked(kind, members_of(kind, 3), 3, seed).fit(values, y).weights_)
    # Chance prefers one in each table, but none is preferred over tables.
    assert np.mean(found, axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.12)
    assert np.mean(np.max(found, axis=1)) < 0.9


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from(["log loss", "squares", "partial"]))
def test_no_move_of_weight_makes_the_objective_smaller(seed: int, members: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    n = 40
    if name == "log loss":
        objective = log_loss_of(rng.beta(2, 1 + rng.random(members), size=(n, members)))
    elif name == "squares":
        truth, noise = rng.normal(size=n), rng.normal(size=(n, members))
        objective = squared_error_of(truth, rng.random(members) * truth[:, None] + noise)
    else:
        event, time = rng.random(n) < 0.6, rng.integers(1, 20, n)
        objective = partial_likelihood_of(event, time, rng.normal(size=(n, members)))
    weights = convex_weights([objective], members)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    value, slope = objective(weights)
    # The objective is convex: it lies no further below than the slope towards the best corner tells.
    assert slope @ weights - slope.min() < 2e-4 * (1 + abs(value))
    steps = 1e-6 * np.eye(members)
    numeric = [(objective(weights + step)[0] - objective(weights - step)[0]) / 2e-6 for step in steps]
    assert slope == pytest.approx(np.array(numeric), abs=1e-4)


def test_weights_for_squares_are_those_of_non_negative_least_squares() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=200)
    found = truth[:, None] * [0.9, 0.5, 0.0] + rng.normal(size=(200, 3)) * [0.5, 0.8, 1.0]
    # A row with a large weight makes the sum 1.
    heavy = 1e4 * np.ones((1, 3))
    expected, _ = nnls(np.vstack([found, heavy]), np.append(truth, heavy[0, 0]))
    assert convex_weights([squared_error_of(truth, found)], 3) == pytest.approx(expected, abs=1e-4)


def test_the_partial_likelihood_is_that_of_cox() -> None:
    rng = np.random.default_rng(4)
    event, time, risk = rng.random(50) < 0.5, rng.integers(1, 15, 50).astype(float), rng.normal(size=(50, 3))
    weights = np.array([0.2, 0.5, 0.3])
    expected = partial_log_likelihood((risk @ weights)[:, None], Outcome("survival", time, event))[0]
    assert partial_likelihood_of(event, time, risk)(weights)[0] == pytest.approx(-expected, abs=1e-10)


def test_members_that_are_the_same_share_alike() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(80, 2))
    y = outcome("binary", values[:, 0], rng)
    twins = [("a", LogisticRegression()), ("b", LogisticRegression())]
    assert StackedClassifier(twins).fit(values, y).weights_ == pytest.approx([0.5, 0.5], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_group_share_a_fold_and_the_order_of_rows_does_not_matter(kind: str) -> None:
    rng = np.random.default_rng(6)
    values = np.repeat(rng.normal(size=(60, 3)), 2, axis=0) + 0.1 * rng.normal(size=(120, 3))
    y = outcome(kind, values[::2, 0], rng).repeat(2)
    if kind == "continuous":
        y = y + np.tile([0.0, 1e-3], 60)
    groups = np.repeat([f"sub-{number:03d}" for number in range(60)], 2)
    order = rng.permutation(120)
    model = stacked(kind, members_of(kind, 3))
    straight = model.fit(values, y, groups=groups).weights_.copy()
    mixed = model.fit(values[order], y[order], groups=groups[order]).weights_
    assert mixed == pytest.approx(straight, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_folds_keep_groups_whole_and_classes_in_proportion(seed: int) -> None:
    groups = np.repeat(np.arange(50), 3)
    strata = (groups % 5 == 0).astype(int)
    splits = list(balanced_splits(strata, groups, 5, seed))
    assert len(splits) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in splits])), np.arange(150))
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])
        assert strata[test].mean() == pytest.approx(0.2)


def test_copies_of_a_participant_do_not_favour_the_member_that_remembers() -> None:
    rng = np.random.default_rng(7)
    values = np.repeat(rng.normal(size=(40, 2)), 3, axis=0)
    y = outcome("binary", 0.7 * values[::3, 0], rng).repeat(3)
    members = [("remembers", RandomForestClassifier(10, random_state=0)), ("learns", LogisticRegression())]
    blind = StackedClassifier(members).fit(values, y)
    aware = StackedClassifier(members).fit(values, y, groups=np.repeat(np.arange(40), 3))
    assert blind.weights_[0] > 0.9
    assert aware.weights_[0] < 0.5


def test_a_class_too_rare_to_learn_in_folds_leaves_the_weights_equal() -> None:
    rng = np.random.default_rng(8)
    values, y = rng.normal(size=(12, 2)), (np.arange(12) == 3).astype(int)
    model = StackedClassifier([("a", LogisticRegression()), ("b", GaussianNB())]).fit(values, y)
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5])
    expected = np.mean([each.predict_proba(values) for each in model.estimators_], axis=0)
    assert model.predict_proba(values) == pytest.approx(expected)


def test_the_stack_of_risks_does_not_depend_on_their_units_and_tells_survival() -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=(100, 3))
    y = outcome("survival", values[:, 0], rng)
    members = [("cox", CoxElasticNet()), ("loose", CoxElasticNet(seed=1))]
    model = StackedRisk(members, folds=3).fit(values, y)
    risk, survival = model.predict(values), model.predict_survival(values, [0.1, 0.5, 1.0])
    assert survival.shape == (100, 3)
    assert (np.diff(survival, axis=1) <= 0).all()
    assert np.corrcoef(risk, survival[:, 1])[0, 1] < -0.9
    assert risk.mean() == pytest.approx(0, abs=1e-9)


def test_columns_and_classes_keep_their_names() -> None:
    rng = np.random.default_rng(10)
    table = pd.DataFrame(rng.normal(size=(60, 2)), columns=["volume", "age"])
    labels = np.array(["low", "mid", "top"])[outcome("ordinal", table["age"].to_numpy(), rng)]
    model = StackedClassifier([("a", LogisticRegression()), ("b", GaussianNB())]).fit(table, labels)
    assert model.feature_names_in_.tolist() == ["volume", "age"]
    assert model.classes_.tolist() == ["low", "mid", "top"]
    assert model.predict_proba(table).sum(axis=1) == pytest.approx(np.ones(60))
    assert (model.predict(table) == labels).mean() > 0.6


def test_what_cannot_be_stacked_is_refused() -> None:
    values, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    with pytest.raises(ValueError, match="at least one model"):
        StackedClassifier([]).fit(values, y)
    pair = [("a", GaussianNB()), ("b", LogisticRegression())]
    with pytest.raises(ValueError, match="folds is 1"):
        StackedClassifier(pair, folds=1).fit(values, y)
    with pytest.raises(ValueError, match="3 groups for 10 rows"):
        StackedClassifier(pair).fit(values, y, groups=[1, 2, 3])
