"""Analyses whose outcome is the time to an event."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.numerics.test_modelling import analyse, cohort
from voxelome.errors import DataError
from voxelome.modelling.analysis import load_model, save_model
from voxelome.modelling.apply import apply_model, describe_model
from voxelome.modelling.judge import sample_size_of
from voxelome.modelling.scoring import Scored
from voxelome.modelling.settings import parse_analysis
from voxelome.modelling.survival_outcome import survival_outcome
from voxelome.modelling.visits import Cohort

SURVIVAL = {"outcome": "dead", "positive": "1", "kind": "survival", "time": "months", "repeats": 1}


def followed(n=80, features=15, effect=1.2, seed=0):
    """Times that are shorter where the first feature is larger; about a third is censored."""
    table, people = cohort(n=n, features=features, seed=seed)
    rng = np.random.default_rng(seed)
    risk = effect * table.iloc[:, 2].to_numpy()
    event, censored = rng.exponential(20 * np.exp(-risk)), rng.exponential(40, n)
    people["months"], people["dead"] = np.minimum(event, censored).round(2), (event <= censored).astype(int)
    return table, people


@pytest.mark.parametrize(
    "model", ["ensemble", "cox_elasticnet", "superpc", "survival_forest", "survival_boosting"]
)
def test_every_model_orders_participants_by_a_planted_risk_and_its_file_does_as_it(model, tmp_path: Path):
    table, people = followed()
    result = analyse(table, people, **SURVIVAL, model=model)
    metrics = result.metrics
    assert metrics["c_index"] > 0.6
    assert metrics["c_index_low"] < metrics["c_index"] < metrics["c_index_high"]
    assert metrics["n_events"] == people["dead"].sum()
    assert list(result.predictions.columns[-2:]) == ["risk", "outcome"]
    groups = metrics["risk_groups"]
    assert groups["n_high"] + groups["n_low"] == 80
    assert groups["high"][8] < groups["low"][8]
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    save_model(tmp_path / "model.skops", result.model)
    about = describe_model(parse_analysis({"name": "a", **SURVIVAL}), result, {})
    found = apply_model(load_model(tmp_path / "model.skops"), about, table, None)
    risk = result.model.predict(table[list(result.model.feature_names_in_)])
    np.testing.assert_allclose(found["risk"], risk)


def test_noise_orders_nobody():
    found = [
        analyse(*followed(n=60, effect=0.0, seed=seed), **SURVIVAL, model="cox_elasticnet").metrics["c_index"]
        for seed in range(4)
    ]
    assert 0.38 < np.mean(found) < 0.62


def test_age_alone_stands_beside_the_model():
    table, people = followed(effect=0.0)
    people["age"] = 70 - people["months"].rank()
    result = analyse(table, people, **SURVIVAL, model="cox_elasticnet", covariates=["age"])
    clinical = result.metrics["alternatives"][0]
    assert clinical["name"] == "clinical covariates alone"
    assert clinical["value"] > 0.95
    assert result.metrics["leak_probe"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": None}, "a survival outcome has the time None"),
        ({"kind": "binary", "model": "svm"}, "a binary outcome has the time months"),
        ({"time": "weeks"}, "no column weeks, the time"),
        ({"model": "ridge"}, "ridge is no model of a survival outcome"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        analyse(*followed(), **{**SURVIVAL, "model": "cox_elasticnet", **change})


def test_negative_and_missing_times_are_named():
    table, people = followed()
    people.loc[4, "months"] = -1
    with pytest.raises(DataError, match="months of sub-004 is negative"):
        analyse(table, people, **SURVIVAL, model="cox_elasticnet")
    people.loc[4, "months"] = np.nan
    with pytest.raises(DataError, match="sub-004 have no months"):
        analyse(table, people, **SURVIVAL, model="cox_elasticnet")


@pytest.mark.usefixtures("few_trees")
def test_held_out_survival_is_nearer_to_the_truth_than_kaplan_and_meier_says():
    metrics = analyse(*followed(n=100, effect=1.5), **SURVIVAL, model="ensemble").metrics
    assert metrics["integrated_brier"] < metrics["integrated_brier_of_kaplan_meier"]
    assert metrics["integrated_brier_folds"] == metrics["folds"] * metrics["repeats"]
    assert metrics["uno_c"] == pytest.approx(metrics["c_index"], abs=0.05)
    quartiles = metrics["time_dependent_auc"]
    assert len(quartiles) == 3
    assert all(each["auc_low"] < each["auc"] < each["auc_high"] for each in quartiles)
    assert all(each["auc"] > 0.6 for each in quartiles)


def test_times_of_the_auc_can_be_asked_for_and_those_nobody_is_followed_to_tell_nothing():
    asked = {"model": "cox_elasticnet", "horizons": [4, 1e6]}
    first, never = analyse(*followed(), **SURVIVAL, **asked).metrics["time_dependent_auc"]
    assert (first["time"], never["time"]) == (4, 1e6)
    assert first["auc"] > 0.5
    assert (never["auc"], never["auc_folds"]) == (None, 0)


def test_the_sample_size_of_a_survival_is_that_of_the_risk_found_and_less_where_more_is_explained():
    sizes = []
    for effect in (1.0, 3.0):
        metrics = analyse(*followed(n=100, effect=effect), **SURVIVAL, model="cox_elasticnet").metrics
        size = metrics["sample_size"]
        assert size["events_per_variable"] == metrics["n_events"] / metrics["n_features"]
        assert str(size["needed"]) in size["sentence"]
        sizes.append(size["needed"])
    assert sizes[1] < sizes[0]


def test_a_risk_that_orders_nobody_plans_no_sample_size():
    who = np.arange(30)
    y = survival_outcome(who % 2 == 0, who + 1.0)
    cohort = Cohort("survival", np.zeros((30, 2)), who, y, who)
    folds = [Scored(who[k::3], y[k::3], y["time"][k::3], 0.0) for k in range(3)]
    size = sample_size_of(cohort, 2, 0.4, folds)
    assert size["needed"] is None
    assert "explains nothing" in size["sentence"]
