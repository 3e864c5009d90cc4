"""Harmonised sites, reliable features, chosen participants, and models that are applied elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.numerics.test_modelling import analyse, cohort
from voxelome.errors import DataError
from voxelome.modelling.analysis import parse_analysis, run_analysis
from voxelome.modelling.apply import apply_model, check_same_settings, describe_model
from voxelome.modelling.cohort import Repeated
from voxelome.modelling.people import Tables

pytestmark = pytest.mark.usefixtures("few_trees")


def sites(n=80, effect=0.0, confounded=False, seed=0):
    """Two scanners that differ by two standard deviations in every feature."""
    table, people = cohort(n=n, features=30, seed=seed, effect=effect)
    mutated = (people["mutation"] == "mutated").to_numpy()
    rng = np.random.default_rng(seed)
    second = rng.random(n) < (np.where(mutated, 0.85, 0.15) if confounded else 0.5)
    people["scanner"] = np.where(second, "B", "A")
    table.iloc[:, 2:] += 2.0 * second[:, None]
    return table, people


def test_a_site_that_goes_with_the_outcome_predicts_it_and_does_not_once_harmonised():
    plain, harmonised = [], []
    for seed in range(4):
        table, people = sites(confounded=True, seed=seed)
        plain.append(analyse(table, people, repeats=1).metrics["auc"])
        harmonised.append(analyse(table, people, repeats=1, harmonise="scanner").metrics["auc"])
    assert np.mean(plain) > 0.75
    # What the outcome does is removed with what the site does, where they go together.
    assert 0.3 < np.mean(harmonised) < 0.6


def test_harmonisation_lets_an_effect_be_found_that_scanners_hide():
    plain, better = [], []
    for seed in range(4):
        table, people = sites(effect=1.2, seed=seed)
        plain.append(analyse(table, people, repeats=1).metrics["auc"])
        harmonised = analyse(table, people, repeats=1, harmonise="scanner")
        better.append(harmonised.metrics["auc"])
    assert np.mean(better) > np.mean(plain) + 0.03
    assert harmonised.metrics["n_features"] == 30
    assert "site" not in set(harmonised.selected["feature"])
    assert harmonised.sites == {"A": 0, "B": 1}


def test_what_stands_beside_a_harmonised_model_is_harmonised_too():
    table, people = sites(n=120, confounded=True)
    plain = analyse(table, people, repeats=1, covariates=["age"]).metrics
    harmonised = analyse(table, people, repeats=1, covariates=["age"], harmonise="scanner").metrics

    def without(metrics):
        return next(o["value"] for o in metrics["alternatives"] if o["name"] == "features without covariates")

    assert without(plain) > 0.7
    assert without(harmonised) < 0.6
    assert plain["leak_probe"]["inside"] > 0.7
    assert harmonised["leak_probe"]["inside"] < 0.6


def test_an_unseen_site_is_refused_unless_it_is_to_be_left_as_it_is():
    table, people = sites(effect=2.0)
    people["scanner"] = [f"{'ABCD'[index % 4]}" for index in range(len(people))]
    out = {"groups": "scanner", "validation": "leave_one_group_out", "harmonise": "scanner"}
    with pytest.raises(DataError, match=r"harmonisation: .*unseen_site: keep"):
        analyse(table, people, **out)
    assert analyse(table, people, unseen_site="keep", **out).metrics["folds"] == 4


def test_a_site_with_one_participant_is_named():
    table, people = sites()
    people.loc[3, "scanner"] = "C"
    with pytest.raises(DataError, match=r"too few participants to harmonise have the scanner C \(1\)"):
        analyse(table, people, harmonise="scanner")


def test_a_covariate_to_keep_must_be_offered():
    with pytest.raises(DataError, match="harmonise_keep names age"):
        analyse(*sites(), harmonise="scanner", harmonise_keep=["age"])
    result = analyse(*sites(), harmonise="scanner", harmonise_keep=["age"], covariates=["age"], repeats=1)
    assert result.metrics["n_features"] == 31


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"sex": "F"}, None),
        ({"site": ["site1", "site2", "site3"]}, 30),
        ({"number": {"min": 20, "max": 59}}, 40),
    ],
)
def test_where_chooses_participants(where, count):
    table, people = cohort(n=80)
    people["number"] = np.arange(80)
    result = analyse(table, people, where=where, repeats=1)
    assert result.metrics["n"] == (count or (people["sex"] == "F").sum())


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"sight": "a"}, "no column sight"),
        ({"site": "nowhere"}, "no participant is as where says"),
        ({"age": {"above": 3}}, "where age has 'above'"),
    ],
)
def test_where_that_makes_no_sense_is_refused(where, words):
    with pytest.raises(DataError, match=words):
        analyse(*cohort(), where=where)


def measured_again(table, steady):
    """Repeated measurements of each visit: of the steady features nearly the same, of the others noise."""
    rng = np.random.default_rng(1)
    names = list(table.columns[2:])
    values = table[names].to_numpy().T[:, :, None] + rng.normal(0, 0.1, (len(names), len(table), 6))
    for row, name in enumerate(names):
        if name not in steady:
            values[row] = rng.normal(0, 1, values[row].shape)
    return Repeated(names, [(name, "") for name in table["participant_id"]], values.astype(np.float32))


def test_only_features_that_hold_when_measured_again_are_offered():
    table, people = cohort(n=60, features=20, effect=3.0)
    steady = list(table.columns[4:10])
    settings = {"name": "a", "outcome": "mutation", "repeats": 1, "minimum_reliability": 0.75}
    settings |= {"permutations": 0, "explain": False}
    chosen = parse_analysis({**settings, "model": "elasticnet_logistic", "covariates": ["age"]})
    result = run_analysis(table, people, chosen, repeated=measured_again(table, steady))
    # Covariates were never measured again, and stay.
    assert set(result.selected["feature"]) <= {*steady, "covariate__age"}
    for model in ("ensemble", "ridge_logistic"):
        result = run_analysis(
            table, people, replace(chosen, model=model), repeated=measured_again(table, steady)
        )
        used = result.selected[result.selected["model_importance"] > 0]["feature"]
        assert set(used) <= {*steady, "covariate__age"}
        assert len(used) > 2


def test_the_reliability_of_a_fold_is_that_of_its_training_participants():
    table, people = cohort(n=60, features=20)
    repeated = measured_again(table, list(table.columns[2:]))
    settings = parse_analysis(
        {
            "name": "a",
            "outcome": "mutation",
            "repeats": 1,
            "model": "ridge_logistic",
            "minimum_reliability": 0.75,
            "permutations": 0,
            "explain": False,
        }
    )
    before = run_analysis(table, people, settings, repeated=repeated).predictions
    fold = before.loc[before["fold"] == 1, "participant_id"]
    # Noise in the participants that fold 1 holds out alone: its predictions stay as they are.
    spoiled = repeated.values.copy()
    held_out = table["participant_id"].isin(fold).to_numpy()
    spoiled[:10, held_out] = np.random.default_rng(0).normal(0, 50, spoiled[:10, held_out].shape)
    after = run_analysis(table, people, settings, repeated=replace(repeated, values=spoiled)).predictions
    same = before["fold"] == 1
    np.testing.assert_array_equal(before.loc[same, "probability"], after.loc[same, "probability"])
    assert not np.array_equal(before.loc[~same, "probability"], after.loc[~same, "probability"])


def test_reliability_without_repeated_measurements_is_refused():
    with pytest.raises(
        DataError, match=r"no feature was measured again; set radiomics: \{perturbations: 50\}"
    ):
        analyse(*cohort(), minimum_reliability=0.75)


@pytest.fixture
def trained():
    table, people = sites(effect=2.0)
    settings = {"covariates": ["age", "sex"], "harmonise": "scanner", "model": "ridge_logistic"}
    settings |= {"name": "a", "outcome": "mutation", "repeats": 1, "unseen_site": "keep"}
    settings |= {"permutations": 0, "explain": False}
    parsed = parse_analysis(settings)
    result = run_analysis(table, people, parsed)
    return table, people, result, describe_model(parsed, result, {"Radiomics": {"bin_count": 32}})


def test_a_model_predicts_elsewhere_what_it_predicts_here(trained):
    table, people, result, about = trained
    rows = table.sample(frac=0.5, random_state=1)
    found = apply_model(result.model, about, rows, Tables(people.sample(frac=1, random_state=2)))
    everybody = apply_model(result.model, about, table, Tables(people)).set_index("participant_id")[
        "probability"
    ]
    np.testing.assert_allclose(found["probability"], everybody.loc[found["participant_id"]])
    truth = people.set_index("participant_id")["mutation"].loc[everybody.index] == about["Positive"]
    assert everybody[truth].mean() > everybody[~truth].mean() + 0.1


def test_a_new_site_is_left_as_it_is(trained):
    table, people, result, about = trained
    people = people.assign(scanner="somewhere else")
    assert np.isfinite(apply_model(result.model, about, table, Tables(people))["probability"]).all()


def test_features_made_with_other_settings_are_refused(trained):
    *_, about = trained
    settings = about["FeatureSettings"]
    check_same_settings(settings, {"Radiomics": {"bin_count": 32}, "Histograms": {"reference": "n/a"}})
    with pytest.raises(DataError, match=r"other settings than those of the model \(bin_count\)"):
        check_same_settings(settings, {"Radiomics": {"bin_count": 64}})


def test_what_the_model_needs_and_is_not_there_is_named(trained):
    table, people, result, about = trained
    with pytest.raises(DataError, match=r"1 features of the model are not there: .*F003"):
        apply_model(
            result.model, about, table.drop(columns="T1w__brain__original__glcm__F003"), Tables(people)
        )
    with pytest.raises(DataError, match=r"the model takes age, sex=M, scanner; give participants"):
        apply_model(result.model, about, table, None)
    with pytest.raises(DataError, match="there is no column age, the covariate that the model takes"):
        apply_model(result.model, about, table, Tables(people.drop(columns="age")))
    with pytest.raises(DataError, match="has no row of sub-000"):
        apply_model(result.model, about, table, Tables(people.iloc[1:]))


def test_features_of_one_visit_can_be_predicted(trained):
    table, people, result, about = trained
    one = pd.DataFrame(table.iloc[[5]])
    expected = apply_model(result.model, about, table, Tables(people))["probability"].iloc[5]
    assert apply_model(result.model, about, one, Tables(people))["probability"].item() == pytest.approx(
        expected
    )
