"""What models make of clusters of features, against what is known of simple models."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import partial_dependence as partial_dependence_of_sklearn
from sklearn.linear_model import LinearRegression

from tests.numerics.test_modelling import analyse, cohort
from voxelome.modelling.clusters import correlation_clusters
from voxelome.modelling.explain import partial_dependence, permuted_predictions, shapley_values

pytestmark = pytest.mark.usefixtures("few_trees")

SINGLE = [np.array([k]) for k in range(6)]


def table(n: int = 80, features: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, features))


def exact(predict, case: np.ndarray, background: np.ndarray, players: list[np.ndarray]) -> np.ndarray:
    """Give Shapley values by going through all sets of players."""
    count, found = len(players), np.zeros(len(players))

    def worth(members: tuple[int, ...]) -> float:
        mixed = background.copy()
        for k in members:
            mixed[:, players[k]] = case[players[k]]
        return float(np.mean(predict(mixed)))

    for k in range(count):
        others = [j for j in range(count) if j != k]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for members in combinations(others, size):
                found[k] += weight * (worth((*members, k)) - worth(members))
    return found


def test_features_that_say_the_same_whatever_the_sign_are_one_cluster() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 3))
    values = np.c_[base[:, 0], base[:, 1], -(base[:, 0] ** 3), np.exp(base[:, 1]), base[:, 2], base[:, 0]]
    values += 0.05 * rng.normal(size=values.shape) * values.std(axis=0)
    values[3, 2] = np.nan
    found = correlation_clusters(values)
    np.testing.assert_array_equal(found.labels, [0, 1, 0, 1, 2, 0])
    assert [found.labels[k] for k in found.medoids] == [0, 1, 2]
    again = correlation_clusters(values[rng.permutation(60)])
    np.testing.assert_array_equal(again.labels, found.labels)
    np.testing.assert_array_equal(again.medoids, found.medoids)


def test_there_are_no_more_clusters_than_asked_for() -> None:
    found = correlation_clusters(table(40, 90), most=7)
    assert len(found.medoids) == 7
    assert set(found.labels) == set(range(7))


def test_the_contributions_to_a_linear_model_are_known_exactly() -> None:
    values, weights = table(), np.array([1.0, -2.0, 0.5, 0.0, 3.0, 0.1])
    seen, unseen = values[:50], values[50:]
    players = [np.array([0, 1]), np.array([2]), np.array([3, 4, 5])]
    found = shapley_values(lambda given: given @ weights, unseen, seen, players, permutations=50)
    each = weights * (unseen - seen.mean(axis=0))
    expected = np.stack([each[:, player].sum(axis=1) for player in players], axis=1)
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    assert found.expected == pytest.approx(np.mean(seen @ weights))


def test_contributions_are_those_of_all_sets_of_players_and_sum_to_the_prediction() -> None:
    values = table()
    seen, unseen = values[:60], values[60:64]

    def predict(given: np.ndarray) -> np.ndarray:
        return given[:, 0] * given[:, 1] + np.tanh(given[:, 2]) * (given[:, 3] > 0) + given[:, 4]

    found = shapley_values(predict, unseen, seen, SINGLE, permutations=600)
    expected = np.array([exact(predict, case, seen, SINGLE) for case in unseen])
    assert np.max(np.abs(found.values - expected)) < 0.1
    # Of a feature that plays no part nothing is told but rounding.
    assert np.all(np.abs(found.values - expected)[:, :5] < 4.5 * found.error[:, :5] + 1e-9)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.expected, predict(unseen))


def test_columns_of_no_player_stay_what_they_are() -> None:
    values = table()
    unseen = values[50:].copy()
    unseen[:, 5] = 7.0  # such as the site, which no case of the background has

    def predict(given: np.ndarray) -> np.ndarray:
        return np.where(given[:, 5] == 7.0, given[:, 0], 1e6)

    found = shapley_values(predict, unseen, values[:50], SINGLE[:5], 50)
    np.testing.assert_allclose(found.expected, values[:50, 0].mean())
    np.testing.assert_allclose(found.values[:, 0], unseen[:, 0] - values[:50, 0].mean(), atol=1e-12)
    assert not np.any(found.values[:, 1:])


def test_the_error_grows_as_theory_says_where_a_cluster_is_dealt_out_anew() -> None:
    values = table(4000)
    weights = np.array([1.0, 2.0, 0.0, 0.5, 0.0, 0.0])
    truth = values @ weights
    labels = np.array([0, 1, 2, 2, 1, 0])
    found = permuted_predictions(lambda given: given @ weights, values, labels, 5, 0)
    error = ((found - truth) ** 2).mean(axis=(1, 2))
    # Twice the variance of what the cluster adds.
    np.testing.assert_allclose(error, [2 * 1.0, 2 * 4.0, 2 * 0.25], rtol=0.1)


def test_predictions_of_several_classes_are_permuted_as_well() -> None:
    values = table(30)
    found = permuted_predictions(lambda given: given[:, :3], values, np.arange(6), 4, 0)
    assert found.shape == (6, 4, 30, 3)
    np.testing.assert_array_equal(found[5, 0], values[:, :3])
    assert not np.array_equal(found[0, 0], values[:, :3])
    np.testing.assert_array_equal(np.sort(found[0, 0, :, 0]), np.sort(values[:, 0]))


def test_the_dependence_on_a_feature_is_that_of_scikit_learn() -> None:
    values = table(120)
    model = RandomForestRegressor(30, random_state=0).fit(values, values[:, 0] ** 2 + values[:, 1])
    found = partial_dependence(model.predict, values, 0)
    peer = partial_dependence_of_sklearn(
        model, values, [0], custom_values={0: found.grid}, method="brute", kind="average"
    )
    np.testing.assert_allclose(found.mean, peer["average"][0])
    linear = LinearRegression().fit(values, values[:, 1])
    flat = partial_dependence(linear.predict, values, 0)
    assert np.ptp(flat.mean) < 1e-9
    np.testing.assert_allclose(flat.low, flat.high)


def with_twins() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give a planted feature with five noisy twins, and noise."""
    features, people = cohort(n=100, features=30, effect=2.5)
    rng = np.random.default_rng(1)
    first = features["T1w__brain__original__glcm__F000"]
    for number in range(5):
        features[f"T1w__brain__original__glcm__twin{number}"] = first + 0.3 * rng.normal(size=100)
    return features, people


@pytest.mark.parametrize("model", ["ridge_logistic", "extra_trees"])
def test_a_planted_feature_and_its_twins_are_one_cluster_which_alone_matters(model: str) -> None:
    result = analyse(*with_twins(), model=model, repeats=1, explain=True)
    clusters, summary = result.explanation.clusters, result.explanation.summary
    foremost = clusters[clusters["cluster"] == clusters["cluster"].iloc[0]]
    assert len(foremost) == 6
    assert foremost["feature"].str.contains("F000|twin").all()
    assert foremost["representative"].sum() == 1
    assert foremost["low"].iloc[0] > 0
    others = clusters[~clusters["cluster"].isin(foremost["cluster"])]
    assert others["importance"].max() < 0.3 * foremost["importance"].iloc[0]
    assert (others.groupby("cluster")["low"].first() <= 0).mean() > 0.9
    told = summary["foremost"][0]
    assert (told["features"], told["importance"]) == (6, foremost["importance"].iloc[0])
    curve = next(each for each in summary["dependence"] if each["feature"] == told["representative"])
    assert curve["mean"][-1] > curve["mean"][0] + 0.1


def test_contributions_go_with_the_feature_and_sum_to_the_held_out_prediction() -> None:
    result = analyse(*with_twins(), model="ridge_logistic", repeats=1, explain=True)
    table = result.explanation.contributions
    assert set(table["participant_id"]) == set(result.predictions["participant_id"])
    told = result.explanation.summary["foremost"][0]
    own = table[table["cluster"] == told["cluster"]]
    assert np.corrcoef(own["value"], own["contribution"])[0, 1] > 0.8
    total = table.groupby("participant_id")["contribution"].sum()
    prediction = result.predictions.set_index("participant_id")["probability"]
    # What is left is the mean prediction of the training part.
    rest = prediction - total
    assert rest.std() < 0.05
    assert rest.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["continuous", "survival", "multiclass", "ordinal"])
def test_models_of_every_kind_are_explained(kind: str) -> None:
    features, people = cohort(n=60, features=10)
    rng = np.random.default_rng(0)
    risk = features["T1w__brain__original__glcm__F004"].to_numpy()
    people["number"] = 3 * risk + rng.normal(size=60)
    people["months"] = (20 * np.exp(-1.5 * risk) * rng.exponential(size=60)).round(1) + 0.1
    people["grade"] = np.digitize(people["number"], np.quantile(people["number"], [0.33, 0.66]))
    asked = {
        "continuous": {"outcome": "number", "model": "ridge"},
        "survival": {"outcome": "mutation", "time": "months", "model": "cox_elasticnet"},
        "multiclass": {"outcome": "grade"},
        "ordinal": {"outcome": "grade"},
    }[kind]
    positive = "mutated" if kind == "survival" else None
    result = analyse(features, people, kind=kind, repeats=1, explain=True, positive=positive, **asked)
    assert result.explanation.summary["foremost"][0]["representative"] == "T1w__brain__original__glcm__F004"
    assert len(result.explanation.contributions) == (0 if kind == "multiclass" else 60 * 10)


def test_nothing_is_explained_where_that_is_not_asked_for() -> None:
    assert analyse(*cohort(), explain=False).explanation is None


@pytest.mark.parametrize("model", ["ridge_logistic", "ensemble", "stacked"])
def test_a_harmonised_model_is_explained_on_harmonised_features(model: str) -> None:
    features, people = cohort(n=60, features=8, effect=2.5)
    people["scanner"] = np.where(np.arange(60) % 2, "A", "B")
    features.iloc[:, 2:] += 50.0 * (people["scanner"] == "A").to_numpy()[:, None]
    asked = {"model": model, "repeats": 1, "explain": True, "harmonise": "scanner", "outer_folds": 3}
    result = analyse(features, people, **asked)
    foremost = result.explanation.summary["foremost"][0]
    assert foremost["representative"] == "T1w__brain__original__glcm__F000"
    # Were features of one scanner harmonised as those of the other, they would move all predictions.
    table = result.explanation.contributions
    size = table.assign(size=table["contribution"].abs()).groupby("representative")["size"].mean()
    assert size.drop(foremost["representative"]).max() < 0.5 * size[foremost["representative"]]
    curve = result.explanation.summary["dependence"][0]
    assert max(curve["grid"]) - min(curve["grid"]) < 10
