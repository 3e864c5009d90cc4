"""Outcomes of more than two classes, in an order or in none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, log_loss

from tests.numerics.test_modelling import analyse, cohort
from voxelome.errors import DataError
from voxelome.modelling.analysis import AnalysisResult, load_model, save_model
from voxelome.modelling.apply import apply_model, describe_model
from voxelome.modelling.settings import parse_analysis

pytestmark = pytest.mark.usefixtures("few_trees")

KINDS = ("multiclass", "ordinal")
FIRST, SECOND = "T1w__brain__original__glcm__F000", "T1w__brain__original__glcm__F001"


def grades(n: int = 90, effect: float = 2.0, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give three grades: the first feature rises with them, the second is high in the middle one."""
    table, people = cohort(n=n, features=20, seed=seed)
    grade = np.random.default_rng(seed).permutation(np.arange(n) % 3)
    table[FIRST] += effect * grade
    table[SECOND] += effect * (grade == 1)
    return table, people.assign(grade=grade + 2)


def graded(table: pd.DataFrame, people: pd.DataFrame, kind: str, **changes: object) -> AnalysisResult:
    return analyse(table, people, **{"outcome": "grade", "positive": None, "kind": kind, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_planted_classes_are_told_apart_and_the_file_predicts_as_the_model(kind: str, tmp_path: Path) -> None:
    table, people = grades()
    result = graded(table, people, kind)
    metrics = result.metrics
    name = {"multiclass": "hand_till", "ordinal": "ordinal_concordance"}[kind]
    assert metrics[name] > 0.9
    assert 0.5 < metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"] <= 1
    assert metrics["log_loss"] < metrics["log_loss_of_shares"]
    assert set(result.selected["feature"][:2]) == {FIRST, SECOND} or result.selected["feature"][0] == FIRST
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    save_model(tmp_path / "model.skops", result.model)
    about = describe_model(parse_analysis({"name": "a", "outcome": "grade", "kind": kind}), result, {})
    found = apply_model(load_model(tmp_path / "model.skops"), about, table, None)
    probability = found[["probability_2", "probability_3", "probability_4"]].to_numpy()
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    np.testing.assert_array_equal(probability, result.model.predict_proba(table[about["Features"]]))
    assert np.mean(found["prediction"].astype(int).to_numpy() == people["grade"]) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_the_measures_are_those_of_scikit_learn_over_the_predictions_written(kind: str) -> None:
    result = graded(*grades(), kind)
    table, metrics = result.predictions, result.metrics
    truth = table["outcome"].astype(int)
    probability = table[["probability_2", "probability_3", "probability_4"]].to_numpy()
    assert metrics["log_loss"] == pytest.approx(log_loss(truth, probability))
    assert metrics["accuracy"] == pytest.approx(np.mean(table["prediction"] == table["outcome"]))
    confusion = pd.crosstab(table["outcome"], table["prediction"], normalize="index").to_numpy()
    np.testing.assert_allclose(metrics["confusion"], confusion)
    if kind == "ordinal":
        kappa = cohen_kappa_score(truth, table["prediction"].astype(int), weights="quadratic")
        assert metrics["kappa"] == pytest.approx(kappa)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_tells_no_classes_apart(kind: str) -> None:
    name = {"multiclass": "hand_till", "ordinal": "ordinal_concordance"}[kind]
    found = [graded(*grades(n=60, effect=0, seed=seed), kind).metrics[name] for seed in range(5)]
    assert 0.42 < np.mean(found) < 0.58


def test_an_order_can_be_given_and_must_name_each_class() -> None:
    table, people = grades()
    people["grade"] = people["grade"].map({2: "low", 3: "medium", 4: "high"})
    result = graded(table, people, "ordinal", order=["low", "medium", "high"])
    assert result.metrics["classes"] == ["low", "medium", "high"]
    assert result.metrics["ordinal_concordance"] > 0.93
    # In the order of letters (high, low, medium) the first feature would not rise with the class.
    assert graded(table, people, "ordinal").metrics["ordinal_concordance"] < 0.92
    with pytest.raises(DataError, match=r"order is low, high, but grade has high \(30\), low \(30\)"):
        graded(table, people, "ordinal", order=["low", "high"])


def test_two_classes_and_classes_with_few_participants_are_refused() -> None:
    table, people = grades()
    with pytest.raises(DataError, match=r"2 different value\(s\).*give kind: binary"):
        graded(table, people.assign(grade=people["grade"] > 2), "multiclass")
    people.loc[people["grade"] == 4, "grade"] = [4, 4, *[3] * 28]
    with pytest.raises(DataError, match=r"4 \(2\).*at least 4 participants of each"):
        graded(table, people, "multiclass")


def test_a_feature_that_is_the_class_is_named() -> None:
    table, people = grades()
    table["T1w__brain__original__glcm__leak"] = people["grade"].to_numpy() * 10.0
    notes = graded(table, people, "multiclass").notes
    assert any("glcm__leak alone tells the outcome" in note for note in notes)
    assert not any(FIRST in note for note in notes)
