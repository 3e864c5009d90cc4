"""What stands beside a model: simpler models, permutations, a leak, and what looks like a mistake."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_1samp, uniform

from tests.numerics.test_modelling import analyse, cohort
from voxelome.errors import DataError
from voxelome.modelling.cohort import assemble
from voxelome.modelling.folds import outer_splits
from voxelome.modelling.people import Tables
from voxelome.modelling.settings import parse_analysis

pytestmark = pytest.mark.usefixtures("few_trees")


def test_where_age_does_it_all_the_model_is_no_better_than_the_covariates_alone():
    table, people = cohort(n=80, features=30)
    people["age"] = np.where(people["mutation"] == "mutated", 60.0, 40.0) + people["age"] / 5
    result = analyse(table, people, covariates=["age"])
    (clinical, features) = result.metrics["alternatives"]
    assert clinical["name"] == "clinical covariates alone"
    assert clinical["features"] == 1
    assert clinical["value"] > 0.95
    assert clinical["p"] is None or clinical["p"] > 0.05
    assert features["name"] == "features without covariates"
    assert features["features"] == 30
    assert features["value"] < 0.7
    assert features["low"] > 0
    assert features["p"] < 0.01


def test_a_signature_that_is_size_is_found_out_by_size_alone():
    table, people = cohort(n=80, features=30)
    rng = np.random.default_rng(0)
    size = (people["mutation"] == "mutated") * 2.0 + rng.normal(0, 1, len(people))
    table["T1w__tumor__original__shape__MeshVolume"] = size.to_numpy()
    table["T1w__tumor__original__glrlm__RunLengthNonUniformity"] = size.to_numpy() * 3 + 1
    (alone,) = analyse(table, people).metrics["alternatives"]
    assert (alone["name"], alone["features"]) == ("size alone", 1)
    assert alone["value"] > 0.85
    assert alone["p"] is None or alone["p"] > 0.05


def test_choosing_features_outside_of_the_folds_finds_much_in_noise():
    probes = [analyse(*cohort(features=500, seed=seed)).metrics["leak_probe"] for seed in range(4)]
    assert np.mean([probe["inside"] for probe in probes]) < 0.65
    assert np.mean([probe["outside"] for probe in probes]) > 0.85
    assert all(probe["gap"] == pytest.approx(probe["outside"] - probe["inside"]) for probe in probes)


def test_permutations_tell_an_effect_from_noise():
    found = analyse(*cohort(features=20, effect=3.0), permutations=19).metrics["permutations"]
    assert found["p"] == pytest.approx(1 / 20)
    assert len(found["null"]) == 19
    assert abs(np.mean(found["null"]) - 0.5) < 0.1


def test_the_p_of_permutations_is_uniform_or_above_in_noise():
    ps = [
        analyse(*cohort(n=24, features=4, seed=seed), permutations=9, repeats=1, outer_folds=2).metrics[
            "permutations"
        ]["p"]
        for seed in range(12)
    ]
    # Steps of a tenth lie above the uniform distribution.
    assert ks_1samp(ps, uniform.cdf, alternative="greater").pvalue > 0.01


def test_permutations_are_left_out_where_they_are_not_asked_for():
    assert analyse(*cohort()).metrics["permutations"] is None


def test_a_sample_size_is_asked_for_that_holds_the_candidates():
    metrics = analyse(*cohort(n=60, features=30, effect=2.0)).metrics
    size = metrics["sample_size"]
    assert size["events_per_variable"] == pytest.approx(min(metrics["n_positive"], 30) / 30)
    assert size["needed"] > 60
    assert str(size["needed"]) in size["sentence"].replace(",", "")


def test_no_sample_size_is_planned_from_a_model_without_an_error_or_without_a_merit():
    perfect = analyse(*cohort(n=40, features=3, effect=50.0)).metrics
    assert perfect["auc"] == 1
    assert perfect["sample_size"]["needed"] is None
    assert "makes no error" in perfect["sample_size"]["sentence"]
    table, people = cohort(n=40, features=3, seed=5)
    found = (analyse(table, people, random_seed=seed).metrics for seed in range(20))
    useless = next(metrics for metrics in found if metrics["auc"] <= 0.5)
    assert "explains nothing" in useless["sample_size"]["sentence"]


def test_calibration_and_net_benefit_are_those_of_the_held_out_probabilities():
    metrics = analyse(*cohort(n=200, features=20, effect=2.0)).metrics
    assert metrics["calibration_slope_low"] < 1.2
    assert metrics["calibration_slope_high"] > 0.8
    assert abs(metrics["calibration_in_the_large"]) < 0.5
    assert 0 < metrics["integrated_calibration_index"] < metrics["calibration_e90"] < 0.3
    curve = metrics["decision_curve"]
    middle = curve["threshold"].index(0.5)
    assert curve["model"][middle] > max(0, curve["treat_all"][middle])
    assert metrics["average_precision_low"] < metrics["average_precision"] < metrics["average_precision_high"]


def test_one_participant_under_two_names_is_noticed_and_no_fold_parts_them():
    table, people = cohort(n=60)
    for other in (7, 20):
        table.iloc[other, 2:] = table.iloc[3, 2:]
    # What is typed in may differ; the images are the same.
    people.loc[7, "age"] += 1
    settings = parse_analysis({"name": "test", "outcome": "mutation", "covariates": ["age"], "repeats": 5})
    data = assemble(table, Tables(people), settings)
    assert (
        "The features of sub-003 and sub-007, sub-003 and sub-020 are identical: is it one participant under "
        "two names? No fold parts them."
    ) in data.notes
    splits = outer_splits(data.cohort, settings, 5)
    assert len(splits) == 25
    assert {len({3, 7, 20} & set(split.test)) for split in splits} == {0, 3}


def test_groups_that_are_named_stay_and_the_note_says_what_that_means():
    table, people = cohort()
    table.iloc[7, 2:] = table.iloc[3, 2:]
    settings = parse_analysis({"name": "test", "outcome": "mutation", "groups": "site"})
    data = assemble(table, Tables(people), settings)
    assert any("Folds may part them: they part no site, and nothing else." in note for note in data.notes)
    assert len(set(data.cohort.group)) == people["site"].nunique()


def test_one_participant_under_two_names_cannot_be_locked_away_and_trained_on():
    table, people = cohort()
    table.iloc[7, 2:] = table.iloc[3, 2:]
    people["part"] = np.where(np.arange(len(people)) < 5, "test", "training")
    settings = {"name": "test", "outcome": "mutation", "hold_out": {"part": ["test"]}}
    with pytest.raises(DataError, match="sub-003 and sub-007 are identical, and one of them is locked away"):
        assemble(table, Tables(people), parse_analysis(settings))
    people.loc[7, "part"] = "test"
    assert not any(
        "identical" in note for note in assemble(table, Tables(people), parse_analysis(settings)).notes
    )


def test_participants_without_a_lesion_are_not_taken_for_one():
    table, people = cohort()
    table.iloc[:20, 2:] = 0.0
    assert not any("identical" in note for note in analyse(table, people).notes)


def test_a_feature_that_is_the_outcome_is_named():
    table, people = cohort()
    table["T1w__brain__original__glcm__Leak"] = (people["mutation"] == "mutated").to_numpy() * 1.0
    notes = " ".join(analyse(table, people).notes)
    assert "T1w__brain__original__glcm__Leak alone tells the outcome without an error" in notes


def test_no_suspicion_falls_on_ordinary_tables():
    assert not any("identical" in note or "alone tells" in note for note in analyse(*cohort()).notes)
