"""Explanation of models against closed forms, enumeration of coalitions, and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import ks_2samp, spearmanr
from sklearn import inspection
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

from voxelome.modelling.clusters import correlation_clusters
from voxelome.modelling.comparison import corrected_t_test
from voxelome.modelling.explain import partial_dependence, permuted_predictions, shapley_values
from voxelome.modelling.resampling import Estimate

Predict = Callable[[np.ndarray], np.ndarray]


def linear(coefficient: np.ndarray) -> Predict:
    return lambda values: values @ coefficient


def one_by_one(features: int) -> list[np.ndarray]:
    return [np.array([column]) for column in range(features)]


def with_twins(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Give a feature with five noisy twins, ten of noise, and an outcome that the first has a part in."""
    signal = rng.normal(size=(n, 1))
    twins = np.hstack([signal, signal + 0.3 * rng.normal(size=(n, 5))])
    return np.hstack([twins, rng.normal(size=(n, 10))]), signal[:, 0] + 0.3 * rng.normal(size=n)


def drops(
    predict: Predict, values: np.ndarray, y: np.ndarray, labels: np.ndarray, repeats: int
) -> np.ndarray:
    """Give by how much the squared error rises, shape (n_clusters, repeats)."""
    permuted = permuted_predictions(predict, values, labels, repeats, seed=0)
    return ((permuted - y) ** 2).mean(axis=2) - np.mean((predict(values) - y) ** 2)


def over_folds(values: np.ndarray, y: np.ndarray, labels: np.ndarray, folds: int = 5) -> list[Estimate]:
    """Give the importance of each cluster over folds, as the corrected resampled t-test has it."""
    found, part = [], np.arange(len(y)) % folds
    for fold in range(folds):
        train, test = part != fold, part == fold
        model = Ridge(alpha=5.0).fit(values[train], y[train])
        found.append(drops(model.predict, values[test], y[test], labels, 5).mean(axis=1))
    each, nothing = np.array(found).T, np.zeros(folds)
    return [corrected_t_test(drop, nothing, folds - 1, 1).difference for drop in each]


def enumerated(predict: Predict, case: np.ndarray, background: np.ndarray, players: list[np.ndarray]) -> list:
    """Give Shapley values by their definition, from all sets of players."""

    def worth(inside: tuple[int, ...]) -> float:
        mixed = background.copy()
        for player in inside:
            mixed[:, players[player]] = case[players[player]]
        return float(predict(mixed).mean())

    found = []
    for player in range(len(players)):
        others = [other for other in range(len(players)) if other != player]
        total = 0.0
        for size in range(len(players)):
            for inside in combinations(others, size):
                gain = worth((*inside, player)) - worth(inside)
                total += gain / (len(players) * comb(len(players) - 1, size))
        found.append(total)
    return found


def test_a_feature_and_its_five_twins_are_one_cluster() -> None:
    values, _ = with_twins(np.random.default_rng(0), 200)
    values[:, 2] *= -1
    found = correlation_clusters(values)
    assert found.labels.tolist() == [0] * 6 + list(range(1, 11))
    assert found.medoids[0] == 0
    assert found.medoids[1:].tolist() == list(range(6, 16))


def test_features_of_one_cluster_correlate_on_average_and_clusters_do_not() -> None:
    rng = np.random.default_rng(1)
    values = np.exp(np.repeat(rng.normal(size=(80, 8)), 4, axis=1) + rng.normal(size=(80, 32)))
    labels, _ = correlation_clusters(values, maximum=0.4)
    alike = np.abs(spearmanr(values).statistic)
    clusters = range(labels.max() + 1)
    between = [alike[np.ix_(labels == a, labels == b)].mean() for a in clusters for b in clusters if a < b]
    assert 1 < len(clusters) < 32
    assert max(between) < 0.4
    for cluster in clusters:
        inside = alike[np.ix_(labels == cluster, labels == cluster)]
        n = len(inside)
        assert n == 1 or (inside.sum() - n) / (n * (n - 1)) > 0.4


def test_clusters_depend_neither_on_the_order_of_cases_nor_on_the_unit() -> None:
    rng = np.random.default_rng(2)
    values = np.round(np.repeat(rng.normal(size=(60, 10)), 6, axis=1) + rng.normal(size=(60, 60)), 1)
    values[rng.random(values.shape) < 0.05] = np.nan
    expected = correlation_clusters(values)
    for changed in (values[rng.permutation(60)], 3 * values + 1):
        found = correlation_clusters(changed)
        assert found.labels.tolist() == expected.labels.tolist()
        assert found.medoids.tolist() == expected.medoids.tolist()


def test_there_are_no_more_clusters_than_asked_for() -> None:
    values = np.random.default_rng(3).normal(size=(50, 90))
    labels, medoids = correlation_clusters(values, most=12)
    assert labels.max() + 1 == len(medoids) <= 12
    assert labels[medoids].tolist() == list(range(len(medoids)))


def test_a_constant_feature_is_a_cluster_of_its_own() -> None:
    values, _ = with_twins(np.random.default_rng(4), 60)
    values[:, 9] = 7.0
    labels, _ = correlation_clusters(values)
    assert np.count_nonzero(labels == labels[9]) == 1
    assert correlation_clusters(values[:, :1]).labels.tolist() == [0]


def test_permuting_a_linear_model_costs_twice_the_variance_that_it_uses() -> None:
    rng = np.random.default_rng(5)
    values, coefficient = rng.normal(size=(400, 3)) * [1.0, 2.0, 1.0], np.array([1.0, 0.5, 0.0])
    y = values @ coefficient
    found = drops(linear(coefficient), values, y, np.arange(3), 200)
    error = found.std(axis=1, ddof=1) / np.sqrt(200)
    assert np.all(np.abs(found.mean(axis=1) - 2 * coefficient**2 * values.var(axis=0)) <= 4 * error)
    together = drops(linear(coefficient), values, y, np.zeros(3, dtype=int), 200)
    assert together.mean() == pytest.approx(2 * y.var(), rel=0.02)


def test_permutation_of_single_features_has_the_distribution_of_scikit_learns() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(60, 4))
    y = values[:, 0] + 0.5 * values[:, 1] ** 2 + 0.2 * rng.normal(size=60)
    model = RandomForestRegressor(10, random_state=0).fit(values[:40], y[:40])
    ours = drops(model.predict, values[40:], y[40:], np.arange(4), 100)
    theirs = inspection.permutation_importance(
        model, values[40:], y[40:], scoring="neg_mean_squared_error", n_repeats=100, random_state=1
    ).importances
    for mine, other in zip(ours, theirs, strict=True):
        assert ks_2samp(mine, other).pvalue > 0.01


def test_a_cluster_of_twins_has_an_importance_that_none_of_them_has_alone() -> None:
    values, y = with_twins(np.random.default_rng(7), 400)
    labels, _ = correlation_clusters(values)
    together, alone = over_folds(values, y, labels), over_folds(values, y, np.arange(16))
    # Twice the variance is what a model that holds the signal loses without it.
    assert 0 < together[0].low < 2 * values[:, 0].var() < together[0].high
    assert max(single.value for single in alone[1:6]) < 0.1 * together[0].value
    assert alone[0].value < 0.5 * together[0].value


def test_the_interval_of_noise_holds_0_nearly_always() -> None:
    held = [
        each.low <= 0 <= each.high
        for seed in range(30)
        for each in over_folds(*with_twins(np.random.default_rng(seed), 60), np.arange(16))[6:]
    ]
    assert np.mean(held) >= 0.93  # 0.95, of 300 that hang together in tens


def test_permuted_predictions_of_several_classes_keep_the_classes() -> None:
    values = np.random.default_rng(8).normal(size=(7, 4))
    found = permuted_predictions(lambda given: given[:, :3], values, np.array([0, 1, 1, 2]), 2, 0)
    assert found.shape == (3, 2, 7, 3)
    np.testing.assert_array_equal(found[2], np.broadcast_to(values[:, :3], (2, 7, 3)))
    # What is in one cluster is dealt out together.
    pairs = {tuple(row) for row in found[1, 0, :, 1:]}
    assert pairs == {tuple(row) for row in values[:, 1:3]}


def test_contributions_to_a_linear_model_are_its_terms_and_those_of_clusters_their_sums() -> None:
    rng = np.random.default_rng(9)
    values, background, coefficient = rng.normal(size=(6, 5)), rng.normal(size=(24, 5)), np.arange(5) - 1.0
    terms = coefficient * (values - background.mean(axis=0))
    alone = shapley_values(linear(coefficient), values, background, one_by_one(5), permutations=24)
    np.testing.assert_allclose(alone.values, terms, atol=1e-12)
    players = [np.array([0, 3]), np.array([1, 2, 4])]
    together = shapley_values(linear(coefficient), values, background, players, permutations=48)
    expected = np.stack([terms[:, player].sum(axis=1) for player in players], axis=1)
    np.testing.assert_allclose(together.values, expected, atol=1e-12)


def test_contributions_to_a_product_of_two_are_those_of_all_coalitions() -> None:
    rng = np.random.default_rng(10)
    values, background = rng.normal(size=(4, 3)), rng.normal(size=(16, 3))

    def product(given: np.ndarray) -> np.ndarray:
        return given[:, 0] * given[:, 1] + given[:, 2]

    # An order and its reverse together are exact where no more than two features interact.
    found = shapley_values(product, values, background, one_by_one(3), permutations=16)
    expected = [enumerated(product, case, background, one_by_one(3)) for case in values]
    np.testing.assert_allclose(found.values, expected, atol=1e-12)


def test_contributions_of_a_forest_approach_those_of_all_coalitions_as_their_error_says() -> None:
    rng = np.random.default_rng(11)
    values = rng.normal(size=(60, 8))
    y = values[:, 0] * values[:, 2] + values[:, 4] + np.maximum(values[:, 6], 0)
    model, players = RandomForestRegressor(10, random_state=0).fit(values, y), np.split(np.arange(8), 4)
    few, many = (
        shapley_values(model.predict, values[:5], values, players, permutations) for permutations in (60, 600)
    )
    expected = np.array([enumerated(model.predict, case, values, players) for case in values[:5]])
    for found in (few, many):
        assert np.all(np.abs(found.values - expected) <= 4 * found.error)
    assert np.abs(many.values - expected).mean() < 0.5 * np.abs(few.values - expected).mean()
    assert many.error.mean() == pytest.approx(few.error.mean() / np.sqrt(10), rel=0.2)


@pytest.mark.parametrize("permutations", [7, 24, 100])
def test_contributions_sum_to_what_sets_the_prediction_apart_from_the_mean(permutations: int) -> None:
    rng = np.random.default_rng(12)
    values, background = rng.normal(size=(9, 12)), rng.normal(size=(24, 12))

    def predict(given: np.ndarray) -> np.ndarray:
        return np.tanh(given[:, :4].prod(axis=1) + given[:, 5])

    found = shapley_values(predict, values, background, np.split(np.arange(12), 4), permutations)
    np.testing.assert_allclose(found.expected, predict(background).mean())
    np.testing.assert_allclose(found.values.sum(axis=1), predict(values) - found.expected, atol=1e-12)


def test_a_dependence_on_part_of_a_sum_is_that_part() -> None:
    values = np.random.default_rng(13).normal(size=(300, 3))
    values[::7, 0] = np.nan

    def additive(given: np.ndarray) -> np.ndarray:
        return np.sin(given[:, 0]) + np.abs(given[:, 1])

    found = partial_dependence(additive, values, 0)
    ends = np.nanquantile(values[:, 0], [0.05, 0.95])
    np.testing.assert_allclose(found.grid[[0, -1]], ends, atol=0.05)
    assert len(found.grid) == 20
    np.testing.assert_allclose(found.mean, np.sin(found.grid) + np.abs(values[:, 1]).mean(), atol=1e-12)
    # Curves of single cases are parallel, so that about their own means they are one.
    np.testing.assert_allclose(found.low, found.mean, atol=1e-12)
    np.testing.assert_allclose(found.high, found.mean, atol=1e-12)


def test_the_band_of_a_dependence_shows_that_cases_differ() -> None:
    values = np.random.default_rng(14).normal(size=(400, 2))
    found = partial_dependence(lambda given: given[:, 0] * np.sign(given[:, 1]), values, 0)
    reach = np.abs(found.grid - found.grid.mean())
    np.testing.assert_allclose(found.high - found.low, 2 * reach, atol=1e-12)


def test_a_dependence_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(15)
    values = rng.normal(size=(80, 4))
    model = RandomForestRegressor(20, random_state=0).fit(values, values[:, 0] ** 2 + values[:, 1])
    found = partial_dependence(model.predict, values, 0)
    theirs = inspection.partial_dependence(
        model, values, [0], custom_values={0: found.grid}, kind="both", method="brute"
    )
    np.testing.assert_allclose(found.mean, theirs["average"][0], atol=1e-12)
    single = theirs["individual"][0]
    centred = single - single.mean(axis=1, keepdims=True) + single.mean()
    np.testing.assert_allclose(
        [found.low, found.high], np.quantile(centred, [0.25, 0.75], axis=0), atol=1e-12
    )


def test_everything_comes_out_alike_however_many_copies_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(16)
    values, background = rng.normal(size=(6, 8)), rng.normal(size=(10, 8))
    sizes: list[int] = []

    def predict(given: np.ndarray) -> np.ndarray:
        sizes.append(given.size)
        return np.tanh(given[:, :3].sum(axis=1) + given[:, 5])

    def everything() -> list[np.ndarray]:
        parts = shapley_values(predict, values, background, np.split(np.arange(8), 4), 10)
        permuted = permuted_predictions(predict, values, np.arange(8) // 2, 3, 0)
        return [permuted, parts.values, parts.error, *partial_dependence(predict, values, 0)]

    expected, few = everything(), len(sizes)
    sizes.clear()
    monkeypatch.setattr("voxelome.modelling.explain._AT_A_TIME", 100)
    for ours, other in zip(everything(), expected, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-12)
    assert max(sizes) <= 100
    assert len(sizes) > 10 * few


def test_a_player_that_the_model_does_not_use_adds_nothing() -> None:
    rng = np.random.default_rng(17)
    values, background = rng.normal(size=(6, 5)), rng.normal(size=(80, 5))
    players = [np.array([column]) for column in range(5)]
    found = shapley_values(lambda given: given[:, 0] * given[:, 1], values, background, players, 24)
    assert not np.any(found.values[:, 2:])


def test_a_dependence_asks_only_for_values_that_occur() -> None:
    values = (np.random.default_rng(18).random((37, 1)) < 0.5).astype(float)
    assert partial_dependence(lambda given: given[:, 0], values, 0).grid.tolist() == [0.0, 1.0]


def test_a_feature_that_nobody_has_is_a_cluster_of_its_own() -> None:
    values = np.repeat(np.random.default_rng(19).normal(size=(40, 1)), 4, axis=1)
    values[:, 2] = np.nan
    assert correlation_clusters(values).labels.tolist() == [0, 0, 1, 0]
